import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { encodeCopy, encodeRecord } from "../../src/keys/record-codec.ts";
import { connectRedis, type RedisCommands, type RedisConnection } from "../../src/keys/redis-connection.ts";
import { createRedisLayout } from "../../src/keys/redis-layout.ts";
import { createSharedSource } from "../../src/keys/shared-source.ts";
import { SourceUnavailable } from "../../src/keys/source.ts";
import { countingObserver, hashOf, recordOf, ScriptedSource, TestClock, until } from "../support/key-parts.ts";
import { describeRedis, startRedis, type TestRedis } from "../support/redis.ts";

const layout = createRedisLayout("sentinel:");
const A = hashOf("a");
const SETTINGS = { sharedFreshMs: 60_000, idLifetimeMs: 360_000, forgottenMs: 60_000 };

describe("shared copies without Redis", () => {
  it("mean asking the service", async () => {
    const clock = new TestClock();
    const origin = new ScriptedSource(clock.now);
    const redis = {
      isUp: true,
      call: async () => {
        throw new SourceUnavailable("away");
      },
    };
    const { now, mono } = clock;
    const source = createSharedSource(origin, SETTINGS, {
      redis,
      layout,
      now,
      mono,
      observer: countingObserver(),
      log: () => {},
    });
    const found = source.find(A);
    await until("asked", () => origin.asked.length === 1);
    origin.asked[0]?.answer(recordOf("a"));
    expect((await found).record?.id).toBe("key_a");
  });
});

describeRedis("shared copies in Redis", () => {
  let server: TestRedis;
  let redis: RedisConnection;
  const key = layout.key(A);

  beforeAll(async () => {
    server = await startRedis();
    redis = await connectRedis(
      { url: server.url, keyPrefix: "sentinel:", commandTimeout: 5000 },
      { log: () => {}, mono: () => performance.now() },
    );
    await redis.whenUp(5000);
  });
  beforeEach(() => void server.cli("FLUSHALL"));
  afterAll(async () => {
    await redis.close();
    await server.close();
  });

  function setUp(call: RedisCommands["call"] = redis.call) {
    const clock = new TestClock();
    const origin = new ScriptedSource(clock.now);
    const observer = countingObserver();
    const { now, mono } = clock;
    const deps = { redis: { isUp: true, call }, layout, now, mono, observer, log: () => {} };
    return { clock, origin, observer, source: createSharedSource(origin, SETTINGS, deps) };
  }
  const holds = (text: string) => () => server.cli("GET", key).includes(text);

  it("are written with the age of the service's answer, live no longer than sharedFresh, and are found by others", async () => {
    const one = setUp();
    const found = one.source.find(A);
    await until("asked", () => one.origin.asked.length === 1);
    one.origin.asked[0]?.answer(recordOf("a"), one.clock.wall - 20_000);
    expect((await found).tier).toBe("http");
    await until("shared", holds('"copy"'));
    expect(Number(server.cli("PTTL", key))).toBeLessThanOrEqual(40_000);
    await until("id", () => server.cli("GET", layout.id("key_a")) === A);

    const two = setUp();
    expect(await two.source.find(A)).toEqual({ record: recordOf("a"), asOf: one.clock.wall - 20_000, tier: "redis" });
    expect(two.origin.asked).toHaveLength(0);
    expect(two.observer.count("redis", "hit")).toBe(1);
  });

  it.each<[string, (wall: number) => string]>([
    ["too old", (wall) => encodeCopy(recordOf("a"), wall - 60_000)],
    ["from the future", (wall) => encodeCopy(recordOf("a"), wall + 6000)],
    ["unreadable", () => "hello"],
    ["another key's record", (wall) => encodeCopy(recordOf("b"), wall)],
  ])("that are %s are a miss, and replaced", async (_name, text) => {
    const { source, origin, clock } = setUp();
    await redis.call("SET", key, text(clock.wall));
    const found = source.find(A);
    await until("asked", () => origin.asked.length === 1);
    origin.asked[0]?.answer(recordOf("a", { name: "new" }));
    expect((await found).record?.name).toBe("new");
    await until("replaced", holds('"name":"new"'));
  });

  it.each<[string, () => string[]]>([
    ["a record that is Redis' own", () => ["SET", key, encodeRecord(recordOf("a"))]],
    ["another version", () => ["SET", key, '{"v":2,"kind":"copy"}']],
    ["a list", () => ["RPUSH", key, "x"]],
  ])("are not written over %s", async (_name, command) => {
    const { source, origin } = setUp();
    const [name = "", ...args] = command();
    await redis.call(name, ...args);
    const dump = server.cli("DUMP", key);
    const found = source.find(A);
    await until("asked", () => origin.asked.length === 1);
    origin.asked[0]?.answer(recordOf("a"));
    await found;
    await redis.call("PING");
    await redis.call("PING");
    expect(server.cli("DUMP", key)).toBe(dump);
  });

  it.each<[string, readonly string[], boolean]>([
    ["not JSON", ["SET", key, "hello"], true],
    ["another key's record", ["SET", key, encodeCopy(recordOf("b"), 1_800_000_000_000)], true],
    ["another version's", ["SET", key, '{"v":2,"kind":"copy"}'], false],
    ["a record of a Redis that is a source", ["SET", key, encodeRecord(recordOf("a"))], false],
    ["over 64 KiB", ["SET", key, "x".repeat(70_000)], false],
    ["empty", ["SET", key, ""], false],
    ["bytes that are not UTF-8", ["SETBIT", key, "0", "1"], false],
    ["a list", ["RPUSH", key, "x"], false],
  ])(
    "are a miss where the value is %s: the service is asked, and what is not ours stays",
    async (_name, command, isReplaced) => {
      const { source, origin, observer } = setUp();
      server.cli(...command);
      const before = server.cli("DUMP", key);
      const found = source.find(A);
      await until("asked", () => origin.asked.length === 1);
      origin.asked[0]?.answer(recordOf("a"));
      expect((await found).record?.id).toBe("key_a");
      for (let turn = 0; turn < 3; turn += 1) await redis.call("PING");
      if (isReplaced) expect(server.cli("GET", key)).toContain('"kind":"copy"');
      else expect(server.cli("DUMP", key)).toBe(before);
      expect(observer.count("redis", "invalid") + observer.count("redis", "miss")).toBe(1);
      expect(observer.count("redis", "error")).toBe(0);
    },
  );

  it("are not kept of keys the service does not know: made-up ones leave nothing in Redis", async () => {
    const { source, origin } = setUp();
    for (let index = 0; index < 200; index += 1) {
      const found = source.find(hashOf(`made-up ${index}`));
      await until("asked", () => origin.asked.length === index + 1);
      origin.asked[index]?.answer(null);
      expect((await found).record).toBeNull();
    }
    expect(server.cli("DBSIZE")).toBe("0");
  });

  it("go away when the service no longer knows the key", async () => {
    const { source, origin, clock } = setUp();
    await redis.call("SET", key, encodeCopy(recordOf("a"), clock.wall - 60_000));
    const found = source.find(A);
    await until("asked", () => origin.asked.length === 1);
    origin.asked[0]?.answer(null);
    await found;
    await until("gone", () => server.cli("EXISTS", key) === "0");
  });

  it("lose to a change: an answer from before it is not written back, by any instance", async () => {
    const slow = setUp();
    const other = setUp();
    const late = slow.source.find(A);
    await until("asked", () => slow.origin.asked.length === 1);
    // Another instance hears of the change first, and leaves its mark; the slow one has not heard of it at all.
    other.source.invalidate(A, "5-0");
    await until("marked", holds("forgotten"));
    slow.origin.asked[0]?.answer(recordOf("a"));
    await late;
    await redis.call("PING");
    await redis.call("PING");
    expect(server.cli("GET", key)).toContain("forgotten");

    const again = other.source.find(A);
    await until("asked again", () => other.origin.asked.length === 1);
    other.origin.asked[0]?.answer(recordOf("a", { enabled: false }));
    expect((await again).record?.enabled).toBe(false);
    await until("shared again", holds('"enabled":false'));
  });

  it("are not believed between a change and its mark, nor after a gap in the stream", async () => {
    const { source, origin, clock } = setUp();
    await redis.call("SET", key, encodeCopy(recordOf("a"), clock.wall));
    source.invalidate(A, "5-0");
    const found = source.find(A);
    await until("asked", () => origin.asked.length === 1);
    origin.asked[0]?.answer(null);
    expect((await found).record).toBeNull();

    const gap = setUp();
    await redis.call("SET", layout.key(hashOf("b")), encodeCopy(recordOf("b"), gap.clock.wall));
    gap.source.dropAll(true);
    void gap.source.find(hashOf("b"));
    await until("asked", () => gap.origin.asked.length === 1);
  });

  it("are not believed when the change comes while they are being read", async () => {
    const { source, origin, clock } = setUp();
    await redis.call("SET", key, encodeCopy(recordOf("a"), clock.wall));
    const found = source.find(A);
    source.invalidate(A, "5-0");
    await until("asked", () => origin.asked.length === 1);
    origin.asked[0]?.answer(null);
    expect((await found).record).toBeNull();
  });

  it("are not written of an answer from before a change whose mark was lost: an instance that starts next asks anew", async () => {
    let isAway = false;
    const { source, origin } = setUp(async (...command) => {
      if (isAway) throw new SourceUnavailable("away");
      return redis.call(...command);
    });
    const found = source.find(A);
    await until("asked", () => origin.asked.length === 1);
    isAway = true;
    source.invalidate(A, "5-0");
    isAway = false;
    origin.asked[0]?.answer(recordOf("a"));
    await found;
    for (let turn = 0; turn < 3; turn += 1) await redis.call("PING");

    const next = setUp();
    void next.source.find(A);
    await until("asked anew", () => next.origin.asked.length === 1);
  });

  it("are not believed after a second change because the mark of the first was written", async () => {
    const { source, origin, clock } = setUp(async (...command) => {
      if (command.some((word) => String(word).includes("6-0"))) throw new SourceUnavailable("away");
      return redis.call(...command);
    });
    source.invalidate(A, "5-0");
    clock.advance(1);
    source.invalidate(A, "6-0");
    await until("marked", holds("5-0"));
    // Another instance asks between the changes, and shares what it was told.
    const other = setUp();
    void other.source.find(A);
    await until("asked", () => other.origin.asked.length === 1);
    other.origin.asked[0]?.answer(recordOf("a"));
    await until("shared", holds('"copy"'));

    void source.find(A);
    await until("asked of the service", () => origin.asked.length === 1);
  });

  it("are believed at the start, when there was nothing to miss", async () => {
    const { source, origin, clock } = setUp();
    await redis.call("SET", key, encodeCopy(recordOf("a"), clock.wall));
    source.dropAll(false);
    expect((await source.find(A)).tier).toBe("redis");
    expect(origin.asked).toHaveLength(0);
  });

  it("are not written of an answer that took so long that the mark of a change may be gone", async () => {
    const { source, origin, clock } = setUp();
    const found = source.find(A);
    await until("asked", () => origin.asked.length === 1);
    clock.advance(SETTINGS.forgottenMs / 2);
    origin.asked[0]?.answer(recordOf("a"));
    expect((await found).record?.id).toBe("key_a");
    await redis.call("PING");
    await redis.call("PING");
    expect(server.cli("DBSIZE")).toBe("0");
  });

  it("are asked for again of the service for as long as a copy may live when the mark could not be written", async () => {
    const { source, origin, clock } = setUp();
    // Redis' own record: no mark is put over it, so what is there can not be told from what was there.
    await redis.call("SET", key, encodeRecord(recordOf("a")));
    source.invalidate(A, "5-0");
    await redis.call("PING");
    await redis.call("PING");
    await redis.call("SET", key, encodeCopy(recordOf("a"), clock.wall));
    void source.find(A);
    await until("asked", () => origin.asked.length === 1);
    clock.advance(60_000);
    await redis.call("SET", key, encodeCopy(recordOf("a"), clock.wall));
    expect((await source.find(A)).tier).toBe("redis");
  });

  it("are all distrusted when more changed than can be kept in mind", async () => {
    const { source, origin, clock } = setUp();
    const away = createSharedSource(origin, SETTINGS, {
      redis: { isUp: true, call: () => Promise.reject(new SourceUnavailable("away")) },
      layout,
      now: clock.now,
      mono: clock.mono,
      observer: countingObserver(),
      log: () => {},
    });
    for (let index = 0; index <= 100_000; index += 1) away.invalidate(`${index}` as typeof A, "1-0");
    void away.find(A);
    expect(origin.asked).toHaveLength(1);
    await source.close();
    expect(origin.closed).toBe(true);
    expect(away.readiness().ready).toBe(true);
  });

  it("are not written where the record is too large, or the answer too old, to be shared", async () => {
    const { source, origin, clock } = setUp();
    const large = source.find(A);
    await until("asked", () => origin.asked.length === 1);
    origin.asked[0]?.answer(recordOf("a", { meta: { text: "x".repeat(70_000) } }));
    expect((await large).record?.id).toBe("key_a");
    const old = source.find(hashOf("b"));
    await until("asked", () => origin.asked.length === 2);
    origin.asked[1]?.answer(recordOf("b"), clock.wall - 60_000);
    await old;
    await redis.call("PING");
    expect(server.cli("DBSIZE")).toBe("0");
  });
});
