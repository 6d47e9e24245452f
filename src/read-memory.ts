import type { OnReadOpts } from "node:net";

/** What Node takes for it, and asks for memory before each read. */
export interface OnReadOptions extends OnReadOpts {
  buffer(): Buffer;
}

/**
 * Where a connection's bytes are read into. Left to itself Node takes fresh memory for each read, which costs more than
 * what is read: a page fault for every 4 KiB, and a collection for every few megabytes. Here all connections read into
 * the same 64 KiB, since what a read brings is mostly made a string of before the next one; one that brings a large
 * body has memory of its own for as long as it does.
 */
export class ReadMemory {
  /** Of this connection alone; null: the memory that all share. */
  #own: Buffer | null = null;
  /** Somebody still looks at what was read last: its memory must stay as it is. */
  #kept = false;
  /** Whoever sends this has said all of it. */
  #expectsLittle = false;

  /**
   * The `onread` of a socket that reads into it. `receive` gets a view, valid until it returns unless it is kept; what it
   * returns goes to the socket: false, and it reads no more until it is resumed.
   */
  onread(receive: (chunk: Buffer) => boolean): OnReadOptions {
    let bytes = 0;
    return {
      buffer: () => this.#next(bytes),
      callback: (bytesRead, memory) => {
        bytes = bytesRead;
        this.#kept = false;
        this.#expectsLittle = false;
        return receive(memory === SHARED ? sharedView(bytesRead) : (memory as Buffer).subarray(0, bytesRead));
      },
    };
  }

  /** What is being read lies in the memory that all share: it can not be kept, only copied. */
  get lent(): boolean {
    return this.#own === null;
  }

  keep(): void {
    this.#kept = true;
  }

  /**
   * Said of what is being read: nothing large comes behind it. A connection that has memory of its own keeps it until its
   * next read, which may be long after.
   */
  expectLittle(): void {
    this.#expectsLittle = true;
  }

  #next(bytesRead: number): Buffer {
    const own = this.#kept ? null : this.#own;
    if (bytesRead < LARGE_READ_BYTES || this.#expectsLittle) {
      // Little came: whoever sends this has little to say, or nothing more.
      if (own !== null) spare = own;
      this.#own = null;
      return SHARED;
    }
    this.#own = own ?? takeSpare();
    return this.#own;
  }
}

/**
 * What may be kept of a chunk: itself, or a copy where its memory is lent, or where it is small: who takes long to use it
 * would else keep a whole read's memory for each piece of it.
 */
export function ownPiece(chunk: Buffer, lent: boolean): Buffer {
  return lent || chunk.length < LARGE_PIECE_BYTES ? Buffer.from(chunk) : chunk;
}

/** A piece of so many bytes is worth memory of its own. */
const LARGE_PIECE_BYTES = 16 * 1024;
const MEMORY_BYTES = 64 * 1024;
/** A read of so many bytes is likely followed by others. */
const LARGE_READ_BYTES = 32 * 1024;
const SHARED = Buffer.allocUnsafeSlow(MEMORY_BYTES);

/**
 * What so many bytes read into the memory that all share look like. It is the same view whoever reads, and reads of one
 * length come again and again: to make one costs more than most of what is done with it.
 */
function sharedView(bytes: number): Buffer {
  const slot = bytes % VIEWS;
  let view = views[slot];
  if (view?.length !== bytes) {
    view = SHARED.subarray(0, bytes);
    views[slot] = view;
  }
  return view;
}

const VIEWS = 256;
const views: (Buffer | undefined)[] = new Array(VIEWS).fill(undefined);

/** One that a connection has given back: the next large body begins without fresh memory. */
let spare: Buffer | null = null;

function takeSpare(): Buffer {
  const memory = spare ?? Buffer.allocUnsafeSlow(MEMORY_BYTES);
  spare = null;
  return memory;
}
