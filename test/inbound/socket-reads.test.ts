import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SocketReads } from "../../src/inbound/socket-reads.ts";

describe("what an accepted socket reads", () => {
  let server: Server;
  let client: Socket;
  let accepted: Socket;
  beforeEach(async () => {
    server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
    await once(server, "listening");
    await newPair();
  });
  afterEach(() => {
    client.destroy();
    accepted.destroy();
    server.close();
  });

  async function newPair(): Promise<void> {
    client?.destroy();
    client = connect((server.address() as AddressInfo).port, "127.0.0.1").setNoDelay(true);
    [accepted] = (await once(server, "connection")) as [Socket];
  }

  /** What is read from here on, a read each. */
  function reading(socket: Socket): { reads: SocketReads; next: () => Promise<Buffer> } {
    let tell: (bytes: Buffer) => void = () => {};
    const reads = new SocketReads(socket, (bytes) => tell(bytes));
    return { reads, next: () => new Promise((resolve) => (tell = resolve)) };
  }

  it("comes in memory that is used again, in each Node that these tests run on", async () => {
    const { reads, next } = reading(accepted);
    client.write("first");
    const first = await next();
    expect(first.toString()).toBe("first");
    expect(reads.lent).toBe(true);
    client.write("other");
    const other = await next();
    expect(other.toString()).toBe("other");
    expect(first.buffer).toBe(other.buffer);
    expect(first.toString()).toBe("other");
  });

  it("comes by 'data' once it is stopped, in memory that nobody writes to", async () => {
    const { reads, next } = reading(accepted);
    client.write("first");
    await next();
    reads.stop();
    const chunks: Buffer[] = [];
    accepted.on("data", (chunk) => chunks.push(chunk)).resume();
    for (const text of ["one", "two", "six"]) {
      client.write(text);
      await once(accepted, "data");
    }
    expect(chunks.map(String)).toEqual(["one", "two", "six"]);
  });

  it("waits with the client while nobody takes it", async () => {
    const { reads, next } = reading(accepted);
    client.write("first");
    await next();
    reads.stop();
    const much = Buffer.alloc(32 * 1024 * 1024, "x");
    client.write(much);
    client.end();
    let bytes = 0;
    accepted.on("data", (chunk) => (bytes += chunk.length));
    accepted.once("data", () => accepted.pause()).resume();
    await once(accepted, "pause");
    for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
    expect(accepted.bytesRead).toBeLessThanOrEqual(256 * 1024);
    accepted.resume();
    await once(accepted, "end");
    expect(bytes).toBe(much.length);
  });

  it("ends with the client's end, before it is stopped and after", async () => {
    const { reads } = reading(accepted);
    client.end();
    await once(accepted, "end");
    await newPair();
    const after = reading(accepted);
    after.reads.stop();
    client.end("last");
    accepted.resume();
    await once(accepted, "end");
    reads.stop();
  });

  it("is what was sent, in order, whoever reads which part of it", async () => {
    const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 30_000, max: 140_000 })), {
      minLength: 1,
      maxLength: 8,
    });
    await fc.assert(
      fc.asyncProperty(sizes, fc.nat({ max: 400_000 }), async (sizes, stopAt) => {
        await newPair();
        const sent = Buffer.concat(sizes.map((size, at) => Buffer.alloc(size, at + 1)));
        const got: Buffer[] = [];
        let bytes = 0;
        const take = (chunk: Buffer) => {
          got.push(Buffer.from(chunk));
          bytes += chunk.length;
        };
        const reads: SocketReads = new SocketReads(accepted, (chunk) => {
          take(chunk);
          if (bytes < stopAt) return;
          reads.stop();
          accepted.on("data", take).resume();
        });
        for (const size of sizes) client.write(sent.subarray(sent.length - size, sent.length));
        const parts = sizes.map((size) => sent.subarray(sent.length - size, sent.length));
        client.end();
        await once(accepted, "end");
        expect(Buffer.concat(got).equals(Buffer.concat(parts))).toBe(true);
      }),
      { numRuns: 60 },
    );
  });
});
