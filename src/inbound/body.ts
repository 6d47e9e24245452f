import type { Exchange } from "../exchange.ts";
import { type Fault, fault } from "../faults/fault.ts";

/**
 * Reads a request's whole body for `{body...}`: at most `maxBytes`, else 413. A client that waits for leave to send it
 * (`Expect: 100-continue`) gets it here: its key was found good. Never rejects; a client that leaves while sending
 * ends in `request_timeout`, which nobody is there to read.
 */
export function readBody(exchange: Exchange, maxBytes: number): Promise<Buffer | Fault> {
  const { request, response, head } = exchange;
  if (head?.body.kind === "length" && head.body.bytes > maxBytes) return Promise.resolve(tooLarge(maxBytes));
  if (head?.expectContinue) response.writeContinue();
  const began = performance.now();
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      exchange.bytesIn = bytes;
      if (bytes <= maxBytes) {
        chunks.push(chunk);
        return;
      }
      request.pause();
      resolve(tooLarge(maxBytes));
    });
    request.once("end", () => {
      exchange.waitedMs = performance.now() - began;
      resolve(Buffer.concat(chunks, bytes));
    });
    request.once("error", () => resolve(fault("user:bad_request:request_timeout")));
    request.once("close", () => resolve(fault("user:bad_request:request_timeout")));
  });
}

function tooLarge(maxBytes: number): Fault {
  return fault("user:bad_request:request_body_too_large", {
    detail: `The request body is larger than the ${maxBytes} bytes allowed here`,
  });
}
