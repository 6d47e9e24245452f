import type { IncomingMessage } from "node:http";
import type { MessagePort } from "node:worker_threads";
import type { BodyReader, RequestBody } from "../exchange.ts";

/** The body of a request that Node's server reads. */
export class NodeBody implements RequestBody {
  readonly #request: IncomingMessage;
  #reader: BodyReader | null = null;

  constructor(request: IncomingMessage) {
    this.#request = request;
  }

  /** Its parser tells of the head before it has looked at what is behind. */
  takeWhole(): null {
    return null;
  }

  read(reader: BodyReader): void {
    this.#reader = reader;
    const request = this.#request;
    request.on("data", (chunk: Buffer) => this.#onData(chunk));
    request.on("end", () => this.#reader?.onRequestEnd());
    // An 'error' that nobody listens for would end the process; 'close' says the rest.
    request.on("error", noop);
    request.on("close", () => {
      if (!request.readableEnded) this.#reader?.onRequestAbort();
    });
  }

  pause(): void {
    this.#request.pause();
  }

  resume(): void {
    this.#request.resume();
  }

  get paused(): boolean {
    return this.#request.isPaused();
  }

  discard(): void {
    this.#reader = null;
    this.#request.resume();
  }

  #onData(chunk: Buffer): void {
    const done = this.#reader?.onRequestData(chunk, false) ?? true;
    if (done) giveBack(chunk);
  }
}

/** What lies in less memory is left to the collector. */
const LARGE_BYTES = 16 * 1024;

/**
 * Gives back the memory of a chunk that nobody looks at any more. Node copies each piece of a body into fresh memory, and
 * the collector comes for it after 32 MiB of them: a large upload would cost as much. A message to a port with nothing
 * at its other end takes what is transferred with it along at once (HTML section 9.4.4); that is less work, too, than
 * fresh memory for the next piece.
 */
function giveBack({ buffer, byteLength }: Buffer): void {
  if (byteLength < LARGE_BYTES || byteLength !== buffer.byteLength) return;
  nowhere ??= portToNowhere();
  nowhere.postMessage(null, [buffer as ArrayBuffer]);
}

let nowhere: MessagePort | null = null;

function portToNowhere(): MessagePort {
  const { port1, port2 } = new MessageChannel();
  port2.close();
  port1.close();
  return port1;
}

function noop(): void {}
