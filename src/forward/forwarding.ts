import type { Socket } from "node:net";
import { answerWhole, canAnswerWhole, formatStatusLine } from "../answer.ts";
import { type BodyReader, type Exchange, formatServerTiming, type UpstreamTrace } from "../exchange.ts";
import { type Fault, fault } from "../faults/fault.ts";
import { bodyTooLarge } from "../faults/too-much.ts";
import { GrowingBytes } from "../growing-bytes.ts";
import type { BodyFraming, RequestHead } from "../head.ts";
import { isFieldValue } from "../octets.ts";
import { ownPiece } from "../read-memory.ts";
import { earlyHintLinks } from "./early-hints.ts";
import type {
  Admission,
  ForwardDone,
  ForwardOutcome,
  UpstreamCall,
  UpstreamEngine,
  UpstreamError,
  UpstreamHandler,
} from "./forwarder.ts";
import { ONE_WRITE_BYTES, SMALL_BYTES } from "./piece-sizes.ts";
import { principalOf } from "./principal.ts";
import { buildRequestHeaders, type RequestHeadersContext } from "./request-headers.ts";
import { resetSocket } from "./reset-socket.ts";
import { buildTrailers, type ResponseHeaders, type ResponseHeadersMemo } from "./response-headers.ts";
import { replaceFields } from "./trace-headers.ts";
import type { Upstream, UpstreamTarget } from "./upstreams.ts";

export interface ForwardingDeps {
  readonly engine: UpstreamEngine;
  readonly via: string;
  readonly answers: ResponseHeadersMemo;
  readonly now: () => number;
}

/**
 * One request on its way to an upstream and the answer on its way back. It sees to limits, retries, back-pressure and
 * to what a client may be told; bytes and their framing are the engine's. The caller watches for the client's leaving
 * and says so with `abort`.
 */
export class Forwarding implements UpstreamHandler, BodyReader {
  protected readonly exchange: Exchange;
  protected readonly admission: Admission;
  protected readonly deps: ForwardingDeps;
  protected call: UpstreamCall | null = null;
  /** Nothing more is expected of the upstream, and `done` was told or will not be. */
  protected over = false;
  private readonly head: RequestHead;
  private readonly upstream: Upstream;
  private readonly done: ForwardDone;
  private readonly body: BodyFraming;
  /** The whole body, where it is here: it was read for `{body}`, or came with the head. */
  private content: Buffer | null;
  private target: UpstreamTarget | null = null;
  /** The span of the try that is under way. */
  private trace: UpstreamTrace | null = null;
  /** The client's body is being read, or was: there is no second try. */
  private uploading = false;
  private requestEnded: boolean;
  /** The answer's head was handed to the response. */
  private answering = false;
  /** The answer's head while it may still leave together with the body. */
  private held: HeldHead | null = null;
  /** What came in small pieces, to leave together at the end of the read that brought it: a socket keeps each by itself. */
  private small: GrowingBytes | null = null;
  /** The answer is not read on until the client has taken what it was sent. */
  private paused = false;
  /** What the client keeps us waiting for, as bits; the socket's time-out is ours while there is any. */
  private waitingFor = 0;
  private timeoutBefore = 0;
  /** Made when it is first needed: most exchanges need none. */
  private silenceListener: (() => void) | null = null;

  constructor(exchange: Exchange, admission: Admission, upstream: Upstream, done: ForwardDone, deps: ForwardingDeps) {
    if (exchange.head === null) throw new Error("forwarding needs the request's head");
    this.exchange = exchange;
    this.admission = admission;
    this.head = exchange.head;
    this.upstream = upstream;
    this.done = done;
    this.deps = deps;
    this.body = framingOf(this.head, admission.body);
    this.content = streams(this.body) ? admission.body : null;
    this.requestEnded = !streams(this.body) || this.content !== null;
  }

  start(): void {
    const { exchange } = this;
    exchange.forwarding = this;
    const { maxBodyBytes } = this.admission.route;
    if (this.head.body.kind === "length" && this.head.body.bytes > maxBodyBytes) {
      this.finishLater(bodyTooLarge(maxBodyBytes));
      return;
    }
    exchange.upstream = this.upstream.name;
    const target = this.upstream.pick(null);
    if (target === null) {
      this.finishLater(fault("sentinel:upstream:service_unavailable", { cause: "no healthy target" }));
      return;
    }
    this.takeContent();
    exchange.upstreamStartedAt = this.deps.now();
    this.send(target, false);
  }

  /** Ends both sides of it, as far as they are ours; `done` is not told. Harmless after the end. */
  abort(): void {
    this.stopWaiting(ALL);
    if (this.over) return;
    this.close();
    this.call?.abort();
  }

  onInterim(status: number, headers: readonly string[]): void {
    // Only what 103 is for is handed on: other interim answers are about our own request, or say nothing.
    if (status !== 103 || this.over || this.answering || this.head.version !== "1.1") return;
    const link = earlyHintLinks(headers);
    if (link.length === 0) return;
    try {
      this.exchange.response.writeEarlyHints({ link });
    } catch {
      // Node refuses what it takes for malformed. They are hints: the final answer carries what matters.
    }
  }

  onHead(status: number, reason: string, headers: readonly string[], bodyless: boolean): void {
    if (this.over) return;
    const { exchange, head } = this;
    if (this.target !== null) this.upstream.succeeded(this.target);
    const fields = this.deps.answers.of(headers, status, head.version === "1.1" && !bodyless);
    if (typeof fields === "string") {
      this.refuseAnswer(fields);
      return;
    }
    // What the client still sends belongs to this request; once the answer has ended nobody reads it.
    if (!this.requestEnded) exchange.client.keepAlive = false;
    // Most answers are here as a whole: then head and body leave in one write.
    this.held = { status, reason, fields, bodyless };
  }

  onBody(chunk: Buffer, last: boolean, lent: boolean): boolean {
    if (this.over) return true;
    const { exchange } = this;
    exchange.bytesOut += chunk.length;
    if (last) return this.endAnswer(chunk, lent);
    if (this.held !== null && !this.beginAnswer(this.held)) return true;
    const piece = ownPiece(chunk, lent);
    if (piece.length < SMALL_BYTES) {
      this.small ??= new GrowingBytes();
      this.small.add(piece);
      return true;
    }
    this.sendSmall();
    return this.sendPiece(piece, piece !== chunk);
  }

  /** As `onBody`; `copied`: the memory is this piece's own. */
  private sendPiece(piece: Buffer, copied: boolean): boolean {
    const { response, socket } = this.exchange;
    const takesMore = response.write(piece);
    // Node writes a turn later, to join pieces; a large one goes at once, so that its memory is mostly free again.
    if (!copied) socket.uncork();
    const taken = !copied && response.writableLength === 0;
    if (takesMore || taken || this.paused) return copied || taken;
    this.paused = true;
    this.call?.pause();
    this.waitFor(READING);
    response.once("drain", () => {
      this.paused = false;
      this.stopWaiting(READING);
      this.call?.resume();
    });
    return copied;
  }

  onEnd(trailers: readonly string[]): void {
    if (this.over) return;
    if (trailers.length > 0) {
      if (this.held !== null && !this.beginAnswer(this.held)) return;
      const pairs = buildTrailers(trailers);
      if (pairs !== null) this.exchange.response.addTrailers(pairs);
    }
    this.endAnswer(null, false);
  }

  /** Sends the head to a client that gets no body with it yet, and of a body what came in small pieces. */
  onReadEnd(): void {
    if (this.over) return;
    this.sendSmall();
    // `flushHeaders` would send the head as UTF-8, and each byte above 127 as two.
    if (this.held !== null && this.beginAnswer(this.held)) this.exchange.response.write("", "latin1");
  }

  onUpgrade(_headers: readonly string[], socket: Socket, _rest: Buffer): void {
    socket.destroy();
    this.refuseAnswer("a 101 that nobody asked for");
  }

  onDrain(): void {
    if (this.over || this.requestEnded) return;
    if (!this.uploading) this.upload();
    else if (this.exchange.client.body.paused) {
      this.waitFor(SENDING);
      this.exchange.client.body.resume();
    }
  }

  onError(error: UpstreamError): void {
    if (this.over) return;
    const { exchange, target } = this;
    this.endTrace(error.reason);
    if (target !== null) this.upstream.failed(target, error);
    if (!this.answering) {
      const next = this.retryTarget(error);
      if (next !== null) {
        exchange.retries += 1;
        this.retry(next);
        return;
      }
    }
    this.breakOff(faultOf(error));
  }

  protected get upgrades(): boolean {
    return false;
  }

  /** Ends the exchange with a fault: as an answer where none has begun, else by cutting the client's connection. */
  protected breakOff(reason: Fault): void {
    this.close();
    if (!this.answering) {
      this.tell({ kind: "fault", fault: reason });
      return;
    }
    this.cutOff();
    this.tell({ kind: "truncated", fault: reason });
  }

  protected refuseAnswer(cause: unknown): void {
    this.call?.abort();
    this.endTrace("invalid_response");
    this.breakOff(fault("sentinel:upstream:bad_gateway", { cause }));
  }

  /** No more callbacks; the client's body is no longer ours. */
  protected close(): void {
    this.over = true;
    this.exchange.upstreamEndedAt = this.deps.now();
    this.endTrace(this.answering ? null : "aborted");
    this.stopWaiting(SENDING);
    // What still comes is thrown away until its connection ends: it must never be read as another request.
    if (this.uploading && !this.requestEnded) this.exchange.client.body.discard();
  }

  /** The span of this try is over; `reason`: what it failed for. Harmless after its end. */
  protected endTrace(reason: string | null): void {
    const { status } = this.exchange;
    this.trace?.end(status === 0 ? null : status, reason);
    this.trace = null;
  }

  protected tell(outcome: ForwardOutcome): void {
    this.done(this.exchange, outcome);
  }

  /** The time-out that ends whoever falls silent; milliseconds, 0 for none. */
  protected get idleMs(): number {
    return this.admission.route.timeouts.idleMs ?? this.upstream.timeouts.idleMs;
  }

  /** Hands the head over for a body that follows in pieces. False: it was refused. */
  private beginAnswer({ status, reason, fields }: HeldHead): boolean {
    const { exchange } = this;
    const { response } = exchange;
    this.held = null;
    const headers = fields.list(exchange.requestId);
    if (exchange.snapshot?.serverTiming) headers.push("Server-Timing", formatServerTiming(exchange));
    try {
      response.writeHead(status, reason, headers);
    } catch (error) {
      // Node keeps a reason phrase that it refuses, and would refuse the next answer for it.
      response.statusMessage = "";
      this.refuseAnswer(error);
      return false;
    }
    exchange.status = status;
    this.answering = true;
    return true;
  }

  /** Never `end()`: what is cut off must not look whole. */
  private cutOff(): void {
    const { socket, response } = this.exchange;
    // To an HTTP/1.0 client the end of the connection can be the end of the body: only a reset tells it otherwise.
    if (this.head.version === "1.0") resetSocket(socket);
    response.destroy();
  }

  private send(target: UpstreamTarget, freshSocket: boolean): void {
    const { admission, body, head } = this;
    const { timeouts } = admission.route;
    this.target = target;
    this.call = this.deps.engine.send(
      {
        origin: target.origin,
        method: head.method,
        path: admission.target.path + admission.target.query,
        headers: this.traced(target, buildRequestHeaders(head, this.headersContext(target))),
        body: streams(body) ? body.kind : "none",
        content: this.content,
        upgrade: this.upgrades,
        connectMs: timeouts.connectMs ?? this.upstream.timeouts.connectMs,
        responseMs: timeouts.responseMs ?? this.upstream.timeouts.responseMs,
        idleMs: this.idleMs,
        repeatable: this.repeatable,
        freshSocket,
      },
      this,
    );
  }

  /** With tracing, the upstream is told of our span in place of the client's. */
  private traced(target: UpstreamTarget, headers: string[]): readonly string[] {
    const { exchange, admission, head } = this;
    if (exchange.trace === null) return headers;
    const { hostname, port, tls } = target.origin;
    this.trace = exchange.trace.upstream({
      method: head.method,
      scheme: tls === null ? "http" : "https",
      hostname,
      port,
      path: admission.target.path,
      resend: exchange.retries,
    });
    return replaceFields(headers, this.trace.headers);
  }

  private headersContext(target: UpstreamTarget): RequestHeadersContext {
    const { exchange, admission } = this;
    const { route, record } = admission;
    const { peer } = exchange;
    return {
      requestId: exchange.requestId,
      via: this.deps.via,
      clientIp: peer.clientIp,
      trustedPeer: peer.trusted,
      peerAddress: peer.address,
      scheme: peer.scheme,
      port: peer.port,
      authority: target.authority,
      preserveHost: route.preserveHost,
      authorization: route.authorization,
      principal: route.access.kind === "open" || record === null ? null : principalOf(record),
      body: this.body,
      upgrade: this.upgrades,
    };
  }

  /**
   * Where a second try goes; null for none. At most one, and only when it cannot run the request twice: nothing was
   * sent, or the method is safe and its connection died without a word. A time-out is not tried again: the client has
   * waited for it once.
   */
  private retryTarget(error: UpstreamError): UpstreamTarget | null {
    const { target } = this;
    if (this.exchange.retries > 0 || this.uploading || target === null) return null;
    const diedSilent = error.reason === "reset" && !error.answerBegun;
    if (!error.nothingSent && !(diedSilent && this.repeatable)) return null;
    // Asking again right away the only target, which just could not be reached, is no second chance.
    return diedSilent ? this.upstream.pick(target) : this.upstream.pickOther(target);
  }

  /** Running it twice changes nothing, and the client is not needed for it. */
  private get repeatable(): boolean {
    return SAFE_METHODS.has(this.head.method) && !streams(this.body);
  }

  private retry(target: UpstreamTarget): void {
    try {
      this.send(target, true);
    } catch (error) {
      this.breakOff(fault("unkey:application:unexpected_error", { cause: error }));
    }
  }

  /** The upstream takes the body: only now is the client asked for it. */
  private upload(): void {
    const { exchange } = this;
    this.uploading = true;
    if (this.head.expectContinue) exchange.response.writeContinue();
    this.waitFor(SENDING);
    exchange.client.body.read(this);
  }

  /** A body that came with its head goes on with it. */
  private takeContent(): void {
    if (this.requestEnded) return;
    const { exchange } = this;
    const whole = exchange.client.body.takeWhole();
    if (whole === null) return;
    exchange.bytesIn += whole.length;
    this.content = whole;
    this.requestEnded = true;
  }

  onRequestData(chunk: Buffer, lent: boolean): boolean {
    if (this.over) return true;
    const { exchange } = this;
    exchange.bytesIn += chunk.length;
    const { maxBodyBytes } = this.admission.route;
    if (exchange.bytesIn > maxBodyBytes) {
      this.call?.abort();
      this.breakOff(bodyTooLarge(maxBodyBytes));
      return true;
    }
    const written = this.call?.write(lent ? Buffer.from(chunk) : chunk) ?? "taken";
    if (written === "full") {
      exchange.client.body.pause();
      this.stopWaiting(SENDING);
    }
    return lent || written === "taken";
  }

  onRequestEnd(): void {
    if (this.over) return;
    this.requestEnded = true;
    this.stopWaiting(SENDING);
    this.call?.end();
  }

  /** The end of the connection is the caller's to see. */
  onRequestAbort(): void {}

  /** The end of the answer, and all of its body that was not sent before. As `onBody`, says whether that is done with. */
  private endAnswer(chunk: Buffer | null, lent: boolean): boolean {
    const { held } = this;
    if (held !== null) {
      if (this.fitsOneWrite(held, chunk)) {
        this.sendWhole(held, chunk);
        return true;
      }
      if (!this.beginAnswer(held)) return true;
    }
    this.sendSmall();
    this.close();
    const { response, socket } = this.exchange;
    const piece = chunk === null ? null : ownPiece(chunk, lent);
    if (piece === null) response.end();
    else response.end(piece);
    // The rest is in our hands still: a client that does not fetch it does not keep it for ever.
    if (socket.writableLength > 0) this.waitFor(READING);
    this.tell(ANSWERED);
    return piece === null || piece !== chunk;
  }

  private sendSmall(): void {
    const { small } = this;
    if (small === null) return;
    this.small = null;
    this.sendPiece(small.all(), true);
  }

  private fitsOneWrite({ fields, bodyless }: HeldHead, chunk: Buffer | null): boolean {
    const fits = chunk === null ? bodyless : fields.sized && chunk.length <= ONE_WRITE_BYTES;
    return fits && this.head.version === "1.1" && canAnswerWhole(this.exchange);
  }

  private sendWhole({ status, reason, fields }: HeldHead, chunk: Buffer | null): void {
    const { exchange } = this;
    let lines: string;
    try {
      lines = fields.lines(exchange.requestId);
      if (!isFieldValue(reason)) throw new TypeError("a reason phrase that is not clean");
    } catch (error) {
      this.refuseAnswer(error);
      return;
    }
    if (exchange.snapshot?.serverTiming) lines += `Server-Timing: ${formatServerTiming(exchange)}\r\n`;
    exchange.status = status;
    this.held = null;
    this.answering = true;
    this.close();
    if (this.idleMs > 0) exchange.idleMs = this.idleMs;
    answerWhole(exchange, status, formatStatusLine(status, reason), lines, fields.dated, chunk ?? "");
    this.tell(ANSWERED);
  }

  private finishLater(reason: Fault): void {
    process.nextTick(() => {
      if (!this.over) this.breakOff(reason);
    });
  }

  /**
   * Node's own socket time-out watches the client: it counts a slow reader's progress within one large write, which no
   * event shows. Without `idleMs`, and while nothing is waited for, the listener's own time-out stands.
   */
  private waitFor(what: number): void {
    const { idleMs } = this;
    if (idleMs === 0) return;
    const { socket } = this.exchange;
    if (this.waitingFor === 0) {
      this.silenceListener ??= () => this.onSilence();
      this.timeoutBefore = socket.timeout ?? 0;
      socket.setTimeout(idleMs);
      socket.on("timeout", this.silenceListener);
    }
    this.waitingFor |= what;
  }

  private stopWaiting(what: number): void {
    if (this.waitingFor === 0) return;
    this.waitingFor &= ~what;
    if (this.waitingFor !== 0) return;
    const { socket } = this.exchange;
    if (this.silenceListener !== null) socket.off("timeout", this.silenceListener);
    this.exchange.client.giveBackTimeout(this.timeoutBefore);
  }

  private onSilence(): void {
    const detail = `silent for ${this.idleMs} ms`;
    this.stopWaiting(ALL);
    this.call?.abort();
    if (this.over) this.cutOff();
    else this.breakOff(fault("user:bad_request:request_timeout", { cause: detail }));
  }
}

/** The head of an answer that was not handed over yet. */
interface HeldHead {
  readonly status: number;
  readonly reason: string;
  readonly fields: ResponseHeaders;
  readonly bodyless: boolean;
}

/** The client's body is waited for. */
const SENDING = 1;
/** The client does not take what it is sent. */
const READING = 2;
const ALL = SENDING | READING;

const ANSWERED: ForwardOutcome = { kind: "answered" };

const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

function streams(body: BodyFraming): body is Exclude<BodyFraming, { kind: "none" }> {
  return body.kind === "chunked" || (body.kind === "length" && body.bytes > 0);
}

/** A body that was read goes on with its length, however it came. */
function framingOf(head: RequestHead, body: Buffer | null): BodyFraming {
  return body === null || head.body.kind === "none" ? head.body : { kind: "length", bytes: body.length };
}

function faultOf({ reason, detail }: UpstreamError): Fault {
  const cause = `${reason}: ${detail}`;
  switch (reason) {
    case "refused":
      return fault("sentinel:upstream:service_unavailable", { cause });
    case "connect_timeout":
    case "response_timeout":
    case "idle_timeout":
      return fault("sentinel:upstream:gateway_timeout", { cause });
    case "reset":
    case "invalid_response":
      return fault("sentinel:upstream:bad_gateway", { cause });
  }
}
