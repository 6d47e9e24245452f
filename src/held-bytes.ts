import type { Duplex } from "node:stream";

/** What a client may send before its turn, whatever it is kept as. Not less than a socket keeps for who does not read it yet. */
export const MAX_HELD_BYTES = 64 * 1024;
/** So many reads are joined to one: each has memory of its own, a kilobyte even for a single byte. */
const MAX_PIECES = 64;

/**
 * What a client sends before its turn: 64 KiB, and about as much memory, however small the pieces are that it comes in.
 * Beyond it the client waits.
 */
export class HeldBytes {
  readonly #socket: Duplex;
  #pieces: Buffer[] = [];
  #bytes = 0;

  constructor(socket: Duplex) {
    this.#socket = socket;
  }

  hold(bytes: Buffer): void {
    this.#pieces.push(bytes);
    this.#bytes += bytes.length;
    if (this.#bytes >= MAX_HELD_BYTES) this.#putBack();
    else if (this.#pieces.length >= MAX_PIECES) this.#pieces = [Buffer.concat(this.#pieces)];
  }

  /** Everything that is held here, in order. What came after it is the next that the socket gives to its reader. */
  take(): Buffer {
    const all = Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#bytes = 0;
    return all;
  }

  /** A socket that was merely paused would go on to read, piece by piece, until it has as much itself: so it gets this. */
  #putBack(): void {
    this.#socket.pause();
    this.#socket.unshift(this.take());
  }
}
