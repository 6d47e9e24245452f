import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";

/** What a client may send behind an Upgrade that waits its turn; beyond it, it waits too. Bytes. */
const MAX_WAITING_BYTES = 64 * 1024;

/**
 * A request to change protocol that waits behind an unfinished one. Node's parser has let go of its socket, and only who
 * reads sees that a client is gone: so this reads on, and ends the connection of a client that has ended its side.
 */
export class WaitingUpgrade {
  readonly request: IncomingMessage;
  readonly #socket: Socket;
  readonly #chunks: Buffer[];
  #bytes: number;

  constructor(request: IncomingMessage, socket: Socket, rest: Buffer) {
    this.request = request;
    this.#socket = socket;
    this.#chunks = [rest];
    this.#bytes = rest.length;
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
  }

  /** Its turn has come: everything that was read behind it. The socket is paused, for its next reader to resume. */
  take(): Buffer {
    this.#socket.off("data", this.#onData);
    this.#socket.off("end", this.#onEnd);
    this.#socket.pause();
    return Buffer.concat(this.#chunks);
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes >= MAX_WAITING_BYTES) this.#socket.pause();
  };

  readonly #onEnd = (): void => {
    this.#socket.destroy();
  };
}
