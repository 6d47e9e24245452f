import { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { ownPiece, ReadMemory } from "../read-memory.ts";

/**
 * What a client's socket reads, without fresh memory for every read (`ReadMemory`). Node lets a socket that connects say
 * so, by `onread`, but none that was accepted: here the same is set on one of those. It is Node's own state, so it is
 * looked for, and where it is not to be found, or under TLS, the socket is read by 'data' as ever.
 */
export class SocketReads {
  readonly #socket: Socket;
  /** Null: the socket gives every chunk memory of its own. */
  readonly #memory: ReadMemory | null;
  #receive: ((bytes: Buffer) => void) | null;

  /** `receive` gets what is read; `own` makes of it what may be kept. */
  constructor(socket: Socket, receive: (bytes: Buffer) => void) {
    this.#socket = socket;
    this.#receive = receive;
    const memory = new ReadMemory();
    if (readInto(socket, memory, (bytes) => this.#give(bytes))) {
      this.#memory = memory;
    } else {
      this.#memory = null;
      socket.on("data", receive);
    }
  }

  /** What `receive` has just got is valid until it returns. */
  get lent(): boolean {
    return this.#memory?.lent ?? false;
  }

  /** What `receive` has just got (and is not lent) has to stay as it is. */
  keep(): void {
    this.#memory?.keep();
  }

  /** Behind what `receive` has just got nothing large is expected. */
  expectLittle(): void {
    this.#memory?.expectLittle();
  }

  /** Of what `receive` has just got, or a part of it: what may be kept. */
  own(bytes: Buffer): Buffer {
    if (this.#memory === null) return bytes;
    const own = ownPiece(bytes, this.lent);
    if (own === bytes) this.keep();
    return own;
  }

  /** From now on what is read is the socket's to give, by 'data'. It is paused, for its next reader to resume. */
  stop(): void {
    this.#socket.pause();
    if (this.#memory === null && this.#receive !== null) this.#socket.off("data", this.#receive);
    this.#receive = null;
  }

  /** As Node itself does where nobody said `onread`: false when the socket has as much as it keeps. */
  #give(bytes: Buffer): boolean {
    if (this.#receive === null) {
      this.#memory?.expectLittle();
      return this.#socket.push(this.own(bytes));
    }
    this.#receive(bytes);
    return true;
  }
}

/** What Node keeps of `onread`: the memory of the next read, who gets what was read, who is asked for memory. */
const STATE = ["kBuffer", "kBufferCb", "kBufferGen"] as const;
const [MEMORY, CALLBACK, NEXT_MEMORY] = findState();

/** Its keys on a socket; undefined in a Node that keeps it elsewhere. */
function findState(): readonly (symbol | undefined)[] {
  const symbols = Object.getOwnPropertySymbols(new Socket());
  return STATE.map((name) => symbols.find(({ description }) => description === name));
}

interface OpenSocket extends Socket {
  readonly _handle?: { useUserBuffer?(memory: Buffer): void } | null;
  [state: symbol]: unknown;
}

/** False: this socket can not. */
function readInto(socket: Socket, memory: ReadMemory, receive: (bytes: Buffer) => boolean): boolean {
  const { _handle: handle } = socket as OpenSocket;
  if (MEMORY === undefined || CALLBACK === undefined || NEXT_MEMORY === undefined) return false;
  if (typeof handle?.useUserBuffer !== "function" || (socket as TLSSocket).encrypted === true) return false;
  const { buffer, callback } = memory.onread(receive);
  const state = socket as OpenSocket;
  const first = buffer();
  state[MEMORY] = first;
  state[CALLBACK] = callback;
  state[NEXT_MEMORY] = buffer;
  handle.useUserBuffer(first);
  return true;
}
