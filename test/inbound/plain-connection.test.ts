import type { Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSocketEngine } from "../../src/forward/socket-engine.ts";
import { ForwardRig, upstreamOn } from "../forward/forward-rig.ts";
import { answering, type RawConnection, type RawServer, rawClient, rawServer } from "../forward/support.ts";

const PLAIN = "GET /a HTTP/1.1\r\nHost: gw\r\n\r\n";
const HEAD = "HTTP/1.1 200 OK\r\n";
const ANSWERS = [
  `${HEAD}Content-Length: 2\r\n\r\nok`,
  `${HEAD}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
  `HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n${HEAD}Content-Length: 2\r\n\r\nok`,
  `${HEAD}Content-Length: 20000\r\n\r\n${"x".repeat(19_998)}ok`,
];

describe("the socket of a connection with plain requests", () => {
  let upstream: RawServer;
  let rig: ForwardRig;
  beforeAll(async () => {
    upstream = await rawServer(answering((request) => ANSWERS[request % ANSWERS.length] ?? ""));
    rig = await new ForwardRig({ engine: createSocketEngine(), upstream: upstreamOn(upstream.port) }).start();
  });
  afterAll(() => {
    rig.close();
    upstream.close();
  });

  /** Asks so often, one after the other, and gives the gateway's end of the connection. */
  async function ask(client: RawConnection, times: number, request = PLAIN): Promise<Socket> {
    for (let asked = 0; asked < times; asked++) {
      const over = rig.over.length;
      client.write(request);
      await rig.ending(over + 1);
    }
    const exchange = rig.over.at(-1);
    if (exchange === undefined) throw new Error("nothing was asked");
    return exchange.socket;
  }

  it("has as many listeners after a thousand requests as after one, and no time-out of theirs", async () => {
    const client = await rawClient(rig.port);
    const socket = await ask(client, 1);
    const before = listenersOf(socket);
    await ask(client, 1000);
    expect(listenersOf(socket)).toEqual(before);
    expect(socket.timeout ?? 0).toBe(0);
    client.socket.destroy();
  });

  it("has as many once Node's server has it as one that this had from the start", async () => {
    const [late, early] = [await rawClient(rig.port), await rawClient(rig.port)];
    await ask(late, 100);
    const handedOver = await ask(late, 5, `\r\n${PLAIN}`);
    const nodes = await ask(early, 5, `\r\n${PLAIN}`);
    expect(handedOver).not.toBe(nodes);
    expect(listenersOf(handedOver)).toEqual(listenersOf(nodes));
    await ask(late, 100, PLAIN);
    expect(listenersOf(handedOver)).toEqual(listenersOf(nodes));
    late.socket.destroy();
    early.socket.destroy();
  });
});

function listenersOf(socket: Socket): Record<string, number> {
  return Object.fromEntries(socket.eventNames().map((event) => [String(event), socket.listenerCount(event)]));
}
