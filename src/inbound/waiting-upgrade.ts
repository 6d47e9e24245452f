import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { HeldBytes } from "../held-bytes.ts";

/**
 * A request that waits behind an unfinished one, and at which Node's parser has let go of its socket: one to change
 * protocol, or one too many. Only who reads sees that a client is gone: so this reads on, and ends the connection of a
 * client that has ended its side.
 */
export class WaitingUpgrade {
  readonly request: IncomingMessage;
  readonly #socket: Socket;
  readonly #held: HeldBytes;
  readonly #drained: () => void;

  /** `drained`: for the answers before it. */
  constructor(request: IncomingMessage, socket: Socket, rest: Buffer, drained: () => void) {
    this.request = request;
    this.#socket = socket;
    this.#drained = drained;
    socket.on("drain", drained);
    this.#held = new HeldBytes(socket);
    this.#held.hold(rest);
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
  }

  /** Its turn has come: what was read behind it. The socket is paused, for its next reader to resume; it may have more. */
  take(): Buffer {
    this.#socket.off("data", this.#onData);
    this.#socket.off("end", this.#onEnd);
    this.#socket.off("drain", this.#drained);
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
