import { type IncomingMessage, STATUS_CODES } from "node:http";
import { answerWhole, canAnswerWhole, formatFields, formatStatusLine } from "./answer.ts";
import { decide, type ReadBody, type Verdict } from "./decide.ts";
import { type Exchange, formatServerTiming } from "./exchange.ts";
import type { FaultCode } from "./faults/catalogue.ts";
import { type Envelope, formatEnvelope } from "./faults/envelope.ts";
import { type Fault, fault, isFault } from "./faults/fault.ts";
import type { Forwarder, ForwardOutcome } from "./forward/forwarder.ts";
import { hasNoHopLeft, headerValue, type RequestHead, readHead } from "./head.ts";
import { readBody } from "./inbound/body.ts";
import type { RequestHandler } from "./inbound/listener.ts";
import type { Snapshot } from "./snapshot.ts";

export interface GatewayOptions {
  /** The current generation of the configuration; read once per request. */
  readonly snapshot: () => Snapshot;
  readonly forwarder: Forwarder;
  readonly recorder: Recorder;
  /** True while new work has to be turned away: 503 before any of it is done. */
  readonly overloaded: () => boolean;
  readonly draining: () => boolean;
}

/** Told of each exchange when it begins and when it is over. */
export interface Recorder {
  begin(exchange: Exchange): void;
  record(exchange: Exchange): void;
  /** A request was turned away because there is more work than can be done. */
  shed(): void;
  /** A connection was turned away; with an error when accepting failed. */
  dropped(error: Error | null): void;
}

/**
 * THE REQUEST: identify, decide, forward or refuse, record. The one place that answers with a fault.
 */
export class Gateway implements RequestHandler {
  readonly #options: GatewayOptions;

  constructor(options: GatewayOptions) {
    this.#options = options;
  }

  handle(exchange: Exchange): void {
    try {
      const snapshot = this.#begin(exchange);
      if (this.#options.overloaded()) {
        this.#options.recorder.shed();
        return this.#refuse(exchange, overloadFault());
      }

      const head = identify(exchange, snapshot);
      if (isFault(head)) return this.reject(exchange, head);
      if (exchange.client.url === "*") return answerOptions(exchange);

      const verdict = decide(head, snapshot, this.#bodyReader(exchange));
      if (verdict instanceof Promise) this.#whenDecided(exchange, verdict);
      else this.#act(exchange, verdict);
    } catch (error) {
      this.#break(exchange, error);
    }
  }

  /** A WebSocket goes through the same decision; any other wish to change protocol is an ordinary request. */
  handleUpgrade(exchange: Exchange, rest: Buffer): boolean {
    const snapshot = this.#options.snapshot();
    const head = identify(exchange, snapshot);
    if (!isFault(head) && !(head.upgradeWebSocket && this.#allowsWebSocket(head, snapshot))) return false;
    exchange.upgradeRest = rest;
    this.handle(exchange);
    return true;
  }

  reject(exchange: Exchange, reason: Fault): void {
    if (exchange.snapshot === null) this.#begin(exchange);
    // What is not clean is not read on: the next bytes may be anything.
    exchange.client.keepAlive = false;
    this.#refuse(exchange, reason);
  }

  breakOff(exchange: Exchange, reason: Fault): void {
    exchange.forwarding?.abort();
    if (exchange.client.answerEnded) {
      // Answered already, as a request with an unknown coding is: the answer is not to be lost with the connection.
      exchange.socket.destroySoon();
      return;
    }
    exchange.client.keepAlive = false;
    this.#refuse(exchange, reason);
  }

  ended(exchange: Exchange): void {
    exchange.forwarding?.abort();
    exchange.endedAt = performance.now();
    if (exchange.status === 0) exchange.status = CLIENT_CLOSED_REQUEST;
    this.#options.recorder.record(exchange);
  }

  dropped(error: Error | null): void {
    this.#options.recorder.dropped(error);
  }

  draining(): boolean {
    return this.#options.draining();
  }

  #begin(exchange: Exchange): Snapshot {
    exchange.snapshot = this.#options.snapshot();
    this.#options.recorder.begin(exchange);
    return exchange.snapshot;
  }

  #allowsWebSocket(head: RequestHead, { table }: Snapshot): boolean {
    const search = table.find(head.method, head.host, head.target.path, (name) => headerValue(head, name));
    return search.kind === "found" && search.route.websocket;
  }

  #bodyReader(exchange: Exchange): ReadBody {
    return async (maxBytes) => {
      exchange.waitingSince = performance.now();
      const body = await readBody(exchange, maxBytes);
      exchange.waitedMs += performance.now() - exchange.waitingSince;
      exchange.waitingSince = 0;
      return body;
    };
  }

  #whenDecided(exchange: Exchange, verdict: Promise<Verdict>): void {
    verdict.then((decided) => this.#act(exchange, decided)).catch((error: unknown) => this.#break(exchange, error));
  }

  #act(exchange: Exchange, verdict: Verdict): void {
    exchange.route = verdict.route;
    exchange.verdict = verdict.label;
    exchange.keyId = verdict.record?.id ?? null;
    // The client left, or its body broke off, while the key was looked up.
    if (exchange.client.answerBegun || exchange.client.gone) return;

    if (verdict.kind === "refuse") return this.#refuse(exchange, verdict.fault);
    const { forwarder } = this.#options;
    const { snapshot, upgradeRest } = exchange;
    if (snapshot === null) return;
    if (exchange.head !== null && hasNoHopLeft(exchange.head)) return answerOptions(exchange);
    const { upstreams } = snapshot;
    if (upgradeRest === null) forwarder.forward(exchange, verdict, upstreams, this.#forwarded);
    else forwarder.upgrade(exchange, verdict, upstreams, exchange.socket, upgradeRest, this.#forwarded);
  }

  /** How forwarding ended; the answer went out as it came unless nothing of it had begun. */
  readonly #forwarded = (exchange: Exchange, outcome: ForwardOutcome): void => {
    if (outcome.kind === "fault") {
      this.#refuse(exchange, outcome.fault);
    } else if (outcome.kind === "truncated") {
      exchange.fault = outcome.fault.code;
      exchange.cause = outcome.fault.cause;
    }
  };

  #refuse(exchange: Exchange, reason: Fault): void {
    const { client, snapshot } = exchange;
    if (client.gone || snapshot === null) return;
    if (client.answerBegun) {
      // What was answered stands in the record; what broke after it ends the connection.
      exchange.fault ??= reason.code;
      exchange.cause ??= reason.cause;
      exchange.socket.destroy();
      return;
    }
    exchange.fault = reason.code;
    exchange.cause = reason.cause;
    const envelope = formatEnvelope(reason, exchange.requestId, snapshot.errors);
    if (snapshot.serverTiming) envelope.headers.push("Server-Timing", formatServerTiming(exchange));
    exchange.status = envelope.status;
    exchange.bytesOut = client.method === "HEAD" ? 0 : envelope.bytes;
    // The body of a refused request is not read to its end, and what follows it is not a request.
    if (hasBody(exchange) || ENDS_CONNECTION.has(reason.code)) client.keepAlive = false;
    this.#send(exchange, envelope);
  }

  #send(exchange: Exchange, { status, headers, body, bytes }: Envelope): void {
    const phrase = STATUS_CODES[status] ?? "Error";
    // As one string, which has to be ASCII for that.
    if (bytes === body.length && canAnswerWhole(exchange)) {
      const sent = exchange.bytesOut === 0 ? "" : body;
      answerWhole(exchange, status, formatStatusLine(status, phrase), formatFields(headers), false, sent);
      return;
    }
    const { response, socket } = exchange;
    response.writeHead(status, phrase, headers);
    response.end(body);
    // A client that does not take its answer does not keep the connection for ever.
    if (socket.writableLength > 0) socket.setTimeout(exchange.idleMs);
  }

  /** A defect of ours: it is told as one, and goes to the log. */
  #break(exchange: Exchange, error: unknown): void {
    this.#refuse(exchange, fault("unkey:application:unexpected_error", { cause: error }));
  }
}

/** The status in the record of a request whose client left before it was answered. */
const CLIENT_CLOSED_REQUEST = 499;

/**
 * Faults of a request that two servers may read differently: its connection is not trusted with another. And a body that
 * was too large, so that it is the same however much of it had come.
 */
const ENDS_CONNECTION: ReadonlySet<FaultCode> = new Set<FaultCode>([
  "user:bad_request:ambiguous_path",
  "user:bad_request:invalid_request",
  "user:bad_request:request_body_too_large",
]);

function identify(exchange: Exchange, snapshot: Snapshot): RequestHead | Fault {
  const { method = "", url = "", httpVersion, rawHeaders } = exchange.client;
  const target = url === "*" && method === "OPTIONS" ? "/" : url;
  const head = readHead(method, target, httpVersion, rawHeaders, snapshot.head);
  if (isFault(head)) return head;
  exchange.head = head;
  if (head.closeAfter) exchange.client.keepAlive = false;
  return head;
}

function hasBody({ head, client }: Exchange): boolean {
  if (client.complete) return false;
  if (head === null) return maySendBody(client.request);
  return head.body.kind === "chunked" || (head.body.kind === "length" && head.body.bytes > 0);
}

/** Of a request whose head nobody looked at. */
function maySendBody({ headers }: IncomingMessage): boolean {
  return headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined;
}

/** `OPTIONS *` asks about the server itself (RFC 9110 section 9.3.7): it is answered here and reaches no upstream. */
function answerOptions(exchange: Exchange): void {
  exchange.status = 204;
  if (hasBody(exchange)) exchange.client.keepAlive = false;
  exchange.response.writeHead(204, ["X-Request-Id", exchange.requestId, "Cache-Control", "no-store"]);
  exchange.response.end();
}

function overloadFault(): Fault {
  return fault("unkey:application:service_unavailable", { retryAfterSeconds: 1, cause: "overloaded" });
}
