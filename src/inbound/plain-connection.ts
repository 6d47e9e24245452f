import type { Socket } from "node:net";
import { HeldBytes } from "../held-bytes.ts";
import { createStage } from "../turn.ts";
import { type PlainRequest, readPlainRequest } from "./plain-request.ts";
import { SocketReads } from "./socket-reads.ts";

export interface PlainConnectionEvents {
  /** At the end of the turn in which it was read. */
  onRequest(request: PlainRequest): void;
  /** What was read is no plain request, and none is under way: it is for Node's server. */
  onOther(bytes: Buffer): void;
  /** Nothing moved for the socket's time-out. */
  onSilence(): void;
}

/**
 * Reads a client's socket until Node's server takes it over: one read is one request, or else it is for Node's parser.
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
    const held = this.#held;
    this.#held = null;
    return held === null ? null : held.take();
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
    if (request !== null && !this.#socket.destroyed) this.#events.onRequest(request);
  }

  /** At the end of the turn in which the client ended its side: behind the answer, if there is one by then. */
  close(): void {
    this.#socket.end();
  }

  #onData(bytes: Buffer): void {
    if (this.#busy) {
      this.#held ??= new HeldBytes(this.#socket);
      this.#held.hold(this.#own(bytes));
      return;
    }
    const request = bytes.length <= this.#maxBytes ? readPlainRequest(bytes) : null;
    if (request === null) {
      this.#events.onOther(this.#own(bytes));
      return;
    }
    this.#busy = true;
    this.#stopTimeout();
    this.#request = request;
    REQUESTS.add(this);
  }

  /** What may be kept of a read. */
  #own(bytes: Buffer): Buffer {
    return this.#reads.lent ? Buffer.from(bytes) : bytes;
  }

  /** It is for the time before the first request: between requests the listener looks through its connections. */
  #stopTimeout(): void {
    if (this.#socket.timeout) this.#socket.setTimeout(0);
  }

  /** As Node's server: a client that ends its side wants no answer that is not there yet. */
  readonly #onEnd = (): void => {
    CLOSES.add(this);
  };

  readonly #onTimeout = (): void => {
    this.#events.onSilence();
  };
}

const REQUESTS = createStage<PlainConnection>("requests", (connection) => connection.takeUp());
const CLOSES = createStage<PlainConnection>("closes", (connection) => connection.close());
