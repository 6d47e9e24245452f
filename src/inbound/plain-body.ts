import type { Socket } from "node:net";
import type { BodyReader, RequestBody } from "../exchange.ts";
import { GrowingBytes } from "../growing-bytes.ts";
import { MAX_HELD_BYTES } from "../held-bytes.ts";

/** The body of a request that was read without Node's server, framed by a length. */
export class PlainBody implements RequestBody {
  readonly #socket: Socket;
  /** Bytes that are still to come. */
  #left: number;
  /** What came before anybody read it, or while its reader had enough; never with nothing in it. */
  #waiting: GrowingBytes | null = null;
  #reader: BodyReader | null = null;
  #paused = false;
  #discarded = false;
  #handled = false;
  /** Its reader has all of it, or knows that it will not. */
  #over = false;

  /** `bytes`: what the head announces, more than 0. `first`: what came with the head; kept as it is. */
  constructor(socket: Socket, bytes: number, first: Buffer) {
    this.#socket = socket;
    this.#left = bytes - first.length;
    if (first.length > 0) this.#keep(first);
  }

  /** Bytes of the connection that are its own. */
  get left(): number {
    return this.#left;
  }

  /** All of it came, and was read or is left: whoever refuses the request at once does so before he could know. */
  get complete(): boolean {
    return this.#left === 0 && (this.#over || this.#handled);
  }

  /** Its request was handed on: from here on it is complete with its last byte, as one that Node's parser reads. */
  handled(): void {
    this.#handled = true;
  }

  get paused(): boolean {
    return this.#paused;
  }

  takeWhole(): Buffer | null {
    if (this.#left > 0 || this.#reader !== null || this.#discarded || this.#waiting === null) return null;
    const whole = this.#waiting.all();
    this.#waiting = null;
    this.#over = true;
    return whole;
  }

  read(reader: BodyReader): void {
    this.#reader = reader;
    this.resume();
  }

  pause(): void {
    if (this.#over || this.#discarded) return;
    this.#paused = true;
    if (this.#left > 0) this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    if (this.#over || this.#reader === null) return;
    this.#giveWaiting();
    // What comes behind it is not its to ask for.
    if (!this.#paused && this.#left > 0) this.#socket.resume();
  }

  discard(): void {
    this.#discarded = true;
    this.#waiting = null;
    this.#reader = null;
    if (this.#left > 0) this.#socket.resume();
  }

  /** The next bytes of the connection, at most `left`. As `onRequestData`, says whether that is done with them. */
  arrive(bytes: Buffer, lent: boolean): boolean {
    this.#left -= bytes.length;
    if (this.#discarded) return true;
    if (this.#reader === null || this.#paused) {
      this.#keep(Buffer.from(bytes));
      return true;
    }
    const done = this.#reader.onRequestData(bytes, lent);
    this.#endIfOver();
    return done;
  }

  /** The connection ended, or is given up. */
  breakOff(): void {
    if (this.#over) return;
    this.#over = true;
    this.#waiting = null;
    this.#reader?.onRequestAbort();
  }

  #keep(bytes: Buffer): void {
    this.#waiting ??= new GrowingBytes();
    this.#waiting.add(bytes);
    if (this.#waiting.length >= MAX_HELD_BYTES && this.#left > 0) this.#socket.pause();
  }

  #giveWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting !== null) this.#reader?.onRequestData(waiting.all(), false);
    this.#endIfOver();
  }

  #endIfOver(): void {
    if (this.#left > 0 || this.#paused || this.#discarded || this.#over) return;
    this.#over = true;
    this.#reader?.onRequestEnd();
  }
}

/** Of a request that has none. */
export const NO_BODY: RequestBody = {
  takeWhole: () => null,
  read: (reader) => reader.onRequestEnd(),
  pause: noop,
  resume: noop,
  paused: false,
  discard: noop,
};

function noop(): void {}
