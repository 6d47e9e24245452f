import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { readChunked } from "./http-parsers.ts";

/** An answer as it came over the wire, read strictly. */
export interface RawAnswer {
  readonly status: number;
  readonly reason: string;
  readonly version: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer;
  readonly trailers: readonly (readonly [name: string, value: string])[];
  /** The 1xx answers that came before it. */
  readonly interim: readonly { readonly status: number; readonly headers: RawAnswer["headers"] }[];
  readonly framing: "none" | "length" | "chunked" | "close" | "upgrade";
}

/** The one value of a field; null when it is absent, "<repeated>" when there is more than one. */
export function fieldOf(answer: Pick<RawAnswer, "headers">, name: string): string | null {
  const values = answer.headers.filter(([each]) => each.toLowerCase() === name.toLowerCase());
  if (values.length > 1) return "<repeated>";
  return values[0]?.[1] ?? null;
}

export type Ending = "end" | "reset";

/** A TCP connection that sends what it is told, and reads answers strictly. */
export class RawClient {
  readonly socket: Socket;
  ended: Ending | null = null;
  /** What was read, and room for more: put together anew with each chunk, megabytes of answers would cost seconds. */
  #store = Buffer.alloc(0);
  #length = 0;
  readonly #watchers = new Set<() => void>();
  #at = 0;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (chunk) => {
      this.#append(chunk);
      this.#changed();
    });
    socket.on("end", () => this.#finish("end"));
    socket.on("error", () => this.#finish("reset"));
    socket.on("close", () => this.#finish("end"));
  }

  static async connect(
    port: number,
    options: { readonly paused?: boolean; readonly tls?: boolean } = {},
  ): Promise<RawClient> {
    const to = { port, host: "127.0.0.1", allowHalfOpen: true };
    const socket = options.tls ? connectTls({ ...to, rejectUnauthorized: false }) : connect(to);
    await new Promise<void>((done, failed) => {
      socket.once(options.tls ? "secureConnect" : "connect", done);
      socket.once("error", failed);
    });
    const client = new RawClient(socket);
    if (options.paused) socket.pause();
    return client;
  }

  /** Read so far, answered or not. */
  get received(): Buffer {
    return this.#store.subarray(0, this.#length);
  }

  /** Strings are latin1: one character, one byte. Resolves when handed to the kernel. */
  async write(bytes: string | Buffer): Promise<void> {
    if (this.socket.destroyed || this.socket.writableEnded) return;
    const buffer = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes;
    await new Promise<void>((done) => this.socket.write(buffer, () => done()));
  }

  /** In pieces of the given sizes, the last size again and again; each is a segment of its own as far as TCP allows. */
  async writeSplit(bytes: string | Buffer, sizes: (index: number) => number): Promise<void> {
    const buffer = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes;
    let at = 0;
    for (let index = 0; at < buffer.length && this.ended === null; index += 1) {
      const size = Math.max(1, sizes(index));
      await this.write(buffer.subarray(at, at + size));
      await new Promise((done) => setImmediate(done));
      at += size;
    }
  }

  /** The next answer, or null when the connection ended before one was whole. */
  async answer(method = "GET", timeoutMs = 5000): Promise<RawAnswer | null> {
    let found: RawAnswer | null = null;
    await this.until(() => {
      const step = parseAnswer(this.received, this.#at, method, this.ended);
      if (typeof step === "string")
        throw new Error(`not clean HTTP: ${step}\n${this.received.toString("latin1", this.#at, this.#at + 600)}`);
      if (step !== null) {
        this.#at = step.end;
        found = step.answer;
      }
      return step !== null || this.ended !== null;
    }, timeoutMs);
    return found;
  }

  /** Bytes after the last answer read. */
  rest(): Buffer {
    return this.received.subarray(this.#at);
  }

  async closed(timeoutMs = 5000): Promise<Ending> {
    await this.until(() => this.ended !== null, timeoutMs);
    return this.ended ?? "end";
  }

  /** FIN, still reading. */
  halfClose(): void {
    this.socket.end();
  }

  /** RST. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  destroy(): void {
    this.socket.destroy();
  }

  async until(holds: () => boolean, timeoutMs = 5000): Promise<void> {
    if (holds()) return;
    await new Promise<void>((done, failed) => {
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        this.#watchers.delete(watch);
        settle();
      };
      const timer = setTimeout(() => {
        finish(() =>
          failed(new TimeoutError(`nothing within ${timeoutMs} ms; received ${this.received.length} bytes`)),
        );
      }, timeoutMs);
      const watch = () => {
        try {
          if (holds()) finish(done);
        } catch (error) {
          finish(() => failed(error));
        }
      };
      this.#watchers.add(watch);
    });
  }

  #append(chunk: Buffer): void {
    const length = this.#length + chunk.length;
    if (length > this.#store.length) {
      const larger = Buffer.allocUnsafe(Math.max(length, 2 * this.#store.length));
      this.#store.copy(larger, 0, 0, this.#length);
      this.#store = larger;
    }
    chunk.copy(this.#store, this.#length);
    this.#length = length;
  }

  #finish(how: Ending): void {
    this.ended ??= how;
    this.#changed();
  }

  #changed(): void {
    for (const watch of [...this.#watchers]) watch();
  }
}

export class TimeoutError extends Error {
  override readonly name = "TimeoutError";
}

/** Null: not whole yet. A string: what is wrong. */
export function parseAnswer(
  bytes: Buffer,
  from: number,
  method: string,
  ended: Ending | null,
): { answer: RawAnswer; end: number } | string | null {
  const interim: { status: number; headers: RawAnswer["headers"] }[] = [];
  let at = from;
  for (;;) {
    const headEnd = bytes.indexOf("\r\n\r\n", at, "latin1");
    if (headEnd === -1) return null;
    const [line = "", ...fields] = bytes.toString("latin1", at, headEnd).split("\r\n");
    const status = /^(HTTP\/1\.[01]) (\d{3}) ([\t\x20-\x7e\x80-\xff]*)$/.exec(line);
    if (status === null) return `status line ${JSON.stringify(line.slice(0, 80))}`;
    const headers: [string, string][] = [];
    for (const field of fields) {
      const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/.exec(field);
      if (match === null) return `field ${JSON.stringify(field.slice(0, 80))}`;
      headers.push([match[1] ?? "", match[2] ?? ""]);
    }
    at = headEnd + 4;
    const code = Number(status[2]);
    const head = { status: code, reason: status[3] ?? "", version: status[1] ?? "", headers };
    if (code === 101) return { answer: { ...head, ...NO_BODY, interim, framing: "upgrade" }, end: at };
    if (code < 200) {
      interim.push({ status: code, headers });
      continue;
    }
    return readAnswerBody(bytes, at, method, ended, { ...head, interim });
  }
}

const NO_BODY = { body: Buffer.alloc(0), trailers: [] } as const;

function readAnswerBody(
  bytes: Buffer,
  from: number,
  method: string,
  ended: Ending | null,
  head: Omit<RawAnswer, "body" | "trailers" | "framing">,
): { answer: RawAnswer; end: number } | string | null {
  const lengths = head.headers.filter(([name]) => name.toLowerCase() === "content-length");
  const codings = head.headers.filter(([name]) => name.toLowerCase() === "transfer-encoding");
  if (lengths.length + codings.length > 1) return "more than one framing field";
  if (method === "HEAD" || head.status === 204 || head.status === 304) {
    return { answer: { ...head, ...NO_BODY, framing: "none" }, end: from };
  }
  if (codings.length === 1) {
    if (codings[0]?.[1] !== "chunked") return `transfer coding ${codings[0]?.[1]}`;
    const body = readChunked(bytes, from);
    if (typeof body === "string") return body;
    if (!body.complete) return null;
    return { answer: { ...head, body: body.body, trailers: body.trailers, framing: "chunked" }, end: body.end };
  }
  if (lengths.length === 1) {
    const length = Number(lengths[0]?.[1]);
    if (!Number.isSafeInteger(length)) return "content length";
    if (bytes.length < from + length) return null;
    const body = bytes.subarray(from, from + length);
    return { answer: { ...head, body, trailers: [], framing: "length" }, end: from + length };
  }
  if (ended !== "end") return null;
  return { answer: { ...head, body: bytes.subarray(from), trailers: [], framing: "close" }, end: bytes.length };
}
