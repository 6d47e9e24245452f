import { Socket } from "node:net";
import { expect, it } from "vitest";
import { createSocketEngine } from "../../src/forward/socket-engine.ts";
import { ForwardRig, upstreamOn } from "../forward/forward-rig.ts";
import { rawClient, rawServer } from "../forward/support.ts";

const BODY_END = "that is all";
const LARGE = "x".repeat(300_000) + BODY_END;

it("a connection reads into the memory that all share, once a large body is here or Node's server has it", async () => {
  const upstream = await rawServer(async (connection) => {
    for (let request = 1; ; request++) {
      await connection.seen(BODY_END, request);
      connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
  });
  const rig = await new ForwardRig({ engine: createSocketEngine(), upstream: upstreamOn(upstream.port) }).start();

  /** The gateway's end of a connection on which so many requests were answered. */
  async function ask(framing: string, body: string, times = 1): Promise<Socket> {
    const client = await rawClient(rig.port);
    for (let asked = 0; asked < times; asked++) {
      const over = rig.over.length;
      client.write(`POST /a HTTP/1.1\r\nHost: gw\r\n${framing}\r\n\r\n${body}`);
      await rig.ending(over + 1);
    }
    return rig.over.at(-1)!.socket;
  }

  const shared = memoryOf(await ask(`Content-Length: ${BODY_END.length}`, BODY_END));
  expect(shared).toBeInstanceOf(ArrayBuffer);
  expect(memoryOf(await ask(`Content-Length: ${LARGE.length}`, LARGE, 3))).toBe(shared);
  const chunk = `${LARGE.length.toString(16)}\r\n${LARGE}\r\n0\r\n\r\n`;
  expect(memoryOf(await ask("Transfer-Encoding: chunked", chunk))).toBe(shared);
  rig.close();
  upstream.close();
});

/** Where the next read of a socket goes. */
function memoryOf(socket: Socket): ArrayBufferLike | undefined {
  const state = Object.getOwnPropertySymbols(new Socket()).find(({ description }) => description === "kBuffer");
  return (socket as unknown as Record<symbol, Buffer | undefined>)[state!]?.buffer;
}
