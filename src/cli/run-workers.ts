import { randomBytes } from "node:crypto";
import { startAdminServer } from "../admin/server.ts";
import type { Prepared } from "../assembly/prepare.ts";
import { exitOnCrash } from "../telemetry/crash.ts";
import { createTelemetry } from "../telemetry/telemetry.ts";
import { type RunningWorkers, runWorkers, WorkerStartFailed } from "../workers.ts";
import { CommandFailure, EXIT, type ExitStatus } from "./exit.ts";
import { listenFailure } from "./run.ts";
import { onSignals } from "./signals.ts";
import { version } from "./version.ts";

/** What is left for a worker beyond its own drain, in milliseconds, before it is ended. */
const DRAIN_SLACK_MS = 5000;

/** Holds the workers and serves the admin listener for all of them. */
export async function runWithWorkers(configPath: string, prepared: Prepared): Promise<ExitStatus> {
  const { config, compiled } = prepared;
  const telemetry = createTelemetry({
    log: config.log,
    keyPrefix: config.keys.prefix,
    // The workers count; this process only logs.
    metrics: { routes: [], upstreams: [], tiers: [], redis: false, version: version() },
  });
  const { log } = telemetry;
  // They are one instance: a request that went through one of them went through all.
  process.env.SENTINEL_WORKER_OF = randomBytes(6).toString("hex");
  let running: RunningWorkers | null = null;
  try {
    const workers = await runWorkers({
      count: compiled.workers,
      log,
      drainTimeoutMs: config.drain.delay + config.drain.timeout + DRAIN_SLACK_MS,
    });
    running = workers;
    const { redact, flushSync } = telemetry;
    exitOnCrash({ log, redact, drain: () => workers.drain(), flush: async () => flushSync() });
    const admin = await startAdminServer({
      listen: compiled.admin,
      state: () => workers.state(),
      scrapes: () => workers.scrapes(),
      log,
    });
    const [address = ""] = workers.addresses;
    // Before the log says that it listens: whoever reads that may send a signal at once.
    const ending = onSignals({ reload: () => workers.reload(), drain: () => workers.drain() });
    log("info", "listening", {
      address,
      admin: admin.address,
      config: configPath,
      routes: config.routes.length,
      keys: config.keys.source.type,
      workers: compiled.workers,
      version: version(),
    });
    await ending;
    await admin.close();
    return EXIT.done;
  } catch (error) {
    // Without the admin listener nobody could see them, and they would keep this process.
    running?.kill();
    // A worker that could not start has said why.
    if (error instanceof WorkerStartFailed) throw new CommandFailure(EXIT.notSo, error.message);
    throw listenFailure(error);
  } finally {
    await telemetry.close();
  }
}
