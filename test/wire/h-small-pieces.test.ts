import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { answerOk } from "../support/recording-upstream.ts";
import { auth, Rig } from "../support/rig.ts";
import { asChunks, chunked, connectMany, formatFindings, get, post } from "./wire.ts";

const MIB = 1024 * 1024;
const CLIENTS = 20;

let rig: Rig;
beforeEach(async () => {
  rig = await Rig.start();
});
afterEach(() => rig?.stop());

/** What the process held at its worst since it began, in bytes. */
function mostHeld(): number {
  return 1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${rig.pid}/status`, "latin1"))?.[1]);
}

describe.runIf(process.platform === "linux")(
  "H. what comes in small pieces costs about the memory that it is bytes",
  () => {
    it("a JSON body that is read, in chunks of one byte", async () => {
      const before = mostHeld();
      const body = JSON.stringify({ apiId: "api_1" }).padEnd(900_000, " ");
      const chunks = `${[...body].map((byte) => `1\r\n${byte}\r\n`).join("")}0\r\n\r\n`;
      const clients = await connectMany(rig, 2);
      for (const client of clients) {
        await client.write(chunked("/v2/keys.createKey", chunks, `${auth()}Content-Type: application/json\r\n`));
      }
      for (const client of clients) expect((await client.answer("POST", 30_000))?.status).toBe(200);
      const more = mostHeld() - before;
      console.info(`a body in chunks of one byte: ${Math.round(more / MIB)} MiB more at most, for 2 of 0.9 MB`);
      expect(more).toBeLessThan(60 * MIB);
      for (const client of clients) client.destroy();
      expect(formatFindings(await rig.settle())).toBe("");
    }, 60_000);

    it.each([
      ["requests of thousands of short fields", get("/any/x", "a:b\r\n".repeat(4500)).repeat(60)],
      ["thousands of short requests", "GET / HTTP/1.1\r\n\r\n".repeat(20_000)],
      [
        "requests with bodies in chunks of one byte",
        chunked("/any/x", `${"1\r\na\r\n".repeat(10_000)}0\r\n\r\n`, auth()).repeat(30),
      ],
    ])(
      "%s that wait behind another",
      async (_, behind) => {
        rig.upstream.script = () => null;
        const clients = await connectMany(rig, CLIENTS);
        const before = mostHeld();
        // Together with the first, so that Node's parser has them all; the rest is not taken before its turn comes.
        for (const client of clients) void client.write(get("/public/first") + behind);
        const waiting = () => rig.upstream.requests().filter(({ target }) => target === "/public/first").length;
        await rig.upstream.until(() => waiting() === CLIENTS);
        const stranger = await rig.connect();
        for (let round = 0; round < 50; round += 1) {
          await stranger.write(get("/nowhere"));
          expect((await stranger.answer("GET", 30_000))?.status).toBe(404);
        }
        const more = mostHeld() - before;
        console.info(`what waits: ${Math.round(more / MIB)} MiB more at most, for ${CLIENTS} clients`);
        expect(more).toBeLessThan(60 * MIB);
        for (const client of [...clients, stranger]) client.destroy();
      },
      60_000,
    );
  },
);

it("H. requests of every kind, hundreds at once on one connection, come upstream and are answered in order, each with its body", async () => {
  const bodies: string[] = [];
  rig.upstream.script = (request) => {
    bodies.push(`${request.target} ${request.body.toString("latin1")}`);
    return answerOk(request);
  };
  const body = (index: number) => `body-${index}-${"x".repeat(index % 50)}`;
  const kinds = [
    (path: string) => [get(path, auth()), ""],
    (path: string, index: number) => [post(path, body(index), auth()), body(index)],
    (path: string, index: number) => [chunked(path, asChunks(body(index)), auth()), body(index)],
    (path: string) => [get(path, `${auth()}Connection: upgrade\r\nUpgrade: h2c\r\n`), ""],
    (path: string) => [get(path, `${auth()}${"X-Field: value\r\n".repeat(60)}`), ""],
    (path: string) => [get(path, auth()), ""],
  ] as const;
  const sent = Array.from({ length: 600 }, (_, index) => {
    const [bytes = "", said = ""] = kinds[(index * 7 + (index >> 4)) % kinds.length]?.(`/any/r${index}`, index) ?? [];
    return { bytes, seen: `/any/r${index} ${said}` };
  });
  const client = await rig.connect();
  void client.write(sent.map(({ bytes }) => bytes).join(""));
  for (const { seen } of sent) expect((await client.answer())?.body.toString()).toContain(seen.split(" ")[0]);
  expect(bodies).toEqual(sent.map(({ seen }) => seen));
  client.destroy();
  expect(formatFindings(await rig.settle())).toBe("");
}, 60_000);

it("H. large answers in front of a wish to change protocol come whole, however slowly they are taken", async () => {
  const large = "x".repeat(8 * MIB);
  rig.upstream.script = (request) =>
    `HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: ${large.length + request.target.length}\r\n\r\n${large}${request.target}`;
  const client = await rig.connect();
  client.socket.removeAllListeners("data");
  let bytes = 0;
  let last = "";
  const whole = new Promise<void>((done) => {
    client.socket.on("data", (chunk) => {
      bytes += chunk.length;
      last = (last + chunk.toString("latin1")).slice(-6);
      client.socket.pause();
      setImmediate(() => client.socket.resume());
      if (bytes > 4 * large.length && last === "/any/3") done();
    });
  });
  const asked = [0, 1, 2].map((index) => get(`/any/${index}`, auth())).join("");
  await client.write(`${asked}${get("/any/3", `${auth()}Connection: upgrade\r\nUpgrade: h2c\r\n`)}`);
  await whole;
  client.destroy();
  expect(formatFindings(await rig.settle())).toBe("");
}, 60_000);
