import { afterAll, beforeAll, expect, it } from "vitest";
import { auth, Rig, rigRoutes } from "../support/rig.ts";
import { connectMany, formatFindings, get } from "./wire.ts";

const CLIENTS = 8;
/** More than the sockets between take by themselves. */
const BODY_BYTES = 9 * 1024 * 1024;
/** Little enough for the memory that all connections read into. */
const PIECE_BYTES = 14_000;

let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start(
    {
      routes: [
        ...rigRoutes(),
        { name: "large", match: { pathPrefix: "/large" }, maxBodySize: "64MiB", upstream: "recorder" },
      ],
    },
    { response: "2m", idle: "2m" },
  );
});
afterAll(() => rig?.stop());

/** Says on every few bytes whose it is, and where it belongs. */
function bodyOf(client: number): Buffer {
  const lines = Array.from({ length: BODY_BYTES / 16 }, (_, line) => `${client}:${line}`.padEnd(15, ".")).join("\n");
  return Buffer.from(`${lines}\n`, "latin1");
}

it("H. what many clients send at once, to upstreams that do not take it, is each their own", async () => {
  const stuck: (() => void)[] = [];
  const allAreAsked = new Promise<void>((asked) => {
    rig.upstream.onConnection = ({ socket }) => {
      socket.pause();
      stuck.push(() => socket.resume());
      if (stuck.length === CLIENTS) asked();
    };
  });
  const clients = await connectMany(rig, CLIENTS);
  const bodies = clients.map((_, client) => bodyOf(client));
  const sending: Promise<void>[] = [];
  for (const [index, client] of clients.entries()) {
    const head = `POST /large/${index} HTTP/1.1\r\nHost: gw\r\n${auth()}Content-Length: ${BODY_BYTES}\r\n\r\n`;
    sending.push(client.write(head));
  }
  await allAreAsked;
  for (let at = 0; at < BODY_BYTES; at += PIECE_BYTES) {
    for (const [index, client] of clients.entries()) {
      sending.push(client.write(bodies[index]!.subarray(at, at + PIECE_BYTES)));
    }
    // Read behind every piece, into the same memory.
    const stranger = await rig.connect();
    await stranger.write(get("/nowhere", `X-Fill: ${"!".repeat(PIECE_BYTES)}\r\n`));
    expect((await stranger.answer("GET", 30_000))?.status).toBe(404);
    stranger.destroy();
  }
  for (const goOn of stuck) goOn();
  await Promise.all(sending);
  for (const client of clients) expect((await client.answer("POST", 60_000))?.status).toBe(200);
  const seen = rig.upstream.requests().filter(({ target }) => target.startsWith("/large/"));
  expect(seen.length).toBe(CLIENTS);
  for (const { target, body } of seen) {
    expect(body.equals(bodies[Number(target.slice("/large/".length))]!), target).toBe(true);
  }
  for (const client of clients) client.destroy();
  expect(formatFindings(await rig.settle())).toBe("");
}, 120_000);
