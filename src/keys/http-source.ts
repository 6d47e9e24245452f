import { type ClientRequest, Agent as HttpAgent, type IncomingMessage, request as requestHttp } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import { NameLookups } from "../name-lookups.ts";
import { createBreaker } from "./breaker.ts";
import { createLimiter } from "./limiter.ts";
import { decodeServiceAnswer } from "./record-codec.ts";
import type { KeyLog } from "./redis-connection.ts";
import type { KeyHash } from "./root-key.ts";
import {
  type Clock,
  type KeySource,
  type Lookup,
  type LookupObserver,
  type LookupOutcome,
  SourceUnavailable,
} from "./source.ts";

export interface HttpSourceSettings {
  readonly url: string;
  /** Sent with each look-up: the service's own credentials. */
  readonly headers: Readonly<Record<string, string>>;
  /** For a whole look-up, its wait for a connection included. Milliseconds. */
  readonly timeout: number;
}

export interface HttpSourceDeps {
  readonly now: Clock;
  readonly mono: () => number;
  readonly observer: LookupObserver;
  readonly log: KeyLog;
}

const ANSWER_BYTES_MAX = 1024 * 1024;
const CONNECTIONS_MAX = 64;
const WAITING_MAX = 2048;
const FAILURES_MAX = 5;
const RETRY_MS = 1000;
/** SHA-256 of nothing anyone has: the service must say that it does not know it. */
const NO_HASH = `${"A".repeat(43)}=` as KeyHash;

/**
 * A key service (contract section 3): `POST url` with `{"hash": "..."}`; 200 with a record, 404 for no such key.
 * Anything else is *can not tell*: another status, a redirect, an answer that is malformed, is about another hash, is
 * over 1 MiB or late. The root key itself is never sent.
 */
export function createHttpSource(settings: HttpSourceSettings, deps: HttpSourceDeps): KeySource {
  const { now, mono, observer, log } = deps;
  const url = new URL(settings.url);
  const secure = url.protocol === "https:";
  const { lookup } = new NameLookups();
  const agentOptions = {
    keepAlive: true,
    maxSockets: CONNECTIONS_MAX,
    maxFreeSockets: CONNECTIONS_MAX,
    timeout: 30_000,
  };
  const agent = secure ? new HttpsAgent(agentOptions) : new HttpAgent(agentOptions);
  const limiter = createLimiter(CONNECTIONS_MAX, WAITING_MAX);
  let closed = false;
  let reached = false;
  let problem = "the key service has not been asked yet";
  let probe: NodeJS.Timeout | null = null;

  const breaker = createBreaker({
    failuresMax: FAILURES_MAX,
    retryMs: RETRY_MS,
    mono,
    // A malformed record says something about that record only.
    isOutage: (error) => !(error instanceof MalformedAnswer),
    message: "the key service is out of reach",
    onChange: (open) => {
      if (open) log("warn", "key_service_down", { reason: problem });
      else log("info", "key_service_up", {});
    },
  });

  async function find(hash: KeyHash): Promise<Lookup> {
    const startedAt = mono();
    const seen = (outcome: LookupOutcome) => observer.lookup("http", outcome, (mono() - startedAt) / 1000);
    try {
      const lookup = await breaker.run(() => ask(hash));
      seen(lookup.record === null ? "absent" : "hit");
      return lookup;
    } catch (error) {
      seen(error instanceof MalformedAnswer ? "invalid" : "error");
      if (error instanceof MalformedAnswer) log("warn", "key_service_answer_unreadable", { reason: error.message });
      throw error;
    }
  }

  /** The time-out runs from here, so that a wait for a connection is part of it. */
  function ask(hash: KeyHash): Promise<Lookup> {
    const asOf = now();
    return new Promise<Lookup>((resolve, reject) => {
      const abort = new AbortController();
      const timer = setTimeout(() => {
        abort.abort();
        reject(outage("time-out"));
      }, settings.timeout);
      limiter
        .run(() => {
          if (abort.signal.aborted) throw outage("time-out");
          return exchange(hash, abort.signal);
        })
        .then((answer) => ({ record: readAnswer(answer, hash), asOf, tier: "http" as const }))
        .then(resolve, reject)
        .finally(() => clearTimeout(timer));
    });
  }

  function outage(reason: string): SourceUnavailable {
    problem = reason;
    return new SourceUnavailable(`the key service can not tell: ${reason}`);
  }

  async function exchange(hash: KeyHash, signal: AbortSignal): Promise<Answer> {
    const first = await send(hash, signal, agent);
    if (first !== "connection was dead") return first;
    // Not from the pool: the others in it may be dead as well.
    const second = await send(hash, signal, false);
    if (second === "connection was dead") throw outage("ECONNRESET");
    return second;
  }

  function send(hash: KeyHash, signal: AbortSignal, via: HttpAgent | false): Promise<Answer | "connection was dead"> {
    const body = JSON.stringify({ hash });
    return new Promise((resolve, reject) => {
      const request: ClientRequest = (secure ? requestHttps : requestHttp)(url, {
        method: "POST",
        agent: via,
        signal,
        lookup,
        headers: {
          ...settings.headers,
          "Content-Type": "application/json",
          "Content-Length": Buffer.byteLength(body),
          Accept: "application/json",
          "Accept-Encoding": "identity",
          "User-Agent": "sentinel",
        },
      });
      let answered = false;
      request.on("response", (response) => {
        answered = true;
        // Some servers say 408 as they end an idle connection; what was just sent they did not read (RFC 9110 15.5.9).
        if (request.reusedSocket && response.statusCode === 408) {
          response.destroy();
          resolve("connection was dead");
        } else receive(response).then(resolve, reject);
      });
      request.on("error", (error: NodeJS.ErrnoException) => {
        // The service closed a connection that was kept open, just as it was used again: nothing was asked yet.
        if (request.reusedSocket && !answered && error.code === "ECONNRESET") resolve("connection was dead");
        else reject(outage(signal.aborted ? "time-out" : (error.code ?? error.name)));
      });
      // An upgrade nobody asked for would otherwise leave the promise hanging until the time-out.
      request.on("upgrade", (_response, socket) => {
        socket.destroy();
        reject(outage("status 101"));
      });
      request.end(body);
    });
  }

  function receive(response: IncomingMessage): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const status = response.statusCode ?? 0;
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > ANSWER_BYTES_MAX) {
          response.destroy();
          reject(new MalformedAnswer("the answer is larger than 1 MiB"));
        } else if (status === 200) chunks.push(chunk);
      });
      response.on("end", () => resolve({ status, body: Buffer.concat(chunks) }));
      response.on("error", (error: NodeJS.ErrnoException) => reject(outage(error.code ?? error.name)));
      response.on("close", () => reject(outage("the answer broke off")));
    });
  }

  function readAnswer({ status, body }: Answer, hash: KeyHash) {
    if (status === 404) return null;
    if (status !== 200) throw outage(`status ${status}`);
    let text: string;
    try {
      text = new TextDecoder("utf-8", { fatal: true }).decode(body);
    } catch {
      throw new MalformedAnswer("the answer is not UTF-8");
    }
    const record = decodeServiceAnswer(text, hash);
    if ("why" in record) throw new MalformedAnswer(`the answer is unreadable: ${record.why}`);
    return record;
  }

  /** Once the service says 404 for a hash that nobody has, it is what it should be, and within reach. */
  async function probeUntilReached(): Promise<void> {
    try {
      const { record } = await ask(NO_HASH);
      if (record !== null) throw new MalformedAnswer("it knows a hash that nobody has");
      reached = true;
    } catch (error) {
      problem = error instanceof Error ? error.message : "unknown";
      if (!closed) probe = setTimeout(probeUntilReached, RETRY_MS).unref();
    }
  }
  void probeUntilReached();

  return {
    find,
    readiness: () => (reached ? { ready: true, reason: "" } : { ready: false, reason: problem }),
    async close() {
      closed = true;
      if (probe !== null) clearTimeout(probe);
      agent.destroy();
    },
  };
}

interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

/** The service is there, and what it said can not be used. */
class MalformedAnswer extends SourceUnavailable {}
