import type { Duplex } from "node:stream";
import type { Verdict } from "../decide.ts";
import type { Exchange } from "../exchange.ts";
import type { Fault } from "../faults/fault.ts";
import type { Upstreams } from "./upstreams.ts";

/** The verdict that lets a request through: what forwarding needs to know of it. */
export type Admission = Extract<Verdict, { kind: "admit" }>;

/**
 * Told once how forwarding ended, never from within `forward` or `upgrade` itself, and not after
 * `exchange.forwarding.abort()`: that is how the caller says that the client is gone. `exchange.head` was there when it
 * began; `status`, `bytesIn`, `bytesOut`, `upstream*` and `retries` are filled in by now. On `fault` nothing has been
 * sent and the caller answers; where the request's body was not read to its end, that answer has to close the
 * connection.
 */
export type ForwardDone = (exchange: Exchange, outcome: ForwardOutcome) => void;

/** Acts on an admission: sends the request to an upstream and its answer to the client, streaming both ways. */
export interface Forwarder {
  /** `exchange.head` must be there. The request must not have been read, unless `admission.body` holds all of it. */
  forward(exchange: Exchange, admission: Admission, upstreams: Upstreams, done: ForwardDone): void;
  /**
   * A WebSocket handshake (`head.upgradeWebSocket` on a route with `websocket`), out of the server's `upgrade` event.
   * `socket` and `early` are that event's; `exchange.response` must be assigned to `socket` (`response.assignSocket`):
   * an upstream's answer other than 101 is relayed through it and the connection closed. After 101 the exchange runs
   * until the tunnel is closed, with `done` told `answered`.
   */
  upgrade(
    exchange: Exchange,
    admission: Admission,
    upstreams: Upstreams,
    socket: Duplex,
    early: Buffer,
    done: ForwardDone,
  ): void;
  /** Tunnels that are open: to close those whose key is valid no more, and all at the end of a drain. */
  readonly tunnels: ReadonlySet<Tunnel>;
  /** Closes every tunnel and every socket to an upstream. */
  close(): void;
}

/** An open WebSocket connection through the gateway. */
export interface Tunnel {
  readonly exchange: Exchange;
  /** Route and record that it was let through by. */
  readonly admission: Admission;
  /** Ends it on both sides; harmless after the end. */
  close(): void;
}

/**
 * One exchange with an upstream at the level of HTTP messages: the seam between deciding what goes on the wire
 * (forward.ts, once) and speaking HTTP/1.1 to a socket (two engines: `http-engine.ts` on node:http, the reference, and
 * `socket-engine.ts` on net/tls). An engine never retries, never edits headers, and never calls back re-entrantly from
 * within `send`.
 */
export interface UpstreamEngine {
  send(request: UpstreamRequest, handler: UpstreamHandler): UpstreamCall;
  /** Idle sockets to this origin are closed; used when an upstream is removed. */
  forget(origin: UpstreamOrigin): void;
  /** Destroys every socket. */
  close(): void;
}

/** How an engine keeps connections. */
export interface EngineOptions {
  /**
   * So long an idle connection takes any request, 4 s unless given: shorter than what most upstreams allow. Milliseconds.
   * An upstream that says how long it waits (`Keep-Alive: timeout=N`) is believed instead.
   */
  readonly idleSocketMs?: number;
  /**
   * So long it is kept where nobody said more, 60 s unless given, for requests that are `repeatable`: should the upstream
   * close it that very moment, another one takes them. Milliseconds. The reference engine closes it after `idleSocketMs`.
   */
  readonly longIdleSocketMs?: number;
  /**
   * At most so many to an origin are kept for longer than `idleSocketMs`, 64 unless given, whatever the upstream says: at
   * some each holds a thread.
   */
  readonly longIdleSocketsMax?: number;
  /**
   * A connection older than this is not used again, 60 s unless given: so that a changed address is taken up.
   * Milliseconds.
   */
  readonly maxSocketAgeMs?: number;
  /**
   * Idle connections are kept while there are no more than so many in all, to whatever origins; 10,000 unless given. Fewer
   * than there can be clients, and those beyond have one opened and closed for every request.
   */
  readonly keptSocketsMax?: number;
}

/** Where to connect. Two requests share a pooled socket only when their origins are the very same object. */
export interface UpstreamOrigin {
  /** Host name or address (IPv6 without brackets) and port: what is connected to. */
  readonly hostname: string;
  readonly port: number;
  /** Null: plain TCP. */
  readonly tls: UpstreamTls | null;
}

export interface UpstreamTls {
  readonly ca: string | Buffer | null;
  readonly cert: string | Buffer | null;
  readonly key: string | Buffer | null;
  /** SNI and the name that is verified; always verified. */
  readonly serverName: string;
}

export interface UpstreamRequest {
  readonly origin: UpstreamOrigin;
  readonly method: string;
  /** Origin-form: path and query. */
  readonly path: string;
  /** Name, value, name, value ...: the complete list, framing and Host included, nothing is added. latin1 values. */
  readonly headers: readonly string[];
  /** Must agree with the framing fields in `headers`. */
  readonly body: "none" | "length" | "chunked";
  /** The whole body, where it is here: the request is complete with it. Null: it is written as it comes, or there is none. */
  readonly content: Buffer | null;
  /** Ask for a protocol change: only then is a 101 an answer, and the socket is never pooled. */
  readonly upgrade: boolean;
  /**
   * Milliseconds; 0 is no limit. `connectMs` ends when the socket is connected, TLS included. `responseMs` counts from
   * then, or from `end()` where a body is written (a long upload is no slow answer), to the first byte of the answer's
   * body or the end of a bodyless one. `idleMs`: between bytes of the answer's body, not while paused, or while a
   * `write` that said `full` waits for `onDrain`.
   */
  readonly connectMs: number;
  readonly responseMs: number;
  readonly idleMs: number;
  /** It is sent again should its connection turn out dead. Others go where that is not to be expected. */
  readonly repeatable: boolean;
  /** True: do not take a pooled socket (a retry after one that turned out dead). */
  readonly freshSocket: boolean;
}

/** The running exchange, to steer it. Every method is harmless after the end. */
export interface UpstreamCall {
  /** The chunk must stay as it is unless it was taken. Before there is a connected socket it is kept. */
  write(chunk: Buffer): Written;
  /** The request's body is complete. */
  end(): void;
  /** Stop and resume reading the answer's body. */
  pause(): void;
  resume(): void;
  /** Destroys the socket; no further callback is made. */
  abort(): void;
}

/**
 * What became of a piece of the request's body. `taken`: it is with the kernel, or of no use any more, and its memory is
 * free. `kept`: it is still needed, and more may follow. `full`: the same, but the upstream takes no more for now;
 * `onDrain` follows.
 */
export type Written = "taken" | "kept" | "full";

/** Told what the upstream does. After `onEnd`, `onUpgrade` or `onError` no further callback is made. */
export interface UpstreamHandler {
  /** An interim answer (102 to 199, also 100); there can be several. */
  onInterim(status: number, headers: readonly string[]): void;
  /**
   * The final header block, 200 to 599; raw list, as it came. `bodyless`: no body follows (HEAD, 204, 304, length 0).
   */
  onHead(status: number, reason: string, headers: readonly string[], bodyless: boolean): void;
  /**
   * `last`: the body is complete with this chunk, and `onEnd` follows without trailers in the same tick. `lent`: the
   * chunk's memory is used again as soon as this returns; what is kept has to be copied. True: the handler is done with
   * the chunk. False: it is still needed as it is (and was not lent).
   */
  onBody(chunk: Buffer, last: boolean, lent: boolean): boolean;
  /** All that one read of the answer brought was told: what is held back to go together with more need not wait. */
  onReadEnd(): void;
  /** The message is complete. `trailers` as a raw list, empty mostly. */
  onEnd(trailers: readonly string[]): void;
  /** The upstream's 101: from here on `socket` is the caller's; `rest` is what it already said beyond the head. */
  onUpgrade(headers: readonly string[], socket: import("node:net").Socket, rest: Buffer): void;
  /**
   * The request's body may be written (again). Where there is one to be written it is called once as soon as the head was handed
   * to a connected socket: until then the client's body is not read, and a target that refuses can be changed for
   * another.
   */
  onDrain(): void;
  /** The socket is gone and nothing of it is pooled. */
  onError(error: UpstreamError): void;
}

/** Why an exchange with an upstream failed: the metric label `reason`. */
export type UpstreamErrorReason =
  | "refused" // could not connect, name not found, TLS not verified
  | "connect_timeout"
  | "response_timeout" // connected, no first byte of the answer's body in time
  | "idle_timeout" // silence within a message
  | "reset" // the connection ended before the answer was complete
  | "invalid_response"; // not clean HTTP

export interface UpstreamError {
  readonly reason: UpstreamErrorReason;
  /** For the log: what was seen (`ECONNREFUSED`, `two Content-Length fields`); no header values. */
  readonly detail: string;
  /** No byte of the request was handed to a connected socket. */
  readonly nothingSent: boolean;
  /** The socket had served an earlier exchange. */
  readonly reusedSocket: boolean;
  /** A byte of the final answer had been seen. */
  readonly answerBegun: boolean;
}

/** How forwarding ended, told to the gateway once. */
export type ForwardOutcome =
  /** The answer was handed to the client's connection whole (or the tunnel closed). */
  | { readonly kind: "answered" }
  /** Nothing has been sent to the client: the gateway answers with this. */
  | { readonly kind: "fault"; readonly fault: Fault }
  /** The answer broke off half-way; the client's connection was destroyed so that it never looks whole. */
  | { readonly kind: "truncated"; readonly fault: Fault };
