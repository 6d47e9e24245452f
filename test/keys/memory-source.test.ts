import { describe, expect, it } from "vitest";
import { createMemorySource, type MemorySettings, type MemorySource } from "../../src/keys/memory-source.ts";
import { type Lookup, SourceUnavailable } from "../../src/keys/source.ts";
import { countingObserver, hashOf, recordOf, ScriptedSource, settled, TestClock } from "../support/key-parts.ts";

const SETTINGS: MemorySettings = {
  maxKeys: 100,
  freshMs: 10_000,
  maxAgeMs: 10_000,
  staleIfErrorMs: 300_000,
  missingMs: 5000,
};
const A = hashOf("a");
const DOWN = new SourceUnavailable("down");

function setUp(settings: Partial<MemorySettings> = {}) {
  const clock = new TestClock();
  const origin = new ScriptedSource(clock.now);
  const observer = countingObserver();
  const { now, mono } = clock;
  const memory = createMemorySource(origin, { ...SETTINGS, ...settings }, { now, mono, observer, random: () => 0.5 });
  /** Looks a hash up and answers the question this leads to. */
  async function learn(secret: string, known = true): Promise<Lookup> {
    const found = memory.find(hashOf(secret));
    await settled();
    origin.asked.at(-1)?.answer(known ? recordOf(secret) : null);
    return found;
  }
  /** Looks A up while the origin is down, and learns no more than that. */
  async function canNotTell(): Promise<void> {
    const found = memory.find(A);
    await settled();
    origin.asked.at(-1)?.fail(DOWN);
    await expect(found).rejects.toBe(DOWN);
  }
  return { clock, origin, observer, memory, learn, canNotTell };
}

describe("memory", () => {
  it("answers a hit at once, without a promise, and says that it was memory", async () => {
    const { memory, learn } = setUp();
    await learn("a");
    const found = memory.find(A) as Lookup;
    expect(found).not.toBeInstanceOf(Promise);
    expect(found).toMatchObject({ tier: "memory", record: { id: "key_a" } });
  });

  it("asks the origin once for 1,000 concurrent look-ups of one key", async () => {
    const { memory, origin } = setUp();
    const all = Array.from({ length: 1000 }, () => memory.find(A));
    await settled();
    expect(origin.asked).toHaveLength(1);
    origin.asked[0]?.answer(recordOf("a"));
    for (const lookup of await Promise.all(all)) expect(lookup.record?.id).toBe("key_a");
  });

  it("asks once also when the origin fails, tells all 1,000, and asks again within a second", async () => {
    const { memory, origin, clock } = setUp();
    const all = Array.from({ length: 1000 }, () => memory.find(A));
    await settled();
    origin.asked[0]?.fail(DOWN);
    for (const result of await Promise.allSettled(all))
      expect(result).toMatchObject({ status: "rejected", reason: DOWN });
    await expect(memory.find(A)).rejects.toBe(DOWN);
    expect(origin.asked).toHaveLength(1);
    clock.advance(1000);
    void Promise.resolve(memory.find(A)).catch(() => {});
    await settled();
    expect(origin.asked).toHaveLength(2);
  });

  it("refreshes a key in use before it stops being fresh, so that nobody waits", async () => {
    const { memory, origin, clock, learn } = setUp();
    await learn("a");
    clock.advance(9000);
    expect(memory.find(A)).not.toBeInstanceOf(Promise);
    memory.find(A);
    await settled();
    expect(origin.asked).toHaveLength(2);
    origin.asked[1]?.answer(recordOf("a"));
    await settled();
    clock.advance(6000);
    expect(memory.find(A)).not.toBeInstanceOf(Promise);
  });

  it("looks a record up again before it is used once it is no longer fresh", async () => {
    const { memory, origin, clock, learn } = setUp();
    await learn("a");
    clock.advance(10_000);
    const found = memory.find(A);
    expect(found).toBeInstanceOf(Promise);
    await settled();
    origin.asked[1]?.answer(recordOf("a", { enabled: false }));
    expect((await found).record?.enabled).toBe(false);
  });

  it("serves a record on until staleIfError after the origin gave it, then can not tell", async () => {
    const { memory, origin, clock, learn, observer, canNotTell } = setUp();
    await learn("a");
    clock.advance(299_000);
    const late = memory.find(A);
    await settled();
    origin.asked[1]?.fail(DOWN);
    expect((await late).record?.id).toBe("key_a");
    expect(memory.find(A)).not.toBeInstanceOf(Promise);
    expect(observer.count("memory", "stale")).toBe(2);
    clock.advance(1000);
    await canNotTell();
  });

  it("never serves an absence past its time: with the origin down it can not tell", async () => {
    const { memory, clock, learn, canNotTell } = setUp();
    await learn("a", false);
    expect((memory.find(A) as Lookup).record).toBeNull();
    clock.advance(5000);
    await canNotTell();
  });

  it("forgets the record of a key that the origin no longer knows: an outage after it is no acceptance", async () => {
    const { memory, clock, learn, canNotTell } = setUp();
    await learn("a");
    clock.advance(10_000);
    expect((await learn("a", false)).record).toBeNull();
    expect((memory.find(A) as Lookup).record).toBeNull();
    clock.advance(5000);
    await canNotTell();
  });

  it("does not keep an absence alive for who asks again and again", async () => {
    const { memory, origin, clock, learn } = setUp();
    await learn("a", false);
    clock.advance(4999);
    memory.find(A);
    await settled();
    expect(origin.asked).toHaveLength(1);
    clock.advance(1);
    expect(memory.find(A)).toBeInstanceOf(Promise);
  });

  it("waits with another refresh after one that failed", async () => {
    const { memory, origin, clock, learn } = setUp();
    await learn("a");
    clock.advance(9000);
    memory.find(A);
    await settled();
    origin.asked[1]?.fail(DOWN);
    await settled();
    memory.find(A);
    await settled();
    expect(origin.asked).toHaveLength(2);
    clock.advance(900);
    memory.find(A);
    await settled();
    expect(origin.asked).toHaveLength(3);
  });

  it("that is closed lets nobody wait: look-ups under way can not tell", async () => {
    const { memory, origin } = setUp();
    const found = memory.find(A);
    await settled();
    await memory.close();
    await expect(found).rejects.toBeInstanceOf(SourceUnavailable);
    expect(origin.closed).toBe(true);
  });

  it("turns an error nobody foresaw into can-not-tell, with its cause", async () => {
    const { memory, origin } = setUp();
    const found = memory.find(A);
    await settled();
    const bug = new TypeError("x is undefined");
    origin.asked[0]?.fail(bug);
    await expect(found).rejects.toMatchObject({ name: "SourceUnavailable", cause: bug });
  });

  it("does not push real keys out for made-up ones", async () => {
    const { memory, learn } = setUp({ maxMisses: 50 });
    for (let index = 0; index < 100; index += 1) await learn(`real${index}`);
    for (let index = 0; index < 500; index += 1) await learn(`made-up${index}`, false);
    expect(memory.size()).toEqual({ keys: 100, missing: 50 });
    for (let index = 0; index < 100; index += 1)
      expect(memory.find(hashOf(`real${index}`))).not.toBeInstanceOf(Promise);
  });

  it("refuses what exceeds the line at the origin, and stays usable", async () => {
    const { memory, origin } = setUp({ maxLookups: 2, maxWaiting: 3 });
    const all = Array.from({ length: 10 }, (_, index) => Promise.resolve(memory.find(hashOf(`${index}`))));
    const outcomes = Promise.allSettled(all);
    for (let turn = 0; turn < 5; turn += 1) {
      await settled();
      for (const question of origin.asked.splice(0)) question.answer(null);
    }
    const statuses = (await outcomes).map(({ status }) => status);
    expect(statuses.filter((status) => status === "fulfilled")).toHaveLength(5);
    expect(statuses.filter((status) => status === "rejected")).toHaveLength(5);
  });
});

describe("a change", () => {
  it("is seen by the next look-up, also of a key that was absent", async () => {
    const { memory, learn } = setUp();
    await learn("a", false);
    memory.invalidate(A, "1-0");
    expect((await learn("a")).record?.id).toBe("key_a");
  });

  it("makes a look-up that began before it start again: the late old record is neither used nor kept", async () => {
    const { memory, origin } = setUp();
    const found = memory.find(A);
    await settled();
    memory.invalidate(A, "1-0");
    await settled();
    expect(origin.asked).toHaveLength(2);
    origin.asked[0]?.answer(recordOf("a"));
    await settled();
    origin.asked[1]?.answer(null);
    expect((await found).record).toBeNull();
    expect((memory.find(A) as Lookup).record).toBeNull();
  });

  it("holds when the late old record arrives after the new one", async () => {
    const { memory, origin } = setUp();
    const found = memory.find(A);
    await settled();
    memory.invalidate(A, "1-0");
    await settled();
    origin.asked[1]?.answer(recordOf("a", { enabled: false }));
    expect((await found).record?.enabled).toBe(false);
    origin.asked[0]?.answer(recordOf("a"));
    await settled();
    expect((memory.find(A) as Lookup).record?.enabled).toBe(false);
  });

  it.each<[string, (memory: MemorySource) => void]>([
    ["of a key", (memory) => memory.invalidate(A, "1-0")],
    ["that may have been missed", (memory) => memory.dropAll(true)],
  ])("%s is seen at once where a look-up has just failed", async (_, change) => {
    const { memory, canNotTell, learn } = setUp();
    await canNotTell();
    change(memory);
    expect((await learn("a")).record?.id).toBe("key_a");
  });

  it("ends a stale record: an outage after a revocation is no acceptance", async () => {
    const { memory, learn, canNotTell } = setUp();
    await learn("a");
    memory.invalidate(A, "1-0");
    await canNotTell();
  });

  it("that comes again and again ends the look-up instead of making it last for ever", async () => {
    const { memory, origin } = setUp();
    const found = memory.find(A);
    const outcome = expect(found).rejects.toThrow(/again and again/);
    for (let change = 0; change < 20; change += 1) memory.invalidate(A, `${change}-0`);
    await outcome;
    await settled();
    expect(origin.asked.length).toBeLessThan(10);
    origin.asked.at(-1)?.answer(recordOf("a"));
    await settled();
    expect(memory.size().keys, "from before the last change").toBe(0);
  });

  it("that may have been missed makes memory forget everything, look-ups on their way included", async () => {
    const { memory, origin, learn } = setUp();
    await learn("a");
    const found = memory.find(hashOf("b"));
    await settled();
    memory.dropAll(true);
    expect(memory.size()).toEqual({ keys: 0, missing: 0 });
    await settled();
    origin.asked[1]?.answer(recordOf("b"));
    await settled();
    origin.asked[2]?.answer(null);
    expect((await found).record).toBeNull();
    expect(memory.find(A)).toBeInstanceOf(Promise);
  });
});

describe("the age of a record", () => {
  it("counts from when the origin gave it: ages in memory and in Redis do not add up", async () => {
    const { memory, origin, clock } = setUp({ maxAgeMs: 60_000 });
    const found = memory.find(A);
    await settled();
    origin.asked[0]?.answer(recordOf("a"), clock.wall - 55_000);
    await found;
    clock.advance(4999);
    expect(memory.find(A)).not.toBeInstanceOf(Promise);
    clock.advance(1);
    expect(memory.find(A)).toBeInstanceOf(Promise);
  });

  it("counts from there while the origin can not tell, too", async () => {
    const { memory, origin, clock, canNotTell } = setUp();
    const found = memory.find(A);
    await settled();
    origin.asked[0]?.answer(recordOf("a"), clock.wall - 299_000);
    await found;
    const late = memory.find(A);
    await settled();
    origin.asked[1]?.fail(DOWN);
    expect((await late).record?.id).toBe("key_a");
    clock.advance(1000);
    await canNotTell();
  });

  it("is the age of an absence, too", async () => {
    const { memory, origin, clock } = setUp();
    const found = memory.find(A);
    await settled();
    origin.asked[0]?.answer(null, clock.wall - 4000);
    await found;
    clock.advance(999);
    expect((memory.find(A) as Lookup).record).toBeNull();
    clock.advance(1);
    expect(memory.find(A)).toBeInstanceOf(Promise);
  });

  it.each([
    ["back by an hour", -3_600_000],
    ["forward by an hour", 3_600_000],
  ])("is not lengthened by a wall clock set %s", async (_name, ms) => {
    const { memory, clock, learn } = setUp();
    await learn("a");
    clock.step(ms);
    clock.advance(10_000);
    expect(memory.find(A)).toBeInstanceOf(Promise);
  });

  it("is now where the origin's clock is ahead", async () => {
    const { memory, origin, clock } = setUp();
    const found = memory.find(A);
    await settled();
    origin.asked[0]?.answer(recordOf("a"), clock.wall + 86_400_000);
    await found;
    clock.advance(9_999);
    expect(memory.find(A)).not.toBeInstanceOf(Promise);
    clock.advance(1);
    expect(memory.find(A)).toBeInstanceOf(Promise);
  });
});
