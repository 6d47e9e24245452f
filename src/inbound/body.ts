import type { Exchange } from "../exchange.ts";
import { type Fault, fault } from "../faults/fault.ts";
import { bodyTooLarge } from "../faults/too-much.ts";
import { GrowingBytes } from "../growing-bytes.ts";

/**
 * Reads a request's whole body for `{body...}`: at most `maxBytes`, else 413. A client that waits for leave to send it
 * (`Expect: 100-continue`) gets it here: its key was found good. Never rejects; a client that leaves while sending
 * ends in `request_timeout`, which nobody is there to read.
 */
export function readBody(exchange: Exchange, maxBytes: number): Promise<Buffer | Fault> {
  const { request, response, head } = exchange;
  if (head?.body.kind === "length" && head.body.bytes > maxBytes) return Promise.resolve(bodyTooLarge(maxBytes));
  if (head?.expectContinue) response.writeContinue();
  return new Promise((resolve) => {
    const body = new GrowingBytes();
    request.on("data", (chunk: Buffer) => {
      exchange.bytesIn = body.length + chunk.length;
      if (exchange.bytesIn <= maxBytes) {
        body.add(chunk);
        return;
      }
      request.pause();
      resolve(bodyTooLarge(maxBytes));
    });
    request.once("end", () => resolve(body.all()));
    request.once("error", () => resolve(fault("user:bad_request:request_timeout")));
    request.once("close", () => resolve(fault("user:bad_request:request_timeout")));
  });
}
