import type { Socket } from "node:net";
import { HeldBytes } from "./held-bytes.ts";

export interface PlainConnectionEvents {
  /** What came in one read while no request was under way. */
  onRead(bytes: Buffer): void;
  /** Nothing moved for the socket's time-out. */
  onSilence(): void;
}

/**
 * Reads a client's socket until Node's server takes it over: one read is one request, or else it is for Node's parser.
 * What comes while a request is under way is kept, and the client that leaves is noticed, which only who reads does.
 */
export class PlainConnection {
  readonly #socket: Socket;
  readonly #events: PlainConnectionEvents;
  /** What came behind the request under way. */
  #held: HeldBytes | null = null;
  /** A request is under way. */
  #busy = false;

  constructor(socket: Socket, events: PlainConnectionEvents) {
    this.#socket = socket;
    this.#events = events;
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("timeout", this.#onTimeout);
  }

  begin(): void {
    this.#busy = true;
    // It was for the time before the first request; between requests the listener looks through its connections.
    if (this.#socket.timeout) this.#socket.setTimeout(0);
  }

  /** The request under way is over. What came behind it (the socket may have more of it), or null. */
  end(): Buffer | null {
    this.#busy = false;
    if (this.#socket.timeout) this.#socket.setTimeout(0);
    const held = this.#held;
    this.#held = null;
    return held === null ? null : held.take();
  }

  /** Reads no more; the socket is paused, for its next reader to resume. */
  release(): void {
    const socket = this.#socket;
    socket.pause();
    socket.off("data", this.#onData);
    socket.off("end", this.#onEnd);
    socket.off("timeout", this.#onTimeout);
  }

  readonly #onData = (bytes: Buffer): void => {
    if (!this.#busy) {
      this.#events.onRead(bytes);
      return;
    }
    this.#held ??= new HeldBytes(this.#socket);
    this.#held.hold(bytes);
  };

  /** As Node's server: a client that ends its side wants no more answers. */
  readonly #onEnd = (): void => {
    this.#socket.end();
  };

  readonly #onTimeout = (): void => {
    this.#events.onSilence();
  };
}
