import { closeSync, constants, fstatSync, openSync, write, writeSync } from "node:fs";
import { Socket } from "node:net";
import { isatty } from "node:tty";

/**
 * Takes log lines and writes them in batches, so that a line costs a string and a batch costs a system call. A sink
 * that takes no more never holds up a request: past the bound, lines are given up and counted.
 */
export interface LineWriter {
  /** One line, with its line end, in ASCII (`toAsciiJson`): written without being looked at again. */
  write(line: string): void;
  /** Resolves when everything so far was written or given up, after `withinMs` at the latest. */
  flush(withinMs: number): Promise<void>;
  /** For the last moments of a process: writes what the sink takes at once, waiting `withinMs` at most. */
  flushSync(withinMs: number): void;
  /** Writes what is left for a moment, then releases the sink. */
  close(): Promise<void>;
}

export interface LineWriterOptions {
  readonly sink: LineSink;
  /** Told how many lines were given up. */
  readonly onDropped: (lines: number) => void;
  /** Lines that make a batch; fewer are written after `delayMs`. */
  readonly batchLines?: number;
  readonly delayMs?: number;
  /** Characters that may wait; more are given up. */
  readonly maxWaiting?: number;
  /**
   * Most bytes of one write, cut behind a line. For a pipe that several processes write to: what is over 4096 bytes
   * (PIPE_BUF, pipe(7)) can end up in the middle of another's line.
   */
  readonly maxWriteBytes?: number;
}

/** Where bytes go. `EAGAIN` means: not now. */
export interface LineSink {
  /** Somebody looks at it: lines for people rather than JSON, unless the configuration says. */
  readonly isTerminal: boolean;
  write(bytes: Buffer, done: (error: NodeJS.ErrnoException | null, written: number) => void): void;
  /** Bytes taken; throws like `fs.writeSync`. */
  writeSync(bytes: Buffer): number;
  close(): void;
}

export function createLineWriter(options: LineWriterOptions): LineWriter {
  return new BatchWriter(options);
}

/**
 * The process's standard output (1) or error (2), made not to block: a blocking write to a full pipe would keep a
 * thread of Node's pool for good, and `process.exit()` waits for that thread.
 */
export function openStandardStream(descriptor: 1 | 2): LineSink {
  const { to, blocks } = openWithoutBlocking(descriptor);
  return {
    isTerminal: isatty(descriptor),
    // A write that does not block is done sooner than a thread of Node's pool is woken for it.
    write: blocks ? (bytes, done) => write(to, bytes, 0, bytes.length, null, done) : writeAtOnce(to),
    writeSync: (bytes) => writeSync(to, bytes),
    close: () => {
      if (to !== descriptor) closeSync(to);
    },
  };
}

function writeAtOnce(to: number): LineSink["write"] {
  return (bytes, done) => {
    let written = 0;
    let failure: NodeJS.ErrnoException | null = null;
    try {
      written = writeSync(to, bytes);
    } catch (error) {
      failure = error as NodeJS.ErrnoException;
    }
    done(failure, written);
  };
}

/** The descriptor to write to. A file never blocks for long, and opened anew it would have a position of its own: it stays. */
function openWithoutBlocking(descriptor: 1 | 2): { readonly to: number; readonly blocks: boolean } {
  try {
    const stream = fstatSync(descriptor);
    if (stream.isFIFO() || stream.isCharacterDevice()) {
      const flags = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_APPEND;
      return { to: openSync(`/dev/fd/${descriptor}`, flags), blocks: false };
    }
    // A socket can not be opened anew; taking it over makes it non-blocking. Kept, since its end would close it.
    if (stream.isSocket()) {
      KEPT.push(new Socket({ fd: descriptor, readable: false, writable: true }).unref());
      return { to: descriptor, blocks: false };
    }
  } catch {
    // No /dev/fd, or a pipe of another user: the descriptor itself does, it merely may block.
  }
  return { to: descriptor, blocks: true };
}

const KEPT: Socket[] = [];

interface FullBuffer {
  readonly bytes: Buffer;
  readonly used: number;
  readonly lines: number;
}

/** About two hundred lines. */
const BUFFER_BYTES = 64 * 1024;
const TEXT_LINES = 16;

class BatchWriter implements LineWriter {
  private readonly sink: LineSink;
  private readonly onDropped: (lines: number) => void;
  private readonly batchLines: number;
  private readonly delayMs: number;
  private readonly maxWaiting: number;
  private readonly maxWriteBytes: number;

  /**
   * Lines that no batch was made of yet: the last ones as text, which costs least for each; the buffer that is filled, a few
   * lines at a time, so that no request waits for a whole batch to become bytes; and full ones in front of it.
   */
  private text = "";
  private textLines = 0;
  private filling: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  private filled = 0;
  private fillingLines = 0;
  private readonly full: FullBuffer[] = [];
  /** Of all of those. */
  private waitingLines = 0;
  private waitingBytes = 0;
  /** The buffer of the last batch, to be filled again: fresh memory costs more than what is written into it. */
  private spare: Buffer | null = null;
  private taking: FullBuffer | null = null;
  /** What the sink has not taken yet of the batch under way; null between batches. */
  private batch: Buffer | null = null;
  private batchLinesLeft = 0;
  private inSink = false;
  private timer: NodeJS.Timeout | null = null;
  private idle: (() => void)[] = [];

  constructor(options: LineWriterOptions) {
    this.sink = options.sink;
    this.onDropped = options.onDropped;
    this.batchLines = options.batchLines ?? 256;
    this.delayMs = options.delayMs ?? 10;
    this.maxWaiting = options.maxWaiting ?? 4 * 1024 * 1024;
    this.maxWriteBytes = options.maxWriteBytes ?? Number.POSITIVE_INFINITY;
  }

  write(line: string): void {
    const { length } = line;
    if (this.waitingBytes + length > this.maxWaiting) {
      this.onDropped(1);
      return;
    }
    if (this.filled + this.text.length + length > BUFFER_BYTES) this.seal();
    if (length > BUFFER_BYTES) {
      this.full.push({ bytes: Buffer.from(line, "latin1"), used: length, lines: 1 });
    } else {
      this.text += line;
      if (++this.textLines === TEXT_LINES) this.fill();
    }
    this.waitingBytes += length;
    this.waitingLines++;
    if (this.batch === null && (this.waitingLines >= this.batchLines || this.full.length > 0)) this.pump();
    else if (this.timer === null && this.batch === null) this.pumpLater();
  }

  async flush(withinMs: number): Promise<void> {
    if (this.batch === null && this.waitingLines === 0) return;
    await new Promise<void>((resolve) => {
      const deadline = setTimeout(resolve, withinMs);
      this.idle.push(() => {
        clearTimeout(deadline);
        resolve();
      });
      this.pump();
    });
  }

  flushSync(withinMs: number): void {
    const until = Date.now() + withinMs;
    // A batch inside the sink is not ours to repeat; the process's end waits for it, not for what is behind it.
    if (this.inSink) this.giveUpWaiting();
    else while (this.begin() && this.takeSync(until)) this.ended();
  }

  async close(): Promise<void> {
    await this.flush(1000);
    this.stopTimer();
    if (!this.inSink) this.sink.close();
  }

  private pumpLater(): void {
    this.timer = setTimeout(() => this.pump(), this.delayMs);
    this.timer.unref();
  }

  private stopTimer(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  private pump(): void {
    this.stopTimer();
    if (this.inSink) return;
    if (!this.begin()) {
      this.rest();
      return;
    }
    this.inSink = true;
    this.sink.write(this.nextWrite(), (error, written) => {
      this.inSink = false;
      if (error === null) this.taken(written);
      else if (error.code === "EAGAIN") this.pumpLater();
      else this.giveUp();
    });
  }

  /** Makes a batch of what waits, unless one is under way. False: there is nothing to write. */
  private begin(): boolean {
    if (this.batch !== null) return true;
    if (this.full.length === 0) this.seal();
    const taking = this.full.shift();
    if (taking === undefined) return false;
    this.taking = taking;
    this.batch = taking.bytes.subarray(0, taking.used);
    this.batchLinesLeft = taking.lines;
    this.waitingLines -= taking.lines;
    this.waitingBytes -= taking.used;
    return true;
  }

  /** The text becomes bytes; there is room for it. */
  private fill(): void {
    this.filled += this.filling.write(this.text, this.filled, "latin1");
    this.fillingLines += this.textLines;
    this.text = "";
    this.textLines = 0;
  }

  /** Lines go into another buffer from here on. */
  private seal(): void {
    this.fill();
    if (this.filled === 0) return;
    this.full.push({ bytes: this.filling, used: this.filled, lines: this.fillingLines });
    this.filling = this.spare ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
    this.spare = null;
    this.filled = 0;
    this.fillingLines = 0;
  }

  private nextWrite(): Buffer {
    const batch = this.batch as Buffer;
    if (batch.length <= this.maxWriteBytes) return batch;
    const end = batch.lastIndexOf("\n", this.maxWriteBytes - 1);
    return batch.subarray(0, (end === -1 ? batch.indexOf("\n") : end) + 1);
  }

  private taken(written: number): void {
    const batch = this.batch as Buffer;
    const whole = written === batch.length;
    if (whole) this.ended();
    else this.batch = batch.subarray(written);
    if (!whole || this.full.length > 0 || this.waitingLines >= this.batchLines || this.idle.length > 0) this.pump();
    else if (this.waitingLines > 0) this.pumpLater();
  }

  /** The sink is broken (EPIPE, ENOSPC): the batch is lost, and the next one tries again in its time. */
  private giveUp(): void {
    this.onDropped(this.batchLinesLeft);
    this.ended();
    if (this.waitingLines > 0) this.pumpLater();
    else this.rest();
  }

  private giveUpWaiting(): void {
    if (this.waitingLines > 0) this.onDropped(this.waitingLines);
    this.seal();
    this.full.length = 0;
    this.waitingLines = 0;
    this.waitingBytes = 0;
  }

  private ended(): void {
    if (this.taking?.bytes.length === BUFFER_BYTES) this.spare = this.taking.bytes;
    this.taking = null;
    this.batch = null;
    this.batchLinesLeft = 0;
  }

  private rest(): void {
    for (const resolve of this.idle.splice(0)) resolve();
  }

  /** False: given up. */
  private takeSync(until: number): boolean {
    for (;;) {
      try {
        this.batch = (this.batch as Buffer).subarray(this.sink.writeSync(this.nextWrite()));
        if (this.batch.length === 0) return true;
      } catch (error) {
        const mayTakeMore = (error as NodeJS.ErrnoException).code === "EAGAIN" && Date.now() < until;
        if (!mayTakeMore) {
          this.onDropped(this.batchLinesLeft);
          this.ended();
          this.giveUpWaiting();
          return false;
        }
        Atomics.wait(NEVER, 0, 0, 5);
      }
    }
  }
}

/** Nothing ever wakes what waits on it: a sleep that blocks, for the very end of a process. */
const NEVER = new Int32Array(new SharedArrayBuffer(4));
