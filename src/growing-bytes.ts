/**
 * Bytes that come in pieces, as one. Each piece has memory of its own, a hundred bytes even for a single one: a body in
 * chunks of one byte would cost a hundred times its size.
 */
export class GrowingBytes {
  #memory: Buffer = NOTHING;
  length = 0;

  /** The first piece is kept as it is, and must stay so; of the others a copy. */
  add(piece: Buffer): void {
    const from = this.length;
    this.length += piece.length;
    if (from === 0) {
      // Mostly it is the only one.
      this.#memory = piece;
      return;
    }
    if (this.length > this.#memory.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.#memory.length, this.length, LEAST_BYTES));
      this.#memory.copy(larger, 0, 0, from);
      this.#memory = larger;
    }
    this.#memory.set(piece, from);
  }

  /** A view: nothing may be added after it. */
  all(): Buffer {
    return this.#memory.subarray(0, this.length);
  }
}

const NOTHING = Buffer.alloc(0);
const LEAST_BYTES = 1024;
