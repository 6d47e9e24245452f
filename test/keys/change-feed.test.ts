import { EventEmitter, once } from "node:events";
import { describe, expect, it } from "vitest";
import {
  type ChangeEntry,
  type ChangeLog,
  compareStreamIds,
  createChangeFeed,
  type FeedEvent,
  idBefore,
  reachesBack,
  type StreamPosition,
  startOf,
} from "../../src/keys/change-feed.ts";
import { hashOf, TestClock } from "../support/key-parts.ts";

/** A stream in ten lines: what is in it, and whether it can be reached. */
class FakeLog implements ChangeLog {
  entries: ChangeEntry[] = [];
  last: string | null = null;
  whole = true;
  down = false;
  acknowledged: string[] = [];
  reconnects = 0;
  /** Whether records are read from the server that is followed. */
  together = true;
  gathered = 0;

  append(id: string, hash: string, at = 0, op = "upsert"): void {
    this.entries.push({ id, op, hash, at });
    this.last = id;
  }

  async position(): Promise<StreamPosition | null> {
    if (this.down) throw new Error("down");
    return this.last === null ? null : { last: this.last, first: this.entries[0]?.id ?? null, whole: this.whole };
  }

  async read(after: string): Promise<readonly ChangeEntry[]> {
    if (this.down) throw new Error("down");
    return this.entries.filter(({ id }) => compareStreamIds(id, after) > 0);
  }

  async holds(id: string): Promise<boolean> {
    return this.entries.some((entry) => entry.id === id);
  }

  async gather(): Promise<boolean> {
    this.gathered += 1;
    return this.together;
  }

  async acknowledge(id: string): Promise<void> {
    if (this.down) throw new Error("down");
    this.acknowledged.push(id);
  }

  reconnect(): void {
    this.reconnects += 1;
  }

  async whenUp(_ms: number): Promise<boolean> {
    return true;
  }

  async close(): Promise<void> {}
}

function setUp(lookBackMs = 0) {
  const clock = new TestClock();
  const log = new FakeLog();
  const acts: string[] = [];
  const lags: number[] = [];
  const events: FeedEvent["kind"][] = [];
  const unreadable: number[] = [];
  const feed = createChangeFeed({
    log,
    targets: [
      {
        invalidate: (hash) => acts.push(hash),
        dropAll: (gap) => acts.push(gap ? "drop" : "start"),
      },
    ],
    now: clock.now,
    lookBackMs,
    onLag: (seconds) => lags.push(seconds),
    onEvent: (event) => {
      events.push(event.kind);
      if (event.kind === "unreadable") unreadable.push(event.count);
    },
  });
  return { clock, log, acts, lags, events, unreadable, feed };
}

const A = hashOf("a");
const B = hashOf("b");

describe("a follower of changes", () => {
  it("starts at the end of the stream, acts on what comes, and signs for it", async () => {
    const { log, feed, acts } = setUp();
    log.append("1-0", A);
    await feed.step();
    expect(acts).toEqual(["start"]);
    log.append("2-0", B);
    await feed.step();
    expect(acts).toEqual(["start", B]);
    expect(log.acknowledged).toEqual(["1-0", "2-0"]);
  });

  it("acts on what came shortly before it started where there may be copies; how long that took says nothing", async () => {
    const { log, feed, acts, lags, clock } = setUp(20_000);
    log.append("10000-0", A, clock.wall - 40_000);
    log.append("30000-1", B, clock.wall - 20_000);
    await feed.step();
    expect(acts).toEqual(["start", B]);
    log.append("50000-0", A, clock.wall - 500);
    await feed.step();
    expect(acts).toEqual(["start", B, A]);
    expect(lags).toEqual([0.5]);
  });

  it("distrusts every copy at its start where what came shortly before is trimmed away", async () => {
    const { log, feed, acts, events } = setUp(20_000);
    log.append("30000-1", B);
    log.whole = false;
    await feed.step();
    expect(acts).toEqual(["drop"]);
    expect(events).toEqual(["gap", "following"]);
    log.append("50000-0", A);
    await feed.step();
    expect(acts).toEqual(["drop", A]);
  });

  it("resumes after the last entry it saw when the connection comes back", async () => {
    const { log, feed, acts, events } = setUp();
    log.append("1-0", A);
    await feed.step();
    log.down = true;
    await expect(feed.step()).rejects.toThrow("down");
    await expect(feed.step()).rejects.toThrow("down");
    expect(feed.isFollowing).toBe(false);
    log.append("2-0", A);
    log.append("3-0", B);
    log.down = false;
    await feed.step();
    expect(acts).toEqual(["start", A, B]);
    expect(events).toEqual(["following", "lost", "following"]);
  });

  it.each<[string, (log: FakeLog) => void]>([
    ["was trimmed past it", (log) => log.entries.splice(0, 2)],
    [
      "was flushed",
      (log) => {
        log.entries = [];
        log.last = null;
      },
    ],
    [
      "was flushed and written again",
      (log) => {
        log.entries = [];
        log.append("9-0", A);
      },
    ],
    [
      "was restored from an older dump",
      (log) => {
        log.entries = log.entries.slice(0, 1);
        log.last = "1-0";
      },
    ],
    [
      // A replica that had not been given the newest entry took over, and its clock is behind: B's change is before 2-0.
      "went on without the entry it saw last, with lower ids at first",
      (log) => {
        log.entries = log.entries.slice(0, 1);
        log.append("1-5", B);
        log.append("4-0", A);
      },
    ],
  ])("forgets everything where the stream %s while it was away", async (_name, change) => {
    const { log, feed, acts } = setUp();
    log.append("1-0", A);
    log.append("2-0", A);
    await feed.step();
    log.down = true;
    await feed.step().catch(() => {});
    log.append("3-0", B);
    log.whole = false;
    change(log);
    log.down = false;
    await feed.step();
    expect(acts).toContain("drop");
    acts.length = 0;
    await feed.step();
    expect(acts).toEqual([]);
  });

  it("forgets nothing where the entry it saw last was the newest, though it was trimmed away since", async () => {
    const { log, feed, acts } = setUp();
    log.append("1-0", A);
    await feed.step();
    log.down = true;
    await feed.step().catch(() => {});
    log.entries = [];
    log.whole = false;
    log.down = false;
    await feed.step();
    expect(acts).toEqual(["start"]);
  });

  it("forgets everything when the stream is flushed behind a connection that lives", async () => {
    const { log, feed, acts } = setUp();
    log.append("1-0", A);
    await feed.step();
    log.entries = [];
    log.last = null;
    await feed.step();
    expect(acts).toEqual(["start", "drop"]);
  });

  it("does not forget anything when the stream begins to exist", async () => {
    const { log, feed, acts } = setUp();
    await feed.step();
    log.append("1-0", A);
    await feed.step();
    expect(acts).toEqual(["start", A]);
  });

  it("acts on an operation it does not know, and reports an entry without a hash", async () => {
    const { log, feed, acts, events } = setUp();
    await feed.step();
    log.append("1-0", A, 0, "from a newer version");
    log.append("2-0", "x".repeat(1_000_000));
    log.append("3-0", "");
    await feed.step();
    expect(acts).toEqual(["start", A]);
    expect(events.filter((kind) => kind === "unreadable")).toHaveLength(1);
    expect(log.acknowledged.at(-1)).toBe("3-0");
  });

  it("reports entries that can not be read at most every ten seconds, and how many there were", async () => {
    const { log, feed, clock, unreadable } = setUp();
    await feed.step();
    for (let index = 1; index <= 1000; index += 1) log.append(`${index}-0`, "nonsense");
    await feed.step();
    log.append("1001-0", "nonsense");
    await feed.step();
    expect(unreadable).toEqual([1]);
    clock.advance(10_000);
    log.append("1002-0", "nonsense");
    await feed.step();
    expect(unreadable).toEqual([1, 1001]);
    clock.step(-3_600_000);
    log.append("1003-0", "nonsense");
    await feed.step();
    expect(unreadable).toEqual([1, 1001, 1]);
  });

  it("measures how long a change took to get here; a clock that is behind makes it zero, not negative", async () => {
    const { log, feed, lags, clock } = setUp();
    await feed.step();
    log.append("1-0", A, clock.wall - 250);
    log.append("2-0", A, clock.wall + 9999);
    log.append("3-0", A, Number.NaN);
    await feed.step();
    expect(lags).toEqual([0.25, 0]);
  });

  it("gives a sign of life every three seconds when nothing changes", async () => {
    const { log, feed, clock } = setUp();
    await feed.step();
    for (let second = 0; second < 6; second += 1) {
      clock.advance(1000);
      await feed.step();
    }
    expect(log.acknowledged).toHaveLength(3);
  });

  it("gives one at once when the clock was set back, rather than none for as long", async () => {
    const { log, feed, clock } = setUp();
    await feed.step();
    clock.step(-3_600_000);
    await feed.step();
    expect(log.acknowledged).toHaveLength(2);
  });

  it("neither follows nor signs while records are read from another server than the one that is followed", async () => {
    const { log, feed, clock, events, acts } = setUp();
    log.together = false;
    await expect(feed.step()).rejects.toThrow("another server");
    expect([log.acknowledged, feed.isFollowing, events]).toEqual([[], false, ["lost"]]);
    // What was looked up before is forgotten first, as early as ever.
    expect(acts).toEqual(["start"]);
    log.together = true;
    clock.advance(15_000);
    await feed.step();
    expect(feed.isFollowing).toBe(true);
    // It may come to that at any time: those who read may be connected anew.
    log.together = false;
    clock.advance(3000);
    await expect(feed.step()).rejects.toThrow("another server");
    expect(feed.isFollowing).toBe(false);
  });

  it("follows all the same where each connection leads to another server, and looks again ever less often", async () => {
    const { log, feed, clock } = setUp();
    log.together = false;
    const askedAt: number[] = [];
    for (let second = 0; second < 120; second += 3) {
      const asked = log.gathered;
      await feed.step().catch(() => {});
      if (log.gathered > asked) askedAt.push(second);
      clock.advance(3000);
    }
    expect(askedAt).toEqual([0, 15, 45, 105]);
    expect(feed.isFollowing).toBe(true);
  });

  it("asks nothing while there is no connection, and follows as soon as there is one", async () => {
    const { log, feed, events } = setUp();
    log.down = true;
    const told = new EventEmitter();
    log.whenUp = () => new Promise((resolve) => void told.emit("asked", resolve));
    feed.start();
    const [stillDown] = await once(told, "asked");
    stillDown(false);
    const [isUp] = await once(told, "asked");
    expect([log.reconnects, events]).toEqual([1, ["lost"]]);
    log.acknowledge = async () => void told.emit("signed");
    log.down = false;
    const signed = once(told, "signed");
    isUp(true);
    await signed;
    await feed.close();
    expect(events).toEqual(["lost", "following"]);
  });

  it("repeats by itself once started, and ends when closed", async () => {
    const { log, feed, acts } = setUp();
    const seen = new Promise<void>((resolve) => {
      log.acknowledge = async () => resolve();
    });
    log.read = async () => {
      await new Promise((resolve) => setImmediate(resolve));
      return [];
    };
    feed.start();
    await seen;
    await feed.close();
    expect(acts).toEqual(["start"]);
  });

  it("calls it no loss when its own closing cuts off a read", async () => {
    const { log, feed, events } = setUp();
    let cutOff: (error: Error) => void = () => {};
    const reading = new Promise<void>((begun) => {
      log.read = () => {
        begun();
        return new Promise((_, reject) => {
          cutOff = reject;
        });
      };
    });
    log.close = async () => cutOff(new Error("closed"));
    feed.start();
    await reading;
    await feed.close();
    expect(events).toEqual(["following"]);
  });
});

describe("stream ids", () => {
  it.each<[string, string, number]>([
    ["1-0", "1-0", 0],
    ["1-1", "1-0", 1],
    ["2-0", "10-0", -1],
    ["1-2", "1-10", -1],
    ["18446744073709551615-18446744073709551615", "18446744073709551615-18446744073709551614", 1],
  ])("%s beside %s", (a, b, sign) => {
    expect(Math.sign(compareStreamIds(a, b))).toBe(sign);
  });
});

describe("the id before another", () => {
  it.each([
    ["5-3", "5-2"],
    ["5-0", "4-18446744073709551615"],
    ["0-1", "0-0"],
    ["0-0", "0-0"],
  ])("%s: %s", (id, before) => {
    expect(idBefore(id)).toBe(before);
  });
});

describe("where a follower begins that may meet copies of others", () => {
  const whole = { last: "90000-5", first: "80000-0", whole: true };
  it.each<[string, StreamPosition | null, number, string | null]>([
    ["no stream", null, 20_000, "0-0"],
    ["no copies: at the end", whole, 0, "90000-5"],
    ["the entries of so long", { ...whole, first: "1-0" }, 20_000, "70000-0"],
    ["all entries of a young stream", whole, 20_000, "0-0"],
    ["all entries, not before the beginning of time", whole, 200_000, "0-0"],
    ["some are trimmed away already", { ...whole, whole: false }, 20_000, null],
    ["all are trimmed away", { last: "90000-5", first: null, whole: false }, 20_000, null],
  ])("%s", (_name, position, lookBackMs, expected) => {
    expect(startOf(position, lookBackMs)).toBe(expected);
  });
});

describe("whether the stream reaches back", () => {
  it.each<[string, StreamPosition | null, string, boolean]>([
    ["nothing then, nothing now", null, "0-0", true],
    ["gone", null, "5-0", false],
    ["nothing was added since, though all was trimmed", { last: "5-0", first: null, whole: false }, "5-0", true],
    ["the entry is still there", { last: "9-0", first: "5-0", whole: false }, "5-0", true],
    ["older ones are still there", { last: "9-0", first: "4-0", whole: false }, "5-0", true],
    ["the oldest is younger", { last: "9-0", first: "6-0", whole: false }, "5-0", false],
    ["went backwards", { last: "4-0", first: "1-0", whole: true }, "5-0", false],
    ["began to exist and lost nothing", { last: "4-0", first: "1-0", whole: true }, "0-0", true],
    ["began to exist and lost some", { last: "4-0", first: "1-0", whole: false }, "0-0", false],
  ])("%s", (_name, position, since, expected) => {
    expect(reachesBack(position, since)).toBe(expected);
  });
});
