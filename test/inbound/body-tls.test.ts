import { resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { answer, answerOk } from "../support/recording-upstream.ts";
import { auth } from "../support/rig.ts";
import { get, post } from "../wire/wire.ts";
import { BothWays, bytesOf, eachPlace, expectAlike, headOf, refused, type Situation, served } from "./both-ways.ts";

const TARGET = "/any/x";
const MIB = 1024 * 1024;

describe("a request with a body over TLS, on both ways", () => {
  let ways: BothWays;
  beforeAll(async () => {
    const file = (name: string) => ({ file: resolve(`test/forward/fixtures/${name}`) });
    ways = await BothWays.start({
      tls: { cert: file("upstream.crt"), key: file("upstream.key") },
      limits: { headerTimeout: "400ms", requestTimeout: "700ms", idleTimeout: "10s" },
    });
  });
  afterAll(() => ways?.stop());

  const body = bytesOf(MIB);
  const [one, next] = [post(TARGET, "hello", auth()), get("/any/y", auth())];
  const situations: Readonly<Record<string, Situation>> = {
    "five bytes": served(one),
    "no bytes": served(post(TARGET, "", auth())),
    "five bytes behind the head": served([headOf(TARGET, 5, auth()), "hello"]),
    // More than a TLS record, and more than a read.
    "16 KiB and a byte": served(post(TARGET, bytesOf(16 * 1024 + 1), auth())),
    "65537 bytes": served(post(TARGET, bytesOf(65_537), auth())),
    "a megabyte": served(post(TARGET, body, auth())),
    "a megabyte behind the head": served([headOf(TARGET, MIB, auth()), body]),
    "a GET behind it": served(one + next, 2),
    "half a GET behind it": served([one + next.slice(0, 20), next.slice(20)], 2),
    "another behind it": served(one + post("/any/z", "world", auth()), 2),
    "an empty line behind it": served([`${one}\r\n`, next], 2),
    "garbage behind it": refused(400, `${one}\0\x01\x02\r\n\r\n`, 1),
    "two lengths": refused(
      400,
      `POST ${TARGET} HTTP/1.1\r\nHost: gw\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello`,
    ),
    "no key": refused(401, post(TARGET, "hello")),
    "no key, before the body": refused(401, headOf(TARGET, 5, "")),
    "no key, and a megabyte": refused(401, post(TARGET, body)),
    "too many bytes": refused(413, headOf("/small/x", 1025, auth())),
    "an id in it": served(
      post("/v2/keys.createKey", '{"apiId":"api_1"}', `${auth()}Content-Type: application/json\r\n`),
    ),
    "a megabyte in the answer": { ...served(one), script: () => answer(200, body) },
  };
  it.each(eachPlace(situations))("comes to the same: %s (%s)", async (what, before, situation) => {
    await expectAlike(ways, what, before, situation);
  });

  it.each(["halfClose", "destroy"] as const)("leaves nothing behind where its client leaves (%s)", async (how) => {
    for (const bytes of [`${headOf(TARGET, 10, auth())}hello`, one]) {
      await ways.alike({
        name: `${how} behind ${bytes.length} bytes`,
        script: (request) => (request.target === TARGET ? null : answerOk(request)),
        play: async (scene) => {
          await scene.send(bytes);
          await scene.upstreamHas(TARGET, (request) => request.body.toString() === "hello");
          scene.client[how]();
          await scene.upstreamIsLeft(TARGET);
          await scene.client.closed();
        },
      });
    }
  });

  it("is told when it stops in the middle", async () => {
    await ways.alike({
      name: "stops",
      play: async (scene) => {
        await scene.send(`${headOf(TARGET, 10, auth())}hello`);
        expect((await scene.answer("POST"))?.status).toBe(408);
        await scene.closed();
        await scene.upstreamIsLeft(TARGET);
      },
    });
  });

  it("is recorded alike", async () => {
    await ways.recordedAlike();
  });
});
