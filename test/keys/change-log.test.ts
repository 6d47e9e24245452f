import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { appendChange, createChangeLog } from "../../src/keys/change-log.ts";
import { type RedisConnection, RedisRefusal } from "../../src/keys/redis-connection.ts";
import { createRedisLayout } from "../../src/keys/redis-layout.ts";
import { SourceUnavailable } from "../../src/keys/source.ts";
import { hashOf } from "../support/key-parts.ts";
import { connectTo, describeRedis, startRedis, type TestRedis } from "../support/redis.ts";

const layout = createRedisLayout("sentinel:");

/** A connection that answers each command as `answer` does. */
function fakeConnection(answer: (...command: (string | number)[]) => unknown): RedisConnection {
  const call = async (...command: (string | number)[]) => {
    const value = answer(...command);
    if (value instanceof Error) throw value;
    return value;
  };
  return {
    call,
    pipeline: async (commands) => Promise.all(commands.map(([command]) => call(command))),
    isUp: true,
    wasUp: true,
    whenUp: async () => true,
    serverId: async () => null,
    masters: () => [],
    reconnect: () => {},
    close: async () => {},
  };
}

describe("the stream of changes, as Redis answers", () => {
  const logOn = (answer: (...command: (string | number)[]) => unknown) =>
    createChangeLog(fakeConnection(answer), layout, "alpha/0");

  it("is not there only where Redis says so: a server without XINFO can not tell", async () => {
    const refusal = new RedisRefusal("ERR");
    const on = (exists: number) => logOn((command) => (command === "XINFO" ? refusal : exists));
    expect(await on(0).position()).toBeNull();
    await expect(on(1).position()).rejects.toBe(refusal);
  });

  it.each(["NOPERM", "LOADING", "WRONGTYPE"])("can not tell its position when Redis answers %s", async (code) => {
    await expect(logOn(() => new RedisRefusal(code)).position()).rejects.toMatchObject({ code });
  });

  it("is not known to be whole where the server does not count (before Redis 7)", async () => {
    const facts = ["length", 1, "last-generated-id", "5-0", "first-entry", ["5-0", []]];
    expect(await logOn(() => facts).position()).toEqual({ last: "5-0", first: "5-0", whole: false });
    const emptied = ["length", 0, "last-generated-id", "5-0", "entries-added", 3, "first-entry", null];
    expect(await logOn(() => emptied).position()).toEqual({ last: "5-0", first: null, whole: false });
  });

  it("is read in smaller pieces after an answer that did not come, until all is read", async () => {
    let left = 300;
    const counts: number[] = [];
    const log = logOn((_command, _count, count) => {
      counts.push(Number(count));
      const given = Math.min(left, Number(count));
      // As a `client-output-buffer-limit` does.
      if (given > 100) return new SourceUnavailable("cut off");
      left -= given;
      return [["sentinel:changes", Array.from({ length: given }, (_, index) => [`${index + 1}-0`, []])]];
    });
    for (let reads = 0; reads < 12; reads += 1) await log.read("0-0", 1).catch(() => {});
    expect(left).toBe(0);
    expect(counts).toEqual([500, 63, 126, 16, 32, 64, 128, 16, 32, 64, 128, 500]);
  });

  it("gives entries without their fields as entries that say nothing, and none where nothing came", async () => {
    const answer = [
      [
        "sentinel:changes",
        [
          ["1-0", []],
          ["2-0", ["hash", "h", "at"]],
        ],
      ],
    ];
    expect(await logOn(() => answer).read("0-0", 1)).toEqual([
      { id: "1-0", op: "", hash: "", at: Number.NaN },
      { id: "2-0", op: "", hash: "h", at: Number.NaN },
    ]);
    expect(await logOn(() => null).read("0-0", 1)).toEqual([]);
    expect(await logOn(() => []).read("0-0", 1)).toEqual([]);
    expect(await logOn(() => [["sentinel:changes", null]]).read("0-0", 1)).toEqual([]);
  });

  it.each<[string, string | null, string | null, boolean]>([
    ["one server", "a", "a", true],
    ["two servers", "a", "b", false],
    ["a server that does not answer those who read", "a", null, true],
    ["a server that does not say which it is", null, "b", true],
  ])(
    "makes the way to records anew where it can be told that they are elsewhere: %s",
    async (_where, here, there, together) => {
      let reconnects = 0;
      const at = (id: string | null) => ({
        ...fakeConnection(() => null),
        serverId: async () => id,
        reconnect: () => {
          reconnects += 1;
        },
      });
      const log = createChangeLog(at(here), layout, "alpha/0", at(there));
      expect(await log.gather()).toBe(together);
      expect(reconnects).toBe(together ? 0 : 1);
    },
  );

  it("is followed on where signs are refused, and given up where they are not answered", async () => {
    await logOn(() => new RedisRefusal("READONLY")).acknowledge("1-0");
    await expect(logOn(() => new SourceUnavailable("gone")).acknowledge("1-0")).rejects.toThrow("gone");
  });
});

describeRedis("the stream of changes in a real Redis", () => {
  let server: TestRedis;
  let redis: RedisConnection;

  beforeAll(async () => {
    server = await startRedis();
    redis = await connectTo(server);
  });
  beforeEach(() => void server.cli("FLUSHALL"));
  afterAll(async () => {
    await redis.close();
    await server.close();
  });

  const add = () => appendChange(redis, layout, { op: "upsert", hash: hashOf("a"), id: "key_a", at: 1 });

  it("tells whether it holds an entry, not merely one beside it", async () => {
    const log = createChangeLog(redis, layout, "alpha/0");
    expect(await log.holds("5-0")).toBe(false);
    expect(await log.position()).toBeNull();
    const ids = [await add(), await add(), await add()];
    for (const id of ids) expect(await log.holds(id)).toBe(true);
    server.cli("XDEL", layout.changes, ids[1] ?? "");
    expect(await Promise.all(ids.map((id) => log.holds(id)))).toEqual([true, false, true]);
    server.cli("XTRIM", layout.changes, "MAXLEN", "0");
    expect(await log.holds(ids[2] ?? "")).toBe(false);
    expect(await log.position()).toEqual({ last: ids[2], first: null, whole: false });
  });

  it("keeps the names of ten thousand followers at most, however many ended without a word", async () => {
    const dead = Array.from({ length: 11_000 }, (_, index) => [String(index), `dead${index}/0`]).flat();
    server.cli("ZADD", layout.instances, ...dead);
    await createChangeLog(redis, layout, "alpha/0").acknowledge("1-0");
    expect(server.cli("ZCARD", layout.instances)).toBe("10000");
    expect(server.cli("ZSCORE", layout.instances, "alpha/0")).not.toBe("");
  });
});
