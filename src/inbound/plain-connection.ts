import type { Socket } from "node:net";
import { HeldBytes } from "../held-bytes.ts";
import { createStage } from "../turn.ts";
import { PlainBody } from "./plain-body.ts";
import { type PlainRequest, readPlainRequest } from "./plain-request.ts";
import { SocketReads } from "./socket-reads.ts";

export interface PlainConnectionEvents {
  /** At the end of the turn in which its head was read. `body`: null where it has none. */
  onRequest(request: PlainRequest, body: PlainBody | null): void;
  /** What was read is no plain request, and none is under way: it is for Node's server. */
  onOther(bytes: Buffer): void;
  /** Nothing moved for the socket's time-out. */
  onSilence(): void;
  /** The client ended its side within a body. */
  onBrokenBody(): void;
}

/**
 * Reads a client's socket until Node's server takes it over: one read is one request, or the head of one and the
 * beginning of its body, or else it is for Node's parser.
 * What comes while a request is under way is kept, and the client that leaves is noticed, which only who reads does.
 */
export class PlainConnection {
  readonly #socket: Socket;
  readonly #reads: SocketReads;
  readonly #maxBytes: number;
  readonly #events: PlainConnectionEvents;
  /** Read, and not taken up before the end of the turn. */
  #request: PlainRequest | null = null;
  #busy = false;
  /** Of the request under way, or of the last one, which ended the connection with the body not read. */
  #body: PlainBody | null = null;
  /** When the head that announced the body was read: `performance.now()`. */
  #bodyBeganAt = 0;
  /** What came behind the request under way. */
  #held: HeldBytes | null = null;

  /** Requests of more than `maxBytes` are not plain. */
  constructor(socket: Socket, maxBytes: number, events: PlainConnectionEvents) {
    this.#socket = socket;
    this.#maxBytes = maxBytes;
    this.#events = events;
    this.#reads = new SocketReads(socket, (bytes) => this.#onData(bytes));
    socket.on("end", this.#onEnd);
    socket.on("timeout", this.#onTimeout);
  }

  /** A request was read, and its answer has not left. */
  get busy(): boolean {
    return this.#busy;
  }

  /** The request under way is over. What came behind it (the socket may have more of it), or null. */
  end(): Buffer | null {
    this.#busy = false;
    this.#stopTimeout();
    // An answer that did not wait for it has ended the connection; of one that is here nothing stays with an idle one.
    this.#body?.discard();
    if (this.#body?.left === 0) this.#body = null;
    const held = this.#held;
    this.#held = null;
    return held === null ? null : held.take();
  }

  /** A body has been on its way since before `time`, by `performance.now()`. */
  waitsForBodySince(time: number): boolean {
    return this.#waitsForBody && this.#bodyBeganAt < time;
  }

  /** The connection is gone. */
  breakOff(): void {
    this.#body?.breakOff();
  }

  /** Reads no more; the socket is paused, for its next reader to resume. */
  release(): void {
    const socket = this.#socket;
    this.#reads.stop();
    socket.off("end", this.#onEnd);
    socket.off("timeout", this.#onTimeout);
  }

  /** At the end of the turn in which the request was read. */
  takeUp(): void {
    const request = this.#request;
    this.#request = null;
    if (request === null || this.#socket.destroyed) return;
    const body = this.#body;
    this.#events.onRequest(request, body);
    body?.handled();
  }

  /**
   * At the end of the turn in which the client ended its side: behind the answer, if there is one by then, and not before
   * the request that came in the same turn is under way. As Node's server: whoever ends its side wants no answer that is
   * not there yet.
   */
  close(): void {
    if (this.#waitsForBody) this.#events.onBrokenBody();
    else this.#socket.end();
  }

  /** Of the body of the request under way some is still to come. */
  get #waitsForBody(): boolean {
    return this.#busy && this.#body !== null && this.#body.left > 0;
  }

  #onData(bytes: Buffer): void {
    const behind = this.#body === null ? bytes : this.#giveBody(this.#body, bytes);
    if (behind !== null) this.#onNoBody(behind);
    // Between requests, and once Node's server has it, a connection holds no memory to read into.
    if (this.#body === null || this.#body.left === 0) this.#reads.expectLittle();
  }

  /** The next request, or what comes before its turn. */
  #onNoBody(behind: Buffer): void {
    if (this.#busy) {
      this.#held ??= new HeldBytes(this.#socket);
      this.#held.hold(this.#reads.own(behind));
      return;
    }
    const request = readPlainRequest(behind, this.#maxBytes);
    if (request === null) {
      this.#events.onOther(this.#reads.own(behind));
      return;
    }
    this.#busy = true;
    this.#stopTimeout();
    this.#request = request;
    this.#body = request.bodyBytes === 0 ? null : this.#beginBody(request, behind);
    REQUESTS.add(this);
  }

  #beginBody({ bodyBytes, headBytes }: PlainRequest, bytes: Buffer): PlainBody {
    this.#bodyBeganAt = performance.now();
    return new PlainBody(this.#socket, bodyBytes, this.#reads.own(bytes.subarray(headBytes)));
  }

  /** What of a read is the body's goes to it; what is behind that, or null. */
  #giveBody(body: PlainBody, bytes: Buffer): Buffer | null {
    const { left } = body;
    if (left === 0) return bytes;
    const all = bytes.length <= left;
    const done = body.arrive(all ? bytes : bytes.subarray(0, left), this.#reads.lent);
    if (!done) this.#reads.keep();
    return all ? null : bytes.subarray(left);
  }

  /** It is for the time before the first request: between requests the listener looks through its connections. */
  #stopTimeout(): void {
    if (this.#socket.timeout) this.#socket.setTimeout(0);
  }

  readonly #onEnd = (): void => {
    // Under TLS nothing can be written any more once this event is over.
    if (this.#request === null && this.#waitsForBody) this.#events.onBrokenBody();
    else CLOSES.add(this);
  };

  readonly #onTimeout = (): void => {
    this.#events.onSilence();
  };
}

const REQUESTS = createStage<PlainConnection>("requests", (connection) => connection.takeUp());
const CLOSES = createStage<PlainConnection>("closes", (connection) => connection.close());
