import type { OnReadOpts, Socket } from "node:net";
import { GrowingBytes } from "../growing-bytes.ts";
import { ReadMemory } from "../read-memory.ts";
import { createStage } from "../turn.ts";
import type { UpstreamCall, UpstreamErrorReason, UpstreamHandler, UpstreamRequest, Written } from "./forwarder.ts";
import type { KnownHeads } from "./known-heads.ts";
import { ONE_WRITE_BYTES, SMALL_BYTES } from "./piece-sizes.ts";
import { announcedLength } from "./request-writer.ts";
import { hasNoPeer, tellWhetherReset } from "./reset-socket.ts";
import { ResponseParser, type ResponseSink } from "./response-parser.ts";
import type { Ticks } from "./ticks.ts";

/**
 * One socket to an upstream and, one after the other, the exchanges on it. Its listeners are installed once for all
 * of them; an exchange adds one small object (its `Call`) and no timer, closure or promise.
 */
export class UpstreamConnection implements ResponseSink {
  readonly #socket: Socket;
  readonly #ticks: Ticks;
  readonly #owner: ConnectionOwner;
  readonly #parser: ResponseParser;
  /** Null: the socket gives every chunk memory of its own. */
  readonly #memory: ReadMemory | null;
  /** The exchange that runs; null: idle, or over. */
  #call: Call | null = null;
  #connected = false;
  #closed = false;
  /** An earlier exchange was completed on it. */
  #reused = false;
  #corked = false;
  /** The head of a request that is sent at the end of this turn. */
  #unsent: string | null = null;
  /** A whole body that goes with it, too long to be one text with it. */
  #unsentBody: Buffer | null = null;
  /** Of a body: what came in small pieces behind something that is not with the kernel yet. They leave as one. */
  #small: GrowingBytes | null = null;
  /** The socket says when it has nothing left. */
  #waitsForRoom = false;
  #phase: Phase = "connect";
  /** The tick at which the phase has lasted too long; 0: never. */
  #deadline = 0;
  /** The tick at which the phase of an exchange began. */
  #since = 0;
  /** The tick in which it was opened. */
  readonly openedAt: number;
  /** The tick from which it is too old to be kept, so that changes of the upstream's address are followed. */
  readonly #retireAt: number;
  readonly #listeners: Readonly<Record<string, Listener>>;

  /** `open` makes the socket, which reads by the `onread` it is given, or by 'data' where that is null. */
  constructor(
    open: (onread: OnReadOpts | null) => Socket,
    { connectEvent, ownMemory }: ConnectionKind,
    owner: ConnectionOwner,
  ) {
    this.#memory = ownMemory ? null : new ReadMemory();
    const socket = open(this.#memory?.onread((chunk) => this.#receive(chunk)) ?? null);
    this.#socket = socket;
    this.#owner = owner;
    this.#ticks = owner.ticks;
    this.openedAt = owner.ticks.now;
    this.#retireAt = owner.ageMsMax === 0 ? 0 : owner.ticks.after(owner.ageMsMax);
    this.#parser = new ResponseParser(this, owner.knownHeads);
    this.#listeners = {
      ...(ownMemory && { data: (chunk: Buffer) => this.#receive(chunk) }),
      end: () => this.#ended(),
      drain: () => this.#drained(),
      [connectEvent]: () => this.#becomeConnected(),
      // After the end of an exchange nobody is left to tell; the socket is out of every list by then.
      error: (error: NodeJS.ErrnoException) => this.#fail(this.#lossReason(), error.code ?? error.message),
      close: () => this.#fail(this.#lossReason(), "connection closed"),
    };
    for (const [event, listener] of Object.entries(this.#listeners)) socket.on(event, listener);
  }

  /** It is open, and nothing runs on it. */
  get idle(): boolean {
    return this.#call === null && !this.#closed;
  }

  /** The upstream is not expected to close it yet. */
  get surelyOpen(): boolean {
    return this.#phase !== "long idle";
  }

  /** Sends a request that begins with `head`. The connection is new, or idle and reusable. */
  start(request: UpstreamRequest, head: string, handler: UpstreamHandler): UpstreamCall {
    const call = new Call(this, request, handler);
    this.#call = call;
    this.#parser.begin(request.method === "HEAD", request.upgrade);
    if (call.requestDone) {
      const { content } = request;
      const short = content !== null && content.length <= ONE_WRITE_BYTES;
      this.#unsent = short ? head + content.toString("latin1") : head;
      this.#unsentBody = short ? null : content;
      if (this.#connected) SENDS.add(this);
      else this.sendHead();
    } else {
      // The body's first bytes are mostly at hand within the same turn of the event loop: one packet for both.
      this.#corked = true;
      this.#socket.cork();
      this.#socket.write(head, "latin1");
      setImmediate(uncork, this);
    }
    if (!this.#connected) {
      this.#enter("connect", request.connectMs);
    } else {
      this.#awaitAnswer(call);
      if (!call.requestDone) process.nextTick(askForBody, call);
    }
    return call;
  }

  /** At the end of the turn: the head, and the body where all of it is here. */
  sendHead(): void {
    const head = this.#unsent;
    if (head === null) return;
    const body = this.#unsentBody;
    this.#unsent = null;
    this.#unsentBody = null;
    if (body !== null) this.#socket.cork();
    this.#socket.write(head, "latin1");
    if (body === null) return;
    this.#socket.write(body);
    this.#socket.uncork();
  }

  /** Called with every tick. */
  tick(): void {
    if (this.#reused && this.#phase === "response") this.#doubtOthers();
    if (this.#deadline === 0 || this.#deadline > this.#ticks.now) return;
    const request = this.#call?.request;
    if (request === undefined) this.#idleTooLong();
    else if (this.#phase === "connect") this.#fail("connect_timeout", this.#connectProblem(request.connectMs));
    else if (this.#phase === "response") this.#fail("response_timeout", `no answer within ${request.responseMs} ms`);
    else this.#fail("idle_timeout", `silent for ${request.idleMs} ms`);
  }

  /**
   * So long without a word that a new connection would have been given up: a host that vanished, or something on the way
   * that lost its connections, tells nobody. Others that were not heard of since are likely dead as well.
   */
  #doubtOthers(): void {
    const call = this.#call;
    if (call === null || !call.requestDone || this.#parser.begun) return;
    const { connectMs } = call.request;
    if (connectMs > 0 && this.#ticks.havePassed(connectMs, this.#since)) this.#owner.giveUpUnheard(this.#since);
  }

  #connectProblem(ms: number): string {
    const problem = `not connected within ${ms} ms`;
    return this.#owner.awaitsAddress ? `${problem}: the name is still looked up` : problem;
  }

  #idleTooLong(): void {
    const owner = this.#owner;
    const agreed = this.#parser.keepAliveMs !== -1;
    const leftMs = (agreed ? this.#openMs : owner.longIdleMs) - owner.idleMs;
    const longer = this.#phase === "idle" && leftMs > 0 && owner.keepsForLong && this.#retireAt > this.#ticks.now;
    if (longer) this.#waitForRequest(agreed ? "agreed idle" : "long idle", leftMs);
    else this.destroy();
  }

  /**
   * So long after its last answer it is surely open; 0 or less: not worth keeping. An upstream that says how long it waits
   * is believed, less a second for what is on its way, or a tenth where that is more: its clock runs while ours, which
   * counts ticks, is late by a hundredth at least and under load by ten.
   */
  get #openMs(): number {
    const { keepAliveMs } = this.#parser;
    const { idleMs, longIdleMs } = this.#owner;
    return keepAliveMs === -1 ? idleMs : Math.min(longIdleMs, keepAliveMs - Math.max(1000, keepAliveMs / 10));
  }

  #waitForRequest(phase: IdlePhase, ms: number): void {
    this.#phase = phase;
    this.#deadline = Math.min(this.#ticks.after(ms), this.#retireAt);
  }

  /** Ends what runs with an error, if anything does. */
  shutDown(): void {
    this.#fail("reset", "the gateway closes its connections");
  }

  /** Closes the socket; whoever waits for an answer hears nothing. */
  destroy(): void {
    this.#closed = true;
    this.#call = null;
    this.#unsent = null;
    this.#unsentBody = null;
    this.#small = null;
    this.#parser.stop();
    this.#owner.gone(this);
    this.#socket.destroy();
  }

  // What an exchange asks for. `call` is the running one: an ended exchange has no connection any more.

  write(call: Call, chunk: Buffer): Written {
    const socket = this.#socket;
    if (call.request.body === "length") {
      if (chunk.length > call.bodyLeft) {
        socket.destroy(new Error("request body longer than its Content-Length"));
        return "taken";
      }
      call.bodyLeft -= chunk.length;
    }
    const takesMore = this.#isSmall(chunk) ? this.#hold(chunk) : this.#sendPiece(call, chunk);
    // A socket says so of any chunk as long as what it may keep, though the kernel has it already.
    const taken = socket.writableLength === 0;
    const full = !takesMore && !taken;
    if (full) call.needsDrain = true;
    if (this.#phase === "stream" || full) this.#streaming(call);
    if (full) return "full";
    return taken ? "taken" : "kept";
  }

  endRequest(call: Call): void {
    this.#sendSmall(call);
    if (call.request.body === "chunked") {
      this.#socket.write("0\r\n\r\n", "latin1");
    } else if (call.bodyLeft > 0) {
      this.#socket.destroy(new Error("request body shorter than its Content-Length"));
      return;
    }
    call.requestDone = true;
    this.uncork();
    if (this.#connected && !call.bodyBegun) this.#enter("response", call.request.responseMs);
  }

  /** A socket keeps each piece that it is given by itself, at more than half a kilobyte for a single byte. */
  #isSmall(chunk: Buffer): boolean {
    return chunk.length < SMALL_BYTES && this.#socket.writableLength > 0;
  }

  /** As a socket's `write`: false when it is as much as may be kept. */
  #hold(chunk: Buffer): boolean {
    const socket = this.#socket;
    this.#small ??= new GrowingBytes();
    this.#small.add(chunk);
    if (!this.#corked) this.#waitForRoom();
    return this.#small.length + socket.writableLength < socket.writableHighWaterMark;
  }

  #sendPiece(call: Call, chunk: Buffer): boolean {
    this.#sendSmall(call);
    return this.#writePiece(call, chunk);
  }

  #sendSmall(call: Call): void {
    const small = this.#small;
    this.#small = null;
    if (small !== null) this.#writePiece(call, small.all());
  }

  #writePiece(call: Call, piece: Buffer): boolean {
    const socket = this.#socket;
    if (call.request.body === "length") return socket.write(piece);
    if (!this.#corked) socket.cork();
    socket.write(`${piece.length.toString(16)}\r\n`, "latin1");
    socket.write(piece);
    const takesMore = socket.write("\r\n", "latin1");
    if (!this.#corked) socket.uncork();
    return takesMore;
  }

  #waitForRoom(): void {
    if (this.#waitsForRoom) return;
    this.#waitsForRoom = true;
    this.#socket.write("", this.#hasRoom);
  }

  readonly #hasRoom = (): void => {
    this.#waitsForRoom = false;
    this.#drained();
  };

  uncork(): void {
    if (!this.#corked) return;
    if (this.#call !== null) this.#sendSmall(this.#call);
    this.#corked = false;
    this.#socket.uncork();
  }

  /** The upstream can not be silent while nobody listens: there is no time-out until the answer is read again. */
  pause(): void {
    this.#socket.pause();
    if (this.#phase === "stream") this.#deadline = 0;
  }

  resume(call: Call): void {
    this.#socket.resume();
    if (this.#phase === "stream") this.#streaming(call);
  }

  // What the parser finds in the answer.

  onInterim(status: number, headers: readonly string[]): void {
    this.#call?.handler.onInterim(status, headers);
  }

  onHead(status: number, reason: string, headers: readonly string[], bodyless: boolean): void {
    const call = this.#call;
    if (status === 408 && this.#reused && call?.request.repeatable && !this.#parser.keepAlive) {
      // Some servers say so before they close an idle connection (RFC 9110 section 15.5.9): of no request of ours.
      this.#fail("reset", "408 on a connection that was idle", false);
      return;
    }
    call?.handler.onHead(status, reason, headers, bodyless);
  }

  onBody(chunk: Buffer, last: boolean): void {
    const call = this.#call;
    if (call === null) return;
    if (!call.bodyBegun) {
      call.bodyBegun = true;
      this.#streaming(call);
    }
    const memory = this.#memory;
    const taken = call.handler.onBody(chunk, last, memory?.lent ?? false);
    if (!taken) memory?.keep();
  }

  onEnd(trailers: readonly string[]): void {
    const call = this.#call;
    if (call === null) return;
    this.#call = null;
    call.connection = null;
    this.#deadline = 0;
    call.handler.onEnd(trailers);
    this.#settle(call);
  }

  onUpgrade(headers: readonly string[], rest: Buffer): void {
    const call = this.#call;
    if (call === null) return;
    this.#call = null;
    call.connection = null;
    this.#closed = true;
    this.#owner.gone(this);
    for (const [event, listener] of Object.entries(this.#listeners)) {
      // The listener for errors stays: `close` tells the new owner, and an error nobody listens for ends the process.
      if (event !== "error") this.#socket.off(event, listener);
    }
    this.#socket.pause();
    call.handler.onUpgrade(headers, this.#socket, rest);
  }

  onProblem(detail: string): void {
    this.#fail("invalid_response", detail);
  }

  // What the socket tells.

  /** Always true: the next read is wanted too. */
  #receive(chunk: Buffer): boolean {
    if (this.#call === null) {
      // Nobody asked: an answer to nothing, which must not become the answer to somebody's next request.
      if (!this.#closed) this.destroy();
      return true;
    }
    if (this.#keepsHead) {
      // The same: it came before there was anything to answer. The request is as good as new.
      this.#fail("reset", "bytes that nobody asked for");
      return true;
    }
    if (this.#phase === "stream") this.#streaming(this.#call);
    this.#parser.feed(chunk);
    this.#call?.handler.onReadEnd();
    return true;
  }

  #ended(): void {
    const call = this.#call;
    if (call === null) {
      if (!this.#closed) this.destroy();
    } else if (hasNoPeer(this.#socket)) {
      // libuv may tell of a reset as an end where it came with the last bytes.
      tellWhetherReset(this.#socket, (reset) => {
        if (this.#call === call) this.#finish(reset);
      });
    } else {
      this.#finish(false);
    }
  }

  #finish(reset: boolean): void {
    if (reset || !this.#parser.finish()) this.#fail("reset", "connection ended before the answer was complete");
  }

  #becomeConnected(): void {
    this.#connected = true;
    const call = this.#call;
    if (call === null) return;
    this.#awaitAnswer(call);
    if (!call.requestDone) askForBody(call);
  }

  #drained(): void {
    const call = this.#call;
    if (call === null || this.#socket.destroyed) return;
    this.#sendSmall(call);
    if (!call.needsDrain) return;
    if (this.#socket.writableLength > 0) {
      this.#waitForRoom();
      return;
    }
    call.needsDrain = false;
    if (this.#phase === "stream") {
      if (call.bodyBegun) this.#streaming(call);
      else this.#awaitAnswer(call);
    }
    call.handler.onDrain();
  }

  /** While the client still sends, its own time-outs watch over it; the answer is due once the request is complete. */
  #awaitAnswer(call: Call): void {
    if (call.requestDone) this.#enter("response", call.request.responseMs);
    else if (call.needsDrain) this.#streaming(call);
    else this.#enter("response", 0);
  }

  #streaming(call: Call): void {
    this.#enter("stream", call.request.idleMs);
  }

  #enter(phase: Phase, ms: number): void {
    this.#phase = phase;
    this.#since = this.#ticks.now;
    this.#deadline = this.#ticks.after(ms);
  }

  /** The request's head has not left: it waits for the end of the turn, or for the first bytes of its body. */
  get #keepsHead(): boolean {
    return this.#unsent !== null || this.#corked;
  }

  #lossReason(): UpstreamErrorReason {
    return this.#connected ? "reset" : "refused";
  }

  #fail(reason: UpstreamErrorReason, detail: string, answerBegun = this.#parser.begun): void {
    const call = this.#call;
    const nothingSent = !this.#connected || this.#keepsHead;
    if (!this.#closed) this.destroy();
    if (call === null) return;
    call.connection = null;
    call.handler.onError({
      reason,
      detail,
      nothingSent,
      reusedSocket: this.#reused,
      answerBegun,
    });
  }

  /** After an answer: for the next request, or closed when anything about it is doubtful. */
  #settle(call: Call): void {
    if (this.#closed) return;
    const parser = this.#parser;
    // What is not with the kernel yet would stand in front of the next request, and the upstream may never take it.
    const sentWhole = call.requestDone && this.#socket.writableLength === 0;
    const reusable = parser.keepAlive && !parser.excess && sentWhole && !call.request.upgrade;
    const openMs = this.#openMs;
    const tooOld = this.#retireAt <= this.#ticks.now;
    if (!reusable || openMs <= 0 || tooOld) {
      this.destroy();
      return;
    }
    this.#reused = true;
    this.#waitForRequest("idle", Math.min(openMs, this.#owner.idleMs));
    if (this.#socket.isPaused()) this.#socket.resume();
    this.#owner.release(this);
  }
}

const SENDS = createStage<UpstreamConnection>("sends", (connection) => connection.sendHead());

export interface ConnectionKind {
  readonly connectEvent: "connect" | "secureConnect";
  /** Each chunk has memory of its own: a TLS socket's, and one that is to be handed over. */
  readonly ownMemory: boolean;
}

/** Whoever opened the connection. */
export interface ConnectionOwner {
  readonly ticks: Ticks;
  readonly knownHeads: KnownHeads;
  /**
   * How long an idle connection takes any request, how long at most it is kept, for those that are `repeatable` or
   * because the upstream said so, and how old it may become.
   */
  readonly idleMs: number;
  readonly longIdleMs: number;
  readonly ageMsMax: number;
  /** The name server has not answered yet. */
  readonly awaitsAddress: boolean;
  /** Connections are not too many to keep one that long. */
  readonly keepsForLong: boolean;
  /** Closes all idle connections, unless one that was open at `tick` has answered since. */
  giveUpUnheard(tick: number): void;
  /** It is done with its request. */
  release(connection: UpstreamConnection): void;
  /** It is no more: closed, or handed over with an upgrade. */
  gone(connection: UpstreamConnection): void;
}

/** One running exchange. */
class Call implements UpstreamCall {
  /** Null once it is over: everything asked for after that is harmless. */
  connection: UpstreamConnection | null;
  readonly request: UpstreamRequest;
  readonly handler: UpstreamHandler;
  requestDone: boolean;
  needsDrain = false;
  bodyBegun = false;
  /** Of a body with a length: bytes still to be written. */
  bodyLeft = 0;

  constructor(connection: UpstreamConnection, request: UpstreamRequest, handler: UpstreamHandler) {
    this.connection = connection;
    this.request = request;
    this.handler = handler;
    this.requestDone = request.body === "none" || request.content !== null;
    if (!this.requestDone && request.body === "length") this.bodyLeft = announcedLength(request.headers);
  }

  write(chunk: Buffer): Written {
    if (this.connection === null || this.requestDone || chunk.length === 0) return "taken";
    return this.connection.write(this, chunk);
  }

  end(): void {
    if (!this.requestDone) this.connection?.endRequest(this);
  }

  pause(): void {
    this.connection?.pause();
  }

  resume(): void {
    this.connection?.resume(this);
  }

  abort(): void {
    this.connection?.destroy();
    this.connection = null;
  }
}

/** What is being waited for: to be connected, the answer, its next bytes (or room for the request's), another request. */
type Phase = "connect" | "response" | "stream" | IdlePhase;

/** For any request; for any, longer than most upstreams allow, as this one said it does; for one that is repeatable. */
type IdlePhase = "idle" | "agreed idle" | "long idle";

// biome-ignore lint/suspicious/noExplicitAny: what EventEmitter itself takes; each is typed where it is written.
type Listener = (...args: any[]) => void;

/** The head is with the upstream: now the client's body is read. */
function askForBody(call: Call): void {
  if (call.connection === null || call.requestDone) return;
  call.needsDrain = false;
  call.handler.onDrain();
}

function uncork(connection: UpstreamConnection): void {
  connection.uncork();
}
