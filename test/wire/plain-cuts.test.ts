import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { answerOk } from "../support/recording-upstream.ts";
import { auth, Rig } from "../support/rig.ts";
import { asChunks, chunked, formatFindings, get, HANG_MS, post } from "./wire.ts";

/** More of them: `CUT_CASES=5000 CUT_SEED=7 npx vitest run test/wire/plain-cuts.test.ts` */
const CASES = Number(process.env.CUT_CASES ?? 500);
const SEED = Number(process.env.CUT_SEED ?? 20_261_121);

type Part = readonly [method: string, bytes: string];

const plain = fc.constantFrom<Part>(
  ["GET", get("/any/a", auth())],
  ["GET", get("/any/b?c=d", `${auth()}Connection: keep-alive\r\n`)],
  ["HEAD", get("/any/c", auth(), "HEAD")],
  ["DELETE", get("/write/d", auth(), "DELETE")],
  ["GET", get("/any/e")],
  ["GET", get("/nowhere")],
  ["GET", get("/any/pieces", auth())],
);
const other = fc.constantFrom<Part>(
  ["POST", post("/any/f", "abc", auth())],
  ["POST", post("/any/g", get("/any/smuggled", auth()), auth())],
  ["POST", chunked("/any/h", asChunks(get("/any/smuggled", auth())), auth())],
  ["GET", `\r\n${get("/any/i", auth())}`],
  ["GET", get("/any/j", `${auth()}X:\ty\t\r\n`)],
  ["GET", get("/any/k", `${auth()}Content-Length: 0\r\n`)],
  ["GET", get("/any/l", `${auth()}Connection: Upgrade\r\nUpgrade: h2c\r\n`)],
  ["OPTIONS", get("*", "", "OPTIONS")],
);
const last = fc.constantFrom<Part>(
  ["GET", get("/any/z", `${auth()}Connection: close\r\n`)],
  ["GET", get("/public/../z", auth())],
  ["GET", "garbage\r\n\r\n"],
  ["GET", `${get("/public", "Host: again\r\n")}`],
  ["POST", `POST /any/y HTTP/1.1\r\nHost: gw\r\n${auth()}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc`],
);
const parts = fc
  .tuple(fc.array(fc.oneof({ weight: 3, arbitrary: plain }, { weight: 1, arbitrary: other }), { maxLength: 6 }), last)
  .map(([some, end]) => [...some, end, ["GET", get("/any/never", auth())] as Part]);

/** Where the bytes are cut: between requests, anywhere, or everywhere. */
const cuts = fc.oneof(
  fc.constant(() => 100_000),
  fc.integer({ min: 1, max: 200 }).map((size) => () => size),
  fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 5 }).map((sizes) => (index: number) => {
    return sizes[index % sizes.length] ?? 1;
  }),
  fc.constant(null),
);

/** Requests that come one behind the other without waiting, on a connection that is closed with the last that is answered. */
describe("plain requests and others, however they are cut", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start();
  });
  afterAll(() => rig?.stop());

  it(`end as they do in one piece before Node's parser (${CASES} connections of seed ${SEED})`, async () => {
    rig.upstream.script = async (request, connection) => {
      if (request.target !== "/any/pieces") return answerOk(request);
      connection.send("HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n");
      await new Promise((done) => setImmediate(done));
      return "1\r\nc\r\n0\r\n\r\n";
    };
    const cases = fc.sample(fc.tuple(parts, cuts), { numRuns: CASES, seed: SEED });
    for (const [all, sizes] of cases) {
      const whole = await run(all, [`\r\n${all.map(([, bytes]) => bytes).join("")}`], () => 100_000);
      const pieces = sizes === null ? all.map(([, bytes]) => bytes) : [all.map(([, bytes]) => bytes).join("")];
      const cut = await run(all, pieces, sizes ?? (() => 100_000));
      expect(cut, JSON.stringify(all)).toEqual(whole);
      expect(whole.sentOn.filter((each) => /^GET \/any\/(never|smuggled)/.test(each))).toEqual([]);
    }
    expect(formatFindings(await rig.settle())).toBe("");
  }, 300_000);

  async function run(
    all: readonly Part[],
    pieces: readonly string[],
    sizes: (index: number) => number,
  ): Promise<{ readonly answers: readonly unknown[]; readonly sentOn: readonly string[] }> {
    const known = new Map(rig.upstream.connections.map((each) => [each, each.seen("strict").length]));
    const client = await rig.connect();
    for (const piece of pieces) await client.writeSplit(piece, sizes);
    await client.closed(HANG_MS);
    const answers: unknown[] = [];
    for (const [method] of all) {
      const got = await client.answer(method);
      if (got === null) break;
      answers.push([got.status, got.framing, got.body.toString("latin1").replace(/req_[0-9a-z]{15}/, "...")]);
    }
    expect(client.rest().length).toBe(0);
    client.destroy();
    const sentOn = rig.upstream.connections.flatMap((each) => each.seen("strict").slice(known.get(each) ?? 0));
    return {
      answers,
      sentOn: sentOn.map(({ method, target, body }) => `${method} ${target} ${body.toString("latin1")}`).sort(),
    };
  }
});
