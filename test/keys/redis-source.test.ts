import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { encodeCopy, encodeForgotten, encodeRecord } from "../../src/keys/record-codec.ts";
import { connectRedis, type RedisConnection, RedisRefusal } from "../../src/keys/redis-connection.ts";
import { createRedisLayout } from "../../src/keys/redis-layout.ts";
import { createRedisSource } from "../../src/keys/redis-source.ts";
import { type LookupOutcome, SourceUnavailable } from "../../src/keys/source.ts";
import { countingObserver, hashOf, recordOf, TestClock } from "../support/key-parts.ts";
import { describeRedis, startRedis, type TestRedis } from "../support/redis.ts";

const layout = createRedisLayout("sentinel:");
const A = hashOf("a");

describe("Redis as the source, alone", () => {
  function setUp(call: (command: string, ...args: readonly (string | number)[]) => Promise<unknown>) {
    const { now, mono } = new TestClock();
    const observer = countingObserver();
    const lines: string[] = [];
    const log = (_level: string, event: string, fields: object) => lines.push(event + JSON.stringify(fields));
    const redis = { call, wasUp: true };
    return { source: createRedisSource({ redis, layout, now, mono, observer, log }), observer, lines, now };
  }

  it("gives the record, as old as its question", async () => {
    const { source, now, observer } = setUp(async () => encodeRecord(recordOf("a")));
    expect(await source.find(A)).toEqual({ record: recordOf("a"), asOf: now(), tier: "redis" });
    expect(observer.count("redis", "hit")).toBe(1);
  });

  it("knows that a key is absent only where there is no value at all", async () => {
    const empty = setUp(async (command) => (command === "EXISTS" ? 0 : ""));
    expect((await empty.source.find(A)).record).toBeNull();
    const emptied = setUp(async (command) => (command === "EXISTS" ? 1 : ""));
    await expect(emptied.source.find(A)).rejects.toBeInstanceOf(SourceUnavailable);
  });

  it("finds a key that is made between the two questions", async () => {
    const answers: unknown[] = ["", 1, encodeRecord(recordOf("a"))];
    const { source, observer } = setUp(async () => answers.shift());
    expect((await source.find(A)).record?.id).toBe("key_a");
    expect(observer.count("redis", "invalid")).toBe(0);
  });

  it.each<[string, string]>([
    ["not ours", "hello"],
    ["another key's record", encodeRecord(recordOf("b"))],
    ["a copy of a service's record", encodeCopy(recordOf("a"), 1)],
    ["the mark of a change", encodeForgotten("1-0")],
  ])("can not tell from %s: counted, logged once, and the value is not in the log", async (_name, text) => {
    const { source, observer, lines } = setUp(async () => text);
    for (let repeat = 0; repeat < 50; repeat += 1) {
      await expect(source.find(A)).rejects.toBeInstanceOf(SourceUnavailable);
    }
    expect(observer.count("redis", "invalid")).toBe(50);
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toMatch(/hello|key_|unkey_/);
  });

  it.each(["LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "NOAUTH", "NOPERM", "MISCONF", "ERR"])(
    "can not tell when Redis answers %s",
    async (code) => {
      const { source, observer } = setUp(async () => {
        throw new RedisRefusal(code);
      });
      await expect(source.find(A)).rejects.toBeInstanceOf(SourceUnavailable);
      expect(observer.count("redis", "error")).toBe(1);
    },
  );
});

describeRedis("poison in a real Redis", () => {
  let server: TestRedis;
  let redis: RedisConnection;
  const observer = countingObserver();
  const lines: string[] = [];
  const key = layout.key(A);

  beforeAll(async () => {
    server = await startRedis(["--proto-max-bulk-len", "100mb"]);
    redis = await connectRedis(
      { url: server.url, keyPrefix: "sentinel:", commandTimeout: 5000 },
      { log: () => {}, mono: () => performance.now() },
    );
    await redis.whenUp(5000);
  });
  afterAll(async () => {
    await redis.close();
    await server.close();
  });

  it.each<[string, string[][], LookupOutcome]>([
    ["a list", [["RPUSH", key, "x"]], "invalid"],
    ["a hash", [["HSET", key, "id", "key_a"]], "invalid"],
    ["a set", [["SADD", key, "x"]], "invalid"],
    ["a stream", [["XADD", key, "*", "a", "b"]], "invalid"],
    ["an empty string", [["SET", key, ""]], "invalid"],
    ["50 MB of zeros", [["SETRANGE", key, "52428800", "x"]], "invalid"],
    ["binary", [["SETBIT", key, "100", "1"]], "invalid"],
    ["not JSON", [["SET", key, "allow"]], "invalid"],
    ["a record", [["SET", key, encodeRecord(recordOf("a"))]], "hit"],
    ["nothing", [], "absent"],
  ])("%s", async (_name, commands, outcome) => {
    server.cli("FLUSHALL");
    for (const command of commands) await redis.call(command[0] ?? "", ...command.slice(1));
    const before = observer.count("redis", outcome);
    const source = createRedisSource({
      redis,
      layout,
      now: Date.now,
      mono: () => performance.now(),
      observer,
      log: (_level, event, fields) => lines.push(event + JSON.stringify(fields)),
    });
    const found = source.find(A);
    if (outcome === "invalid") await expect(found).rejects.toBeInstanceOf(SourceUnavailable);
    else expect((await found).record === null).toBe(outcome === "absent");
    expect(observer.count("redis", outcome)).toBe(before + 1);
    expect(redis.isUp).toBe(true);
  });
});
