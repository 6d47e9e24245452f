import type { IncomingMessage } from "node:http";
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
    request.on("data", (chunk: Buffer) => this.#reader?.onRequestData(chunk, false));
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
}

function noop(): void {}
