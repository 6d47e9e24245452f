import { once } from "node:events";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NodeBody } from "../../src/inbound/node-body.ts";

const SENT = Buffer.alloc(1024 * 1024, "0123456789abcdef");

describe("the body of a request that Node's server reads", () => {
  const server = createServer();
  beforeEach(() => once(server.listen(0, "127.0.0.1"), "listening"));
  afterEach(() => once(server.close(), "close"));

  /** The chunks that a reader got, which says of each whether it is done with it, once it was told of the end. */
  async function readBy(done: (chunk: Buffer) => boolean): Promise<Buffer[]> {
    const asked = request({ port: (server.address() as AddressInfo).port, host: "127.0.0.1", method: "POST" });
    asked.end(SENT);
    const [got, response] = (await once(server, "request")) as [IncomingMessage, ServerResponse];
    const chunks: Buffer[] = [];
    await new Promise<void>((end) => {
      new NodeBody(got).read({
        onRequestData(chunk) {
          chunks.push(chunk);
          return done(chunk);
        },
        onRequestEnd: end,
        onRequestAbort: () => {},
      });
    });
    response.end();
    await once(asked, "response").then(([answer]) => answer.resume());
    return chunks;
  }

  it("is in memory that stays as it is while its reader needs it", async () => {
    const chunks = await readBy(() => false);
    expect(Buffer.concat(chunks).equals(SENT)).toBe(true);
  });

  it("gives large pieces of memory back as soon as its reader is done with them, and those alone", async () => {
    const copies: Buffer[] = [];
    const chunks = await readBy((chunk) => {
      copies.push(Buffer.from(chunk));
      return copies.length % 2 === 0;
    });
    expect(Buffer.concat(copies).equals(SENT)).toBe(true);
    const large = chunks.filter((_, at) => at % 2 === 1 && (copies[at]?.length ?? 0) >= 16 * 1024);
    expect(large.length).toBeGreaterThan(0);
    for (const chunk of large) expect(chunk.length).toBe(0);
    for (let at = 0; at < chunks.length; at += 2) expect(chunks[at]?.equals(copies[at] ?? SENT)).toBe(true);
  });
});
