import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { ListenAddress } from "../config/addresses.ts";
import { EXPOSITION_CONTENT_TYPE } from "../telemetry/exposition.ts";
import { asError, type Log } from "../telemetry/logger.ts";
import { formatScrapes, type Scrape } from "../telemetry/scrape.ts";
import { listen } from "./listen.ts";
import { createRates } from "./rates.ts";
import { type AdminState, isReady } from "./state.ts";
import { formatStatusPage, STATUS_PAGE_HEADERS } from "./status-page.ts";

export interface AdminOptions {
  readonly listen: ListenAddress;
  readonly state: () => AdminState | Promise<AdminState>;
  /** The figures of each process that serves requests. */
  readonly scrapes: () => Promise<readonly Scrape[]>;
  readonly log: Log;
  /** Wall clock, in milliseconds. */
  readonly now?: () => number;
}

export interface AdminServer {
  /** `http://127.0.0.1:9090` or `unix:/path`. */
  readonly address: string;
  /** Stops listening and closes every connection. */
  close(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * Serves /livez, /readyz, /metrics and a status page, to read only. Never on the port of clients, and never anything
 * secret: whoever reaches this address sees routes, upstreams and rates.
 */
export async function startAdminServer(options: AdminOptions): Promise<AdminServer> {
  const answers = createAnswers(options);
  const server = createServer(LIMITS, (request, response) => {
    void answer(request, answers, options.log).then((given) => send(request, response, given));
  });
  server.maxConnections = 256;
  server.timeout = 30_000;
  const address = await listen(server, options.listen);
  return { address, close: () => close(server) };
}

/** Small and impatient: this is a port for probes and scrapers. */
const LIMITS = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 5000,
  requestTimeout: 10_000,
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 1000,
} as const;

type Answers = Readonly<Record<string, () => Answer | Promise<Answer>>>;

function createAnswers({ state, scrapes, now = Date.now }: AdminOptions): Answers {
  const rates = createRates();
  const scrapeOnce = shareRunning(scrapes);
  return {
    "/livez": () => ({ status: 200, type: TEXT, body: "ok\n" }),
    "/readyz": async () => readiness(await state()),
    "/metrics": async () => ({
      status: 200,
      type: EXPOSITION_CONTENT_TYPE,
      body: await formatScrapes(await scrapeOnce()),
    }),
    "/": async () => {
      const [current, figures] = [await state(), await scrapeOnce()];
      const at = now();
      rates.add(at, figures);
      const body = formatStatusPage(current, rates.latest(), at);
      return { status: 200, type: "text/html; charset=utf-8", body, headers: STATUS_PAGE_HEADERS };
    },
  };
}

const TEXT = "text/plain; charset=utf-8";

async function answer(request: IncomingMessage, answers: Answers, log: Log): Promise<Answer> {
  const path = (request.url ?? "").split("?", 1)[0] ?? "";
  const make = Object.hasOwn(answers, path) ? answers[path] : undefined;
  if (make === undefined) return { status: 404, type: TEXT, body: "not found\n" };
  if (request.method !== "GET" && request.method !== "HEAD") {
    return { status: 405, type: TEXT, body: "method not allowed\n", headers: { Allow: "GET, HEAD" } };
  }
  try {
    return await make();
  } catch (error) {
    log("error", "admin_failed", { path, error: asError(error) });
    return { status: 500, type: TEXT, body: "internal error; see the log\n" };
  }
}

function readiness(state: AdminState): Answer {
  const ready = isReady(state);
  const checks = Object.fromEntries(
    state.checks.map(({ name, ok, reason }) => [name, ok ? { ok } : { ok, reason: reason || "not ok" }]),
  );
  const body = `${JSON.stringify({ ready, generation: state.generation, checks })}\n`;
  return { status: ready ? 200 : 503, type: "application/json", body };
}

function send(request: IncomingMessage, response: ServerResponse, { status, type, body, headers }: Answer): void {
  response.writeHead(status, {
    "Content-Type": type,
    "Content-Length": Buffer.byteLength(body),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    ...headers,
    // A body was neither asked for nor read: it must not be taken for the next request.
    ...(hasBody(request) && { Connection: "close" }),
  });
  response.end(request.method === "HEAD" ? undefined : body);
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined;
}

/** Scrapers that come while a scrape runs share it: however many there are, they cost one. */
function shareRunning<T>(run: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | null = null;
  return () => {
    running ??= run().finally(() => {
      running = null;
    });
    return running;
  };
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
