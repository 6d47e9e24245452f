import type { Duplex } from "node:stream";
import { HeldBytes } from "../held-bytes.ts";

/**
 * One direction of a tunnel: what `from` says goes to `to`, at the pace at which that takes it. What is not taken yet is
 * held as bytes: a socket would keep each piece that it was given, and each that it reads while it is paused, in memory of
 * its own, a hundred times a message of a few bytes.
 */
export class OneWay {
  readonly #from: Duplex;
  readonly #to: Duplex;
  readonly #sent: (bytes: number) => void;
  readonly #held: HeldBytes;
  /** Something that was written is not with the kernel yet. */
  #stuck = false;

  /** `sent` is told of the bytes of each write. */
  constructor(from: Duplex, to: Duplex, sent: (bytes: number) => void) {
    this.#from = from;
    this.#to = to;
    this.#sent = sent;
    this.#held = new HeldBytes(from);
  }

  carry(bytes: Buffer): void {
    if (this.#stuck) this.#held.hold(bytes);
    else this.#send(bytes);
  }

  /** `from` has ended: what it said before is sent, then the end. */
  end(): void {
    const to = this.#to;
    if (to.destroyed || to.writableEnded) return;
    this.#sendHeld();
    to.end();
  }

  #send(bytes: Buffer): void {
    this.#sent(bytes.length);
    this.#to.write(bytes);
    if (this.#stuck || this.#to.writableLength === 0) return;
    this.#stuck = true;
    this.#to.write("", this.#taken);
  }

  #sendHeld(): void {
    const held = this.#held.take();
    if (held.length > 0) this.#send(held);
  }

  readonly #taken = (): void => {
    this.#stuck = false;
    // A connection that broke: whoever watches it ends the tunnel.
    if (this.#to.destroyed || this.#to.writableEnded) return;
    this.#sendHeld();
    this.#from.resume();
  };
}
