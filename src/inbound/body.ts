import type { BodyReader, Exchange, RequestBody } from "../exchange.ts";
import { type Fault, fault } from "../faults/fault.ts";
import { bodyTooLarge } from "../faults/too-much.ts";
import { GrowingBytes } from "../growing-bytes.ts";

/**
 * Reads a request's whole body for `{body...}`: at most `maxBytes`, else 413. A client that waits for leave to send it
 * (`Expect: 100-continue`) gets it here: its key was found good. Never rejects; a client that leaves while sending
 * ends in `request_timeout`, which nobody is there to read.
 */
export function readBody(exchange: Exchange, maxBytes: number): Promise<Buffer | Fault> {
  const { client, head } = exchange;
  if (head?.body.kind === "length" && head.body.bytes > maxBytes) return Promise.resolve(bodyTooLarge(maxBytes));
  if (head?.expectContinue) exchange.response.writeContinue();
  return new Promise((resolve) => client.body.read(new WholeBody(exchange, client.body, maxBytes, resolve)));
}

class WholeBody implements BodyReader {
  readonly #exchange: Exchange;
  readonly #source: RequestBody;
  readonly #maxBytes: number;
  /** Heard once: what is told later is nobody's. */
  readonly #tell: (body: Buffer | Fault) => void;
  readonly #bytes = new GrowingBytes();

  constructor(exchange: Exchange, source: RequestBody, maxBytes: number, tell: (body: Buffer | Fault) => void) {
    this.#exchange = exchange;
    this.#source = source;
    this.#maxBytes = maxBytes;
    this.#tell = tell;
  }

  onRequestData(chunk: Buffer, lent: boolean): boolean {
    const bytes = this.#bytes;
    this.#exchange.bytesIn = bytes.length + chunk.length;
    if (this.#exchange.bytesIn <= this.#maxBytes) {
      const copies = bytes.length > 0;
      bytes.add(lent && !copies ? Buffer.from(chunk) : chunk);
      return lent || copies;
    }
    // A client that sends all of it before it reads gets to its answer that way.
    this.#source.discard();
    this.#tell(bodyTooLarge(this.#maxBytes));
    return true;
  }

  onRequestEnd(): void {
    this.#tell(this.#bytes.all());
  }

  onRequestAbort(): void {
    this.#tell(fault("user:bad_request:request_timeout"));
  }
}
