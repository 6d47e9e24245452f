import { mkdtempSync } from "node:fs";
import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildSync } from "esbuild";
import { Exchange, type Peer } from "../../src/exchange.ts";
import type { RequestHead } from "../../src/head.ts";
import { NodeMessages } from "../../src/inbound/node-messages.ts";
import type { Route } from "../../src/routes/route.ts";
import type { LineSink, LineWriter } from "../../src/telemetry/line-writer.ts";
import { createMetrics, type Metrics, type MetricsOptions } from "../../src/telemetry/metrics.ts";

export function metricsFor(options: Partial<MetricsOptions> = {}): Metrics {
  return createMetrics({
    routes: [{ name: "read-api", methods: ["GET"] }],
    upstreams: [{ name: "orders", targets: ["http://10.0.0.1:3000"] }],
    tiers: ["file"],
    redis: false,
    version: "1.2.3",
    ...options,
  });
}

export const PEER: Peer = { clientIp: "192.0.2.7", trusted: false, address: "192.0.2.7", scheme: "http", port: 8080 };

/** A finished exchange: GET /v2/apis/api_1 in 12 ms, of which 10 were the upstream's. */
export function exchangeOf(
  changes: Partial<Writable<Exchange>> = {},
  path = "/v2/apis/api_1",
  method = "GET",
): Exchange {
  const request = new IncomingMessage(new Socket());
  request.method = method;
  const exchange = new Exchange(
    new NodeMessages(request, new ServerResponse(request)),
    "req_2c9a0jf23l4k567",
    PEER,
    1000,
  );
  exchange.head = { method, target: { path, query: "?secret=1" } } as RequestHead;
  exchange.route = routeNamed("read-api");
  exchange.verdict = "allowed";
  exchange.keyId = "key_ci";
  exchange.status = 200;
  exchange.bytesIn = 0;
  exchange.bytesOut = 42;
  exchange.upstream = "orders";
  exchange.upstreamStartedAt = 1001;
  exchange.upstreamEndedAt = 1011;
  exchange.endedAt = 1012;
  return Object.assign(exchange, changes);
}

export function routeNamed(name: string, methods: readonly string[] | null = ["GET"]): Route {
  return { name, match: { methods, path: { text: "" } } } as Route;
}

/** The value of one series in the text of a scrape; null when it is not there. */
export function sample(text: string, series: string): number | null {
  const line = text.split("\n").find((candidate) => candidate.startsWith(`${series} `));
  return line === undefined ? null : Number(line.slice(series.length + 1));
}

/** How many series a scrape has. */
export function seriesCount(text: string): number {
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#")).length;
}

export interface CollectingWriter extends LineWriter {
  readonly lines: string[];
}

/** Keeps every line. */
export function collectingWriter(): CollectingWriter {
  const lines: string[] = [];
  return {
    lines,
    write: (line) => lines.push(line),
    flush: async () => {},
    flushSync: () => {},
    close: async () => {},
  };
}

/** A sink that takes what it is told to take: `take()` ends the write under way. */
export class ControlledSink implements LineSink {
  readonly isTerminal = false;
  text = "";
  closed = false;
  syncFails: string | null = null;
  private pending: { bytes: Buffer; done: (error: NodeJS.ErrnoException | null, written: number) => void } | null =
    null;

  get writing(): boolean {
    return this.pending !== null;
  }

  write(bytes: Buffer, done: (error: NodeJS.ErrnoException | null, written: number) => void): void {
    if (this.pending !== null) throw new Error("two writes at once");
    this.pending = { bytes, done };
  }

  writeSync(bytes: Buffer): number {
    if (this.syncFails !== null) throw Object.assign(new Error(this.syncFails), { code: this.syncFails });
    this.text += bytes.toString();
    return bytes.length;
  }

  close(): void {
    this.closed = true;
  }

  take(count?: number): void {
    const { bytes, done } = this.pendingWrite();
    const written = count ?? bytes.length;
    this.text += bytes.subarray(0, written).toString();
    done(null, written);
  }

  fail(code: string): void {
    this.pendingWrite().done(Object.assign(new Error(code), { code }), 0);
  }

  private pendingWrite() {
    const { pending } = this;
    if (pending === null) throw new Error("nothing is being written");
    this.pending = null;
    return pending;
  }
}

/** A program in TypeScript, its imports relative to the project's folder, made into a file that node runs. */
export function bundle(program: string): string {
  const outfile = join(mkdtempSync(join(tmpdir(), "program-")), "program.mjs");
  const require = 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);';
  buildSync({
    stdin: { contents: program, resolveDir: process.cwd(), loader: "ts" },
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20.19",
    banner: { js: require },
    logLevel: "error",
  });
  return outfile;
}

type Writable<T> = { -readonly [member in keyof T]: T[member] };
