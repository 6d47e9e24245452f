import { Agent, createServer, request as httpRequest, type IncomingMessage, type Server } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { KEYS, RIG_KEYRING } from "../support/rig.ts";

const CLIENTS = 24;
const BODIES_EACH = 25;
const KIB = 1024;

type Framing = "length" | "chunked" | "close";

/** What one client asks for, and how it reads. */
interface Order {
  readonly id: number;
  readonly size: number;
  readonly framing: Framing;
  /** Bytes of one write of the upstream. */
  readonly piece: number;
  readonly slow: boolean;
}

/** Every eight bytes say whose they are and where: a byte of another body, or of another place, shows. */
function bodyOf({ id, size }: Pick<Order, "id" | "size">): Buffer {
  const body = Buffer.alloc(size + 8);
  for (let at = 0; at < size; at += 8) {
    body.writeUInt32BE(id, at);
    body.writeUInt32BE(at, at + 4);
  }
  return body.subarray(0, size);
}

/** Numbers that look random and are the same in each run (xorshift32). */
function createDice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const SIZES = [1, 900, 11 * KIB, 13 * KIB, 40 * KIB, 64 * KIB, 65 * KIB, 300 * KIB, 1024 * KIB];

/** More than the buffers of both kernels and the gateway hold: who does not read it holds the upstream up. */
const HUGE = 24 * 1024 * KIB;

function ordersOf(client: number): Order[] {
  const dice = createDice(client + 1);
  const huge: Order = { id: client * 1000 + 999, size: HUGE, framing: "length", piece: HUGE, slow: true };
  return (client % 4 === 0 ? [huge] : []).concat(ordersOfAllKinds(client, dice));
}

function ordersOfAllKinds(client: number, dice: (below: number) => number): Order[] {
  return Array.from({ length: BODIES_EACH }, (_, index) => ({
    id: client * 1000 + index,
    size: (SIZES[dice(SIZES.length)] ?? 1) + dice(7),
    framing: (["length", "length", "chunked", "close"] as const)[dice(4)] ?? "length",
    piece: [100, 5 * KIB, 20 * KIB, 1024 * KIB][dice(4)] ?? 100,
    slow: dice(3) === 0,
  }));
}

describe("bodies of many clients at once", () => {
  let gateway: RunningGateway;
  let upstream: Server;
  beforeAll(async () => {
    upstream = createServer((request, response) => {
      const order = JSON.parse(decodeURIComponent(request.url?.split("?")[1] ?? "")) as Order;
      const body = bodyOf(order);
      if (order.framing === "length") response.setHeader("Content-Length", body.length);
      if (order.framing === "close") {
        response.useChunkedEncodingByDefault = false;
        response.shouldKeepAlive = false;
      }
      const piece = Math.max(order.piece, body.length / 200);
      for (let at = 0; at < body.length; at += piece) response.write(body.subarray(at, at + piece));
      response.end();
    });
    await new Promise<void>((done) => upstream.listen(0, "127.0.0.1", done));
    const address = upstream.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    gateway = await startGateway({
      config: {
        upstreams: [{ name: "app", targets: [`http://127.0.0.1:${port}`] }],
        routes: [{ name: "app", match: { pathPrefix: "/app" }, upstream: "app" }],
      },
      keyring: RIG_KEYRING,
    });
  });
  afterAll(async () => {
    upstream?.closeAllConnections();
    upstream?.close();
    await gateway?.stop();
  });

  it("are each whole and their own, however they come and however slowly they are read", async () => {
    const clients = Array.from({ length: CLIENTS }, (_, client) => client);
    const wrong = await Promise.all(
      clients.map(async (client) => {
        const agent = new Agent({ keepAlive: true, maxSockets: 1 });
        const found: string[] = [];
        for (const order of ordersOf(client)) {
          const got = await fetchBody(order, agent);
          if (!got.equals(bodyOf(order))) found.push(`${JSON.stringify(order)}: ${describeDifference(got, order)}`);
        }
        agent.destroy();
        return found;
      }),
    );
    expect(wrong.flat()).toEqual([]);
  }, 90_000);

  async function fetchBody(order: Order, agent: Agent): Promise<Buffer> {
    const path = `/app?${encodeURIComponent(JSON.stringify(order))}`;
    const headers = { authorization: `Bearer ${KEYS.OK}` };
    const answer = await new Promise<IncomingMessage>((done, failed) => {
      httpRequest({ port: gateway.port, host: "127.0.0.1", path, headers, agent }, done).on("error", failed).end();
    });
    const chunks: Buffer[] = [];
    // Meanwhile the others are served through the same memory.
    if (order.size === HUGE) await new Promise((done) => setTimeout(done, 500));
    for await (const chunk of answer) {
      chunks.push(chunk as Buffer);
      if (order.slow && chunks.length % 8 === 0) await new Promise((done) => setTimeout(done, 1));
    }
    return Buffer.concat(chunks);
  }

  function describeDifference(got: Buffer, order: Order): string {
    const wanted = bodyOf(order);
    const at = wanted.findIndex((byte, index) => got[index] !== byte);
    return `${got.length} of ${wanted.length} bytes, other from ${at} on: ${got.toString("hex", at & ~7, (at & ~7) + 16)}`;
  }
});
