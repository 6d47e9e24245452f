import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { HeldBytes } from "../held-bytes.ts";

/**
 * A request to change protocol that waits behind an unfinished one. Node's parser has let go of its socket, and only who
 * reads sees that a client is gone: so this reads on, and ends the connection of a client that has ended its side.
 */
export class WaitingUpgrade {
  readonly request: IncomingMessage;
  readonly #socket: Socket;
  readonly #held: HeldBytes;

  constructor(request: IncomingMessage, socket: Socket, rest: Buffer) {
    this.request = request;
    this.#socket = socket;
    this.#held = new HeldBytes(socket);
    this.#held.hold(rest);
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
  }

  /** Its turn has come: what was read behind it. The socket is paused, for its next reader to resume; it may have more. */
  take(): Buffer {
    this.#socket.off("data", this.#onData);
    this.#socket.off("end", this.#onEnd);
    this.#socket.pause();
    return this.#held.take();
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#held.hold(chunk);
  };

  readonly #onEnd = (): void => {
    this.#socket.destroy();
  };
}
