import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { auth, KEYS, rigRoutes } from "../support/rig.ts";
import { get, post } from "../wire/wire.ts";
import { BothWays, bytesOf, eachPlace, expectAlike, headOf, refused, type Situation, served } from "./both-ways.ts";

const JSON_TYPE = "Content-Type: application/json\r\n";
const MIB = 1024 * 1024;

/** What a request is refused for, whatever its body: the target, the fields and the status. */
const REASONS: Readonly<Record<string, readonly [target: string, fields: string, status: number]>> = {
  "no key": ["/any/x", "", 401],
  "a key that is malformed": ["/any/x", `Authorization: bearer ${KEYS.OK}\r\n`, 401],
  "two keys": ["/any/x", auth() + auth("RO"), 401],
  "a key that nobody knows": ["/any/x", auth("UNKNOWN"), 401],
  "a key that is expired": ["/any/x", auth("EXPIRED"), 401],
  "a key that is disabled": ["/any/x", auth("DISABLED"), 403],
  "a workspace that is disabled": ["/any/x", auth("WORKSPACE_OFF"), 403],
  "a permission that is missing": ["/admin/x", auth("RO"), 403],
  "no route": ["/nowhere", auth(), 404],
  "another method": ["/only/x", auth(), 405],
  "no key, where the body would be read": ["/v2/keys.createKey", JSON_TYPE, 401],
};

/** The same, of requests that are not clean: their connection ends with or without a body. */
const UNCLEAN: typeof REASONS = {
  "a path that is ambiguous": ["/any/../x", auth(), 400],
  "two types of content": ["/any/x", auth() + JSON_TYPE + JSON_TYPE, 400],
  "a Host again": ["/any/x", `${auth()}Host: gw\r\n`, 400],
};

describe("a request with a body that is refused, on both ways", () => {
  let ways: BothWays;
  beforeAll(async () => {
    ways = await BothWays.start();
  });
  afterAll(() => ways?.stop());

  const all = { ...REASONS, ...UNCLEAN };
  const deliveries = Object.entries(all).flatMap(([what, [target, fields, status]]): [string, Situation][] => [
    [`${what}, with the body`, refused(status, post(target, "hello", fields))],
    [`${what}, before the body`, refused(status, headOf(target, 5, fields))],
    [`${what}, in the middle of the body`, refused(status, `${headOf(target, 1000, fields)}hello`)],
    [`${what}, with a GET behind the body`, refused(status, post(target, "hello", fields) + get("/any/y", auth()))],
  ]);

  it.each(eachPlace(Object.fromEntries(deliveries)))(
    "is told and cut off: %s (%s)",
    async (what, before, situation) => {
      await expectAlike(ways, what, before, situation);
    },
  );

  it.each(eachPlace(REASONS))("goes on without bytes: %s (%s)", async (what, before, [target, fields, status]) => {
    const send = post(target, "", fields);
    await expectAlike(ways, what, before, { send, answers: [status], ends: "kept" });
  });

  it.each(Object.entries(all))("is told before the body comes, and hears no more: %s", async (what, given) => {
    const [target, fields, status] = given;
    await ways.alike({
      name: `${what}, and the body behind the answer`,
      play: async (scene) => {
        await scene.send(headOf(target, 5, fields));
        expect((await scene.answer("POST"))?.status).toBe(status);
        await scene.closed();
        await scene.send(`hello${get("/any/y", auth())}`);
        await scene.beat();
      },
    });
  });

  it.each(Object.entries(all))("gets its answer whole behind a megabyte that nobody reads: %s", async (what, given) => {
    const [target, fields, status] = given;
    await ways.alike({
      name: `${what}, and a megabyte`,
      play: async (scene) => {
        const sending = scene.send(post(target, bytesOf(MIB), fields));
        expect((await scene.answer("POST"))?.status).toBe(status);
        await scene.closed();
        await sending;
        scene.client.destroy();
      },
    });
  });

  it("is recorded alike, whatever it was refused for", async () => {
    await ways.recordedAlike();
  });
});

describe("a body and its limit, on both ways", () => {
  const LIMIT = 1024;
  let ways: BothWays;
  beforeAll(async () => {
    const limited = {
      name: "limited-by-body",
      match: { path: "/limited" },
      permissions: "api.{body.apiId}.create_key",
      maxBodySize: "1KiB",
      upstream: "recorder",
    };
    ways = await BothWays.start({ routes: [...rigRoutes(), limited] });
  });
  afterAll(() => ways?.stop());

  const JSON_HEAD = auth() + JSON_TYPE;
  /** So many bytes of JSON that name an API. */
  const jsonOf = (length: number) => {
    const start = '{"apiId":"api_1","pad":"';
    return `${start}${bytesOf(length - start.length - 2)}"}`;
  };
  const cut = (name: string, target: string, body: string, fields: string, status: number): [string, Situation][] => {
    const head = headOf(target, body.length, fields);
    const end = (send: Situation["send"]) => (status === 200 ? served(send) : refused(status, send));
    return [
      [`${name}, with the head`, end(head + body)],
      [`${name}, behind the head`, end(status === 200 ? [head, body] : head)],
      [`${name}, all but a byte with the head`, end([head + body.slice(0, -1), body.slice(-1)])],
      [
        `${name}, with a GET behind it`,
        status === 200 ? served(head + body + get("/any/y", auth()), 2) : end(head + body),
      ],
    ];
  };

  const sizes = Object.fromEntries([
    ...cut("a byte below", "/small/x", bytesOf(LIMIT - 1), auth(), 200),
    ...cut("just so many", "/small/x", bytesOf(LIMIT), auth(), 200),
    ...cut("a byte above", "/small/x", bytesOf(LIMIT + 1), auth(), 413),
    ...cut("far above", "/small/x", bytesOf(200 * 1024), auth(), 413),
    ...cut("a byte below, read here", "/limited", jsonOf(LIMIT - 1), JSON_HEAD, 200),
    ...cut("just so many, read here", "/limited", jsonOf(LIMIT), JSON_HEAD, 200),
    ...cut("a byte above, read here", "/limited", jsonOf(LIMIT + 1), JSON_HEAD, 413),
    ...cut("far above, read here", "/limited", jsonOf(200 * 1024), JSON_HEAD, 413),
    ...cut("a megabyte, read here", "/v2/keys.createKey", jsonOf(MIB), JSON_HEAD, 200),
    ...cut("a megabyte and a byte, read here", "/v2/keys.createKey", jsonOf(MIB + 1), JSON_HEAD, 413),
  ]);
  it.each(eachPlace(sizes))("comes to the same: %s (%s)", async (what, before, situation) => {
    await expectAlike(ways, what, before, situation);
  });

  it.each([
    ["read here", "/limited"],
    ["handed on", "/small/x"],
  ])("is read on behind its 413, for a client that first sends all of it: %s", async (what, target) => {
    const body = `10000\r\n${bytesOf(0x10000)}\r\n`.repeat(256);
    await ways.alike({
      name: `16 MiB in chunks, ${what}`,
      bytesInVary: true,
      play: async (scene) => {
        scene.client.socket.pause();
        await scene.send(
          `POST ${target} HTTP/1.1\r\nHost: gw\r\n${JSON_HEAD}Transfer-Encoding: chunked\r\n\r\n${body}`,
        );
        scene.client.socket.resume();
        expect((await scene.answer("POST"))?.status).toBe(413);
        await scene.closed();
        expect(scene.client.ended).toBe("end");
      },
      upstreamVaries: true,
    });
  });

  it("is recorded with what was read of it when it was refused, whatever came with that", async () => {
    const body = `7d0\r\n${bytesOf(2000)}\r\na\r\n${bytesOf(10)}\r\n0\r\n\r\n`;
    await ways.alike({
      name: "a chunk over the limit and one below it",
      play: async (scene) => {
        await scene.send(`POST /limited HTTP/1.1\r\nHost: gw\r\n${JSON_HEAD}Transfer-Encoding: chunked\r\n\r\n${body}`);
        expect((await scene.answer("POST"))?.status).toBe(413);
        await scene.closed();
        const { gateway } = scene.rig;
        const record = await gateway.waitForRecord(({ requestId }) => requestId === scene.ids[0]);
        expect(record.bytesIn).toBe(2000);
      },
    });
  });

  /** Read whole, and refused then: what comes behind is a request again. */
  const told = (status: number, body: string, fields = JSON_HEAD): Situation => ({
    send: post("/v2/keys.createKey", body, fields),
    answers: [status],
    ends: "kept",
  });
  const read: Readonly<Record<string, Situation>> = {
    "an id": served(post("/v2/keys.createKey", '{"apiId":"api_1"}', JSON_HEAD)),
    "an id, and a POST behind it": served(post("/v2/keys.createKey", '{"apiId":"api_1"}', JSON_HEAD).repeat(2), 2),
    "an id that comes byte by byte": served([headOf("/v2/keys.createKey", 17, JSON_HEAD), ...'{"apiId":"api_1"}']),
    "an id that may not be": told(400, '{"apiId":"*"}'),
    "an id that may not be, in two pieces": {
      ...told(400, ""),
      send: [`${headOf("/v2/keys.createKey", 13, JSON_HEAD)}{"api`, 'Id":"*"}'],
    },
    "an id that may not be, and a GET behind it": {
      send: post("/v2/keys.createKey", '{"apiId":"*"}', JSON_HEAD) + get("/any/y", auth()),
      answers: [400, 200],
      ends: "kept",
    },
    "no id": told(400, "{}"),
    "what is no JSON": told(400, '{"apiId":'),
    "what is no UTF-8": told(400, '{"apiId":"\xff"}'),
    "a member that is there twice": told(400, '{"apiId":"a","apiId":"a"}'),
    "no bytes": told(400, ""),
    "no type": refused(400, post("/v2/keys.createKey", '{"apiId":"api_1"}', auth())),
    "another type": refused(
      400,
      post("/v2/keys.createKey", '{"apiId":"api_1"}', `${auth()}Content-Type: text/plain\r\n`),
    ),
    "a key that may not": told(403, '{"apiId":"api_1"}', auth("RO") + JSON_TYPE),
  };
  it.each(eachPlace(read))("comes to the same where the body is read for %s (%s)", async (what, before, situation) => {
    await expectAlike(ways, what, before, situation);
  });

  it("is recorded alike, within its limit and beyond", async () => {
    await ways.recordedAlike();
  });
});
