import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Verdict } from "./decide.ts";
import type { FaultCode } from "./faults/catalogue.ts";
import type { RequestHead } from "./head.ts";
import type { Route } from "./routes/route.ts";
import type { Snapshot } from "./snapshot.ts";

/**
 * One request/response pair and what is known of it so far. Made when the request arrives, handed through deciding and
 * forwarding, and read once by telemetry when it is over. Times are `performance.now()` milliseconds.
 */
export class Exchange {
  readonly client: ClientMessages;
  /** `req_` and 15 characters. */
  readonly requestId: string;
  readonly peer: Peer;
  readonly startedAt: number;

  /** The generation of the configuration it began with; null until it is handed to the gateway. */
  snapshot: Snapshot | null = null;
  /** The exchange with the upstream while it runs. */
  forwarding: Forwarding | null = null;
  /** What a kept-alive answer says of its connection, with line ends. */
  keepAliveFields = "";
  /** How long its client may leave an answer lying. Milliseconds; 0: for ever. */
  idleMs = 0;
  /** The spans of this exchange; null where no tracing is set up. */
  trace: ExchangeTrace | null = null;
  /** For a request to change protocol: what its client sent beyond the head. Null for an ordinary request. */
  upgradeRest: Buffer | null = null;
  /** Null until the head was read and found clean. */
  head: RequestHead | null = null;
  route: Route | null = null;
  verdict: Verdict["label"] | null = null;
  keyId: string | null = null;
  /** The fault the gateway answered with, or that broke the answer off. */
  fault: FaultCode | null = null;
  /** Private cause of that fault, for the log. */
  cause: unknown = undefined;
  /** Status sent to the client; 0 until one is. 499 where the client left before. */
  status = 0;
  /** Body bytes received from and sent to the client. */
  bytesIn = 0;
  bytesOut = 0;
  /** The upstream's name, null when nothing was forwarded. */
  upstream: string | null = null;
  /** When the request was handed to the upstream, and when the exchange with it ended; 0: not (yet). */
  upstreamStartedAt = 0;
  upstreamEndedAt = 0;
  /** Milliseconds spent waiting for the client's body before it could be handed on: not the gateway's share. */
  waitedMs = 0;
  /** Since when it waits for that, beyond those; 0: it does not. */
  waitingSince = 0;
  /** Tries at the upstream beyond the first. */
  retries = 0;
  /** When it was over; 0: it runs. */
  endedAt = 0;

  constructor(client: ClientMessages, requestId: string, peer: Peer, startedAt: number) {
    this.client = client;
    this.requestId = requestId;
    this.peer = peer;
    this.startedAt = startedAt;
  }

  /** Node's objects for both messages: a plain request has them only from the first time that they are asked for. */
  get request(): IncomingMessage {
    return this.client.request;
  }

  get response(): ServerResponse {
    return this.client.response;
  }

  get socket(): Socket {
    return this.client.socket;
  }
}

/**
 * The client's side of an exchange: the head of its request as it came, and the way its answer takes. There are two:
 * Node's own objects (`inbound/node-messages.ts`), and a plain request that was read without them
 * (`inbound/plain-messages.ts`).
 */
export interface ClientMessages {
  readonly socket: Socket;
  /** Undefined where what came was no request. */
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly httpVersion: string;
  /** Name, value, name, value ... as they came; latin1. */
  readonly rawHeaders: readonly string[];
  /** The request was read to its end. */
  readonly complete: boolean;
  readonly body: RequestBody;
  /** Without the body, which is `body` alone. */
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** False: the connection ends with this answer, which says so. */
  keepAlive: boolean;
  /** Something of an answer was sent, through `response` or past it: there will be no other. */
  readonly answerBegun: boolean;
  /** The whole answer was handed over. */
  readonly answerEnded: boolean;
  /** The connection is gone, or is no longer this exchange's. */
  readonly gone: boolean;
  /** An answer may go to the socket past `response` now: it is this exchange's turn, and nothing of one was sent. */
  readonly canPass: boolean;
  /**
   * Sends a whole answer past `response`; the exchange is over when it has left. Ask `canPass` first. Text is latin1,
   * bytes are kept as they are.
   * `idleMs`: how long its client may leave it lying before the connection is closed.
   */
  pass(answer: string | Buffer, status: number, idleMs: number): void;
  /** Who had set a time-out on the socket for this exchange needs it no more; `ms` is what it was before. */
  giveBackTimeout(ms: number): void;
}

/** The body of a request on its way in. It is read once: whole, or by a reader. */
export interface RequestBody {
  /** All of it, where all came with the head; it is read then. Null: it has to be read as it comes, or there is none. */
  takeWhole(): Buffer | null;
  /** From now on it goes to `reader` as it comes; some of it may before this returns. */
  read(reader: BodyReader): void;
  /** The client waits, once what is on its way has come: `reader` may still be told of that. */
  pause(): void;
  resume(): void;
  readonly paused: boolean;
  /** Nobody wants the rest: it is thrown away as it comes, and no reader is told of it. */
  discard(): void;
}

/** Told what comes of a request's body. */
export interface BodyReader {
  /**
   * `lent`: the chunk's memory is used again as soon as this returns; what is kept has to be copied. True: the reader is
   * done with the chunk. False: it is still needed as it is (and was not lent).
   */
  onRequestData(chunk: Buffer, lent: boolean): boolean;
  onRequestEnd(): void;
  /** It broke off: there is no more of it, and no end. */
  onRequestAbort(): void;
}

/** The gateway's own share of an exchange in milliseconds: until it was handed on, or answered here. */
export function gatewayMs(exchange: Exchange): number {
  const until = exchange.upstreamStartedAt || exchange.endedAt || performance.now();
  const waitingMs = exchange.waitingSince === 0 ? 0 : until - exchange.waitingSince;
  return Math.max(0, until - exchange.startedAt - exchange.waitedMs - waitingMs);
}

/** The upstream's share in milliseconds, so far; null when nothing was forwarded. */
export function upstreamMs(exchange: Exchange): number | null {
  if (exchange.upstreamStartedAt === 0) return null;
  const until = exchange.upstreamEndedAt || exchange.endedAt || performance.now();
  return Math.max(0, until - exchange.upstreamStartedAt);
}

/** `gateway;dur=0.12, upstream;dur=8.5` (Server Timing, section 3): milliseconds until the answer's head was made. */
export function formatServerTiming(exchange: Exchange): string {
  const gateway = `gateway;dur=${round(gatewayMs(exchange))}`;
  const upstream = upstreamMs(exchange);
  return upstream === null ? gateway : `${gateway}, upstream;dur=${round(upstream)}`;
}

function round(ms: number): number {
  return Math.round(ms * 100) / 100;
}

/** A running exchange with an upstream, as seen from the client's side. */
export interface Forwarding {
  /** Ends it at once; its outcome is not told. Harmless after its end. */
  abort(): void;
}

/** The spans of one exchange, as whoever deals with it sees them. */
export interface ExchangeTrace {
  /** Begins the span of one try at an upstream. */
  upstream(target: UpstreamTraceTarget): UpstreamTrace;
  /** The exchange is over. */
  end(exchange: Exchange): void;
}

export interface UpstreamTraceTarget {
  readonly method: string;
  readonly scheme: "http" | "https";
  /** IPv6 without brackets. */
  readonly hostname: string;
  readonly port: number;
  /** Without the query. */
  readonly path: string;
  /** Tries before this one. */
  readonly resend: number;
}

export interface UpstreamTrace {
  /** Name, value ...: `traceparent` and its like, in place of the client's. */
  readonly headers: readonly string[];
  /** `status` of the answer, null when none came; `reason` it failed for, null when it did not. */
  end(status: number | null, reason: string | null): void;
}

/** Who is at the other end of the connection, and where it came in. */
export interface Peer {
  /** By `trustedProxies`: the socket's peer, or the rightmost untrusted address of X-Forwarded-For. */
  readonly clientIp: string;
  /** The peer is in `trustedProxies`: its X-Forwarded-* are believed. */
  readonly trusted: boolean;
  /** The socket's peer, whoever it speaks for. An IPv4 address reads as one, over an IPv6 socket too. */
  readonly address: string;
  readonly scheme: "http" | "https";
  /** The port it connected to; 0 for a socket that has none. */
  readonly port: number;
}
