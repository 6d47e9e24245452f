import cluster from "node:cluster";
import type { Config } from "../config/schema.ts";
import type { Recorder } from "../gateway.ts";
import { createLineWriter, type LineSink, type LineWriter, openStandardStream } from "./line-writer.ts";
import { createLogger, type Log } from "./logger.ts";
import { createMetrics, type MetricSubjects, type Metrics, type MetricsOptions } from "./metrics.ts";
import { prettyWriter } from "./pretty.ts";
import { createRecorder } from "./record.ts";
import { createRedact, type Redact } from "./redact.ts";
import { loadTracing, type Tracing } from "./tracing.ts";

/** Everything a running gateway tells operators with: made once per process, outlives reloads. */
export interface Telemetry {
  readonly metrics: Metrics;
  readonly log: Log;
  readonly redact: Redact;
  /** Told of each exchange when it begins and when it is over. */
  readonly recorder: Recorder;
  /** Before the first request: spans go to the OpenTelemetry SDK that was registered, if one was. */
  startTracing(): Promise<void>;
  /** Takes up a reloaded configuration. What read like a key before it is hidden on: somebody may use it still. */
  configure(settings: TelemetrySettings, subjects: MetricSubjects): void;
  /** Writes what waits, soon and not with the next batch. Resolves after a second at the latest. */
  flush(): Promise<void>;
  /** Writes what waits, for the last moments of a process that can not wait. */
  flushSync(): void;
  /** Writes what waits, for a second at most. */
  close(): Promise<void>;
}

export interface TelemetrySettings {
  readonly log: Config["log"];
  /** What reads like a key, to be hidden; "" accepts any. */
  readonly keyPrefix: string;
}

export interface TelemetryOptions extends TelemetrySettings {
  readonly metrics: MetricsOptions;
  /** Standard output unless given. */
  readonly sink?: LineSink;
}

export function createTelemetry(options: TelemetryOptions): Telemetry {
  const metrics = createMetrics(options.metrics);
  const keyPrefixes = new Set([options.keyPrefix]);
  let redactKeys = createRedact(...keyPrefixes);
  const redact: Redact = (text) => redactKeys(text);
  const writer = openWriter(options, metrics);
  const { log, setLevel } = createLogger({ level: options.log.level, writer, redact });
  let record = createRecorder({ metrics, writer, log: options.log, redact: redactKeys });
  let quietUntil = 0;
  let tracing: Tracing | null = null;
  return {
    metrics,
    log,
    redact,
    recorder: {
      begin: (exchange) => {
        metrics.requestBegan();
        if (tracing !== null) exchange.trace = tracing.begin(exchange);
      },
      record: (exchange) => {
        record(exchange);
        exchange.trace?.end(exchange);
      },
      shed: () => metrics.shed("overload"),
      dropped: (error) => {
        metrics.shed("connections");
        if (error !== null && performance.now() > quietUntil) {
          quietUntil = performance.now() + ACCEPT_LOG_INTERVAL_MS;
          log("warn", "accept_failed", { error });
        }
      },
    },
    startTracing: async () => {
      tracing = await loadTracing(redact, log);
    },
    configure: (settings, subjects) => {
      setLevel(settings.log.level);
      redactKeys = createRedact(...keyPrefixes.add(settings.keyPrefix));
      record = createRecorder({ metrics, writer, log: settings.log, redact: redactKeys });
      metrics.configure(subjects);
    },
    flush: () => writer.flush(1000),
    flushSync: () => writer.flushSync(200),
    close: () => writer.close(),
  };
}

/** A process without descriptors fails to accept thousands of times a second; the metric counts them all. */
const ACCEPT_LOG_INTERVAL_MS = 10_000;

function openWriter(options: TelemetryOptions, metrics: Metrics): LineWriter {
  const sink = options.sink ?? openStandardStream(1);
  const writer = createLineWriter({
    sink,
    onDropped: (lines) => metrics.logLinesDropped(lines),
    // Workers share one output.
    ...(cluster.isWorker && { maxWriteBytes: 4096 }),
  });
  const { format } = options.log;
  const pretty = format === "pretty" || (format === "auto" && sink.isTerminal);
  return pretty ? prettyWriter(writer, sink.isTerminal && process.env.NO_COLOR === undefined) : writer;
}
