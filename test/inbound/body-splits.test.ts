import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { auth } from "../support/rig.ts";
import { get, post } from "../wire/wire.ts";
import { BothWays, bytesOf, type Scene } from "./both-ways.ts";

/** More of them: `BODY_CASES=2000 BODY_SEED=7 npx vitest run test/inbound/body-splits.test.ts` */
const CASES = Number(process.env.BODY_CASES ?? 80);
const SEED = Number(process.env.BODY_SEED ?? 20_261_121);

/** What a body may be made of: nothing in it is anybody's request. */
const FILLINGS: readonly string[] = [
  bytesOf(1000),
  get("/admin/smuggled", auth()),
  "\r\n",
  "\0\xff\x80",
  "0\r\n\r\n",
  `\r\n\r\n${post("/admin/smuggled", "abc", auth())}`,
];

/** Where something is cut: so many bytes before its end, in order. */
type Cuts = readonly number[];

describe("a request with a body that is cut anywhere, on both ways", () => {
  let ways: BothWays;
  beforeAll(async () => {
    ways = await BothWays.start();
  });
  afterAll(() => ways?.stop());

  const request = post("/any/x", "0123456789", auth());

  /** Sends the bytes in pieces, each read by itself where they are sent `apart`. */
  async function sendCut(scene: Scene, bytes: string, cuts: Cuts, apart: boolean): Promise<void> {
    const all = Buffer.from(scene.dress(bytes).toString(), "latin1");
    const ends = [...cuts.map((before) => Math.max(0, all.length - before)), all.length];
    let from = 0;
    for (const end of ends) {
      await scene.client.write(all.subarray(from, end));
      if (apart && end < all.length) await scene.beat();
      from = end;
    }
  }

  it.each([
    ["", ""],
    [" with a GET in its last packet", get("/any/y", auth())],
  ])("comes to the same wherever it is cut in two%s", async (what, behind) => {
    for (let before = 1; before < request.length; before++) {
      const sight = await ways.alike({
        name: `${before} bytes before the end${what}`,
        play: async (scene) => {
          await sendCut(scene, request + behind, [before + behind.length], true);
          expect((await scene.answer("POST"))?.body.toString()).toContain('"bodyBytes":10');
          if (behind !== "") expect((await scene.answer())?.body.toString()).toContain("/any/y");
        },
      });
      expect(sight.upstream[0]?.body).toBe("0123456789");
    }
  });

  const bodies = fc
    .tuple(
      fc.constantFrom(0, 1, 2, 100, 1024, 65_535, 65_536, 65_537, 1024 * 1024),
      fc.nat({ max: FILLINGS.length - 1 }),
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
      fc.boolean(),
      fc.boolean(),
    )
    .map(([bytes, filling, parts, apart, followed]) => ({ bytes, filling, parts, apart, followed }));

  it(`comes to the same with any body in any pieces (${CASES} connections of seed ${SEED})`, async () => {
    await fc.assert(
      fc.asyncProperty(bodies, async ({ bytes, filling, parts, apart, followed }) => {
        const text = FILLINGS[filling] ?? "";
        const body = text.repeat(Math.ceil(bytes / text.length)).slice(0, bytes);
        const all = post("/any/x", body, auth()) + (followed ? get("/any/y", auth()) : "");
        const cuts = parts.map((part) => Math.floor(part * (all.length - 1)) + 1).sort((a, b) => b - a);
        const sight = await ways.alike({
          name: JSON.stringify({ bytes, filling, cuts, apart, followed }),
          play: async (scene) => {
            await sendCut(scene, all, cuts, apart);
            expect((await scene.answer("POST"))?.body.toString()).toContain(`"bodyBytes":${bytes}`);
            if (followed) expect((await scene.answer())?.body.toString()).toContain("/any/y");
            await scene.kept();
          },
        });
        expect(sight.upstream.map(({ target }) => target)).not.toContain("/admin/smuggled");
      }),
      { numRuns: CASES, seed: SEED },
    );
  }, 120_000);

  it("is recorded alike, however it was cut", async () => {
    const recorded = await ways.recordedAlike();
    expect(recorded.length).toBeGreaterThan(CASES);
  });
});
