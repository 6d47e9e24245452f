import { describe, expect, it } from "vitest";
import {
  type ChangeEntry,
  type ChangeFeed,
  type ChangeLog,
  compareStreamIds,
  createChangeFeed,
  type StreamPosition,
} from "../../src/keys/change-feed.ts";
import { createMemorySource, type MemorySource } from "../../src/keys/memory-source.ts";
import { type KeyHash, type KeyRecord, standing } from "../../src/keys/root-key.ts";
import { type KeySource, type Lookup, SourceUnavailable } from "../../src/keys/source.ts";
import { hashOf, recordOf, settled } from "../support/key-parts.ts";

/**
 * Three instances, one Redis, a clock that is moved by hand, and a schedule of everything that can go wrong, drawn from a
 * seed. The memory source and the follower are the real ones; Redis and the network are fakes that delay, drop, repeat,
 * freeze, flush and trim. What is checked at each look-up: nothing is accepted later than the bound after it was
 * revoked, nor after its expiry.
 *
 * `SIMULATION_SEED=123 npx vitest run test/keys/simulation.test.ts` runs one schedule again.
 */

const FRESH_MS = 10_000;
const STALE_MS = 60_000;
const MISSING_MS = 5000;
/** The longest an answer may be on its way: the command time-out. */
const ANSWER_MS = 500;
const SCHEDULES = Number(process.env.SIMULATION_SCHEDULES ?? (process.env.CI === "true" ? 10_000 : 1000));
const STEPS = 60;
const SECRETS = ["a", "b", "c"];

describe("three instances and a Redis that fails in every way", () => {
  it(`accept nothing later than the bound, in ${SCHEDULES} schedules`, { timeout: 240_000 }, async () => {
    const only = process.env.SIMULATION_SEED;
    const seeds = only === undefined ? Array.from({ length: SCHEDULES }, (_, index) => index + 1) : [Number(only)];
    const seen = { accepted: 0, refused: 0, unavailable: 0, gaps: 0, stale: 0 };
    for (const seed of seeds) {
      const world = new World(seed);
      try {
        await world.run();
      } catch (error) {
        throw new Error(`SIMULATION_SEED=${seed}\n${world.story.join("\n")}`, { cause: error });
      }
      for (const [name, count] of Object.entries(world.seen)) seen[name as keyof typeof seen] += count;
    }
    // The schedules do what they are for.
    if (only === undefined) for (const [name, count] of Object.entries(seen)) expect(count, name).toBeGreaterThan(100);
  });

  it("would notice a memory that is deaf to changes", async () => {
    let caught = 0;
    for (let seed = 1; seed <= 300; seed += 1) {
      const world = new World(seed, { deafMemory: true });
      await world.run().catch(() => {
        caught += 1;
      });
    }
    expect(caught).toBeGreaterThan(0);
  });
});

/** A small generator of numbers between 0 and 1 (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

interface Version {
  readonly record: KeyRecord | null;
  /** True time at which it replaced the one before. */
  readonly from: number;
}

class World {
  /** True time. Instances have their own idea of it. */
  time = 1_800_000_000_000;
  readonly story: string[] = [];
  readonly seen = { accepted: 0, refused: 0, unavailable: 0, gaps: 0, stale: 0 };
  readonly random: () => number;
  readonly redis: FakeRedis;
  readonly instances: Instance[];
  readonly history = new Map<KeyHash, Version[]>();
  /** What is due, in its order. `act` says whether it did anything that others may be waiting for. */
  readonly events: { readonly at: number; readonly act: () => boolean }[] = [];
  readonly deafMemory: boolean;

  constructor(seed: number, { deafMemory = false } = {}) {
    this.random = randomOf(seed);
    this.deafMemory = deafMemory;
    this.redis = new FakeRedis(this);
    for (const secret of SECRETS) this.write(secret, recordOf(secret));
    this.instances = [0, 1, 2].map((index) => new Instance(this, index));
  }

  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.random() * items.length)] as T;
  }

  later(ms: number, act: () => boolean): void {
    const at = this.time + ms;
    let index = this.events.length;
    while (index > 0 && (this.events[index - 1]?.at ?? 0) > at) index -= 1;
    this.events.splice(index, 0, { at, act });
  }

  write(secret: string, record: KeyRecord | null): void {
    const hash = hashOf(secret);
    const versions = this.history.get(hash) ?? [];
    versions.push({ record, from: this.time });
    this.history.set(hash, versions);
    if (record === null) this.redis.records.delete(hash);
    else this.redis.records.set(hash, record);
  }

  async run(): Promise<void> {
    for (let step = 0; step < STEPS; step += 1) {
      await this.act();
      await this.advance(this.random() < 0.3 ? Math.floor(this.random() * 12_000) : Math.floor(this.random() * 900));
    }
  }

  /** Lets time pass, with what falls due in it in its order. */
  async advance(ms: number): Promise<void> {
    const end = this.time + ms;
    for (;;) {
      const next = this.events[0];
      if (next === undefined || next.at > end) break;
      this.events.shift();
      this.time = Math.max(this.time, next.at);
      if (next.act()) await turn();
    }
    this.time = Math.max(this.time, end);
  }

  async act(): Promise<void> {
    const dice = this.random();
    const instance = this.pick(this.instances);
    const secret = this.pick(SECRETS);
    if (dice < 0.45) return this.lookUp(instance, secret);
    if (dice < 0.62) return this.change(secret);
    if (dice < 0.8) return this.follow(instance);
    if (dice < 0.84) return this.fault("frozen", !this.redis.frozen);
    if (dice < 0.88) return this.cut(instance);
    if (dice < 0.9) return this.flush();
    if (dice < 0.92) return this.trim();
    if (dice < 0.95) return this.crash(instance);
    this.stepClock(instance);
  }

  tell(line: string): void {
    this.story.push(`${this.time - 1_800_000_000_000} ms: ${line}`);
  }

  async lookUp(instance: Instance, secret: string): Promise<void> {
    const hash = hashOf(secret);
    const { memory } = instance;
    const found = memory.find(hash);
    this.tell(`${instance.name} is asked for ${secret}${found instanceof Promise ? "" : " (at once)"}`);
    if (found instanceof Promise)
      found.then((lookup) => this.judge(instance, secret, lookup)).catch((error) => this.fail(error));
    else this.judge(instance, secret, found);
    await turn();
    if (this.failure !== null) throw this.failure;
  }

  failure: unknown = null;
  fail(error: unknown): void {
    if (error instanceof SourceUnavailable) this.seen.unavailable += 1;
    else this.failure ??= error;
  }

  /** The moment of truth: the answer is used now. */
  judge(instance: Instance, secret: string, { record, tier }: Lookup): void {
    const accepted = record !== null && standing(record, instance.now()) === "valid";
    this.seen[accepted ? "accepted" : "refused"] += 1;
    this.tell(`${instance.name} ${accepted ? "accepts" : "refuses"} ${secret} from ${tier}`);
    if (!accepted) return;
    if (record.expiresAt !== null)
      expect(instance.now(), "by its own clock it had not expired").toBeLessThan(record.expiresAt);
    // The youngest version of the record that would be accepted: since when has it been over?
    const versions = this.history.get(record.hash) ?? [];
    const last = versions.findLastIndex((version) => version.record?.enabled);
    const end = versions[last + 1]?.from;
    if (end === undefined) return;
    const late = this.time - end;
    const bound = this.boundFor(instance, end);
    if (late > FRESH_MS) this.seen.stale += 1;
    expect(late, `${secret} was revoked ${late} ms ago; the bound is ${bound} ms`).toBeLessThanOrEqual(bound);
  }

  /**
   * Redis could be asked all the time since: `fresh`, and the time an answer takes. It could not: `staleIfError`, counted
   * from the last answer, which came before the change. An instance that has acted on the entry: nothing but answers on
   * their way, which are asked for anew.
   */
  boundFor(instance: Instance, since: number): number {
    if (instance.actedOn(since)) return 0;
    return this.redis.wasAway(since, instance) ? STALE_MS + ANSWER_MS : FRESH_MS + ANSWER_MS;
  }

  change(secret: string): void {
    if (this.redis.frozen) return;
    const hash = hashOf(secret);
    const present = this.redis.records.get(hash) ?? null;
    const dice = this.random();
    let next: KeyRecord | null;
    if (dice < 0.35) next = null;
    else if (dice < 0.65) next = recordOf(secret, { enabled: present?.enabled !== true });
    else if (dice < 0.85) next = recordOf(secret, { expiresAt: this.time + Math.floor(this.random() * 20_000) });
    else next = recordOf(secret);
    this.write(secret, next);
    this.tell(
      `${secret} becomes ${next === null ? "deleted" : next.enabled ? `enabled until ${next.expiresAt}` : "disabled"}`,
    );
    // Now and then the second write fails: the record is changed, and nobody hears of it.
    if (this.random() < 0.1) this.tell("... unannounced");
    else this.redis.append(hash);
  }

  follow(instance: Instance): void {
    this.tell(`${instance.name} follows`);
    instance.follow();
  }

  fault(_name: "frozen", value: boolean): void {
    this.tell(value ? "Redis freezes" : "Redis thaws");
    this.redis.setFrozen(value);
  }

  cut(instance: Instance): void {
    instance.cutOff = !instance.cutOff;
    this.tell(`${instance.name}'s way to the stream is ${instance.cutOff ? "cut" : "whole again"}`);
  }

  /** Records are gone: each key is revoked by it. */
  flush(): void {
    if (this.redis.frozen) return;
    this.tell("Redis is flushed");
    for (const secret of SECRETS) this.write(secret, null);
    this.redis.flush();
  }

  trim(): void {
    this.tell("the stream is trimmed");
    this.redis.trim();
  }

  crash(instance: Instance): void {
    this.tell(`${instance.name} crashes and starts anew`);
    this.instances[this.instances.indexOf(instance)] = new Instance(this, instance.index);
  }

  stepClock(instance: Instance): void {
    const ms = this.pick([-3_600_000, -5000, 5000, 3_600_000]);
    this.tell(`${instance.name}'s wall clock is set by ${ms} ms`);
    instance.skew += ms;
  }
}

/** Records and the stream, on the far side of a network that delays, loses and repeats. */
class FakeRedis {
  readonly world: World;
  readonly records = new Map<KeyHash, KeyRecord>();
  entries: ChangeEntry[] = [];
  last: string | null = null;
  whole = true;
  frozen = false;
  /** Spans of true time in which it did not answer; the last may be open. */
  readonly away: { readonly from: number; until: number }[] = [];
  private sequence = 0;

  constructor(world: World) {
    this.world = world;
  }

  setFrozen(frozen: boolean): void {
    this.frozen = frozen;
    const { time } = this.world;
    if (frozen) this.away.push({ from: time, until: Number.POSITIVE_INFINITY });
    else {
      const span = this.away.at(-1);
      if (span !== undefined) span.until = time;
    }
  }

  /** Whether a look-up of this instance may have failed since. */
  wasAway(since: number, instance: Instance): boolean {
    return this.away.some(({ until }) => until >= since) || instance.lostAnswerAt >= since;
  }

  append(hash: KeyHash): void {
    this.sequence += 1;
    const id = `${this.world.time}-${this.sequence}`;
    this.entries.push({ id, op: "upsert", hash, at: this.world.time });
    this.last = id;
  }

  flush(): void {
    this.entries = [];
    this.last = null;
    this.whole = true;
  }

  trim(): void {
    this.entries = this.entries.slice(-1);
    this.whole = false;
  }

  position(): StreamPosition | null {
    return this.last === null ? null : { last: this.last, first: this.entries[0]?.id ?? null, whole: this.whole };
  }
}

const NAMES = ["alpha", "beta", "gamma"];

class Instance {
  readonly world: World;
  readonly index: number;
  readonly name: string;
  readonly memory: MemorySource;
  readonly feed: ChangeFeed;
  skew = 0;
  cutOff = false;
  lostAnswerAt = Number.NEGATIVE_INFINITY;
  /** True time of the newest entry that it acted on, and of the last time it forgot everything. */
  private actedAt = Number.NEGATIVE_INFINITY;
  private readonly acted = new Set<number>();
  private busy = false;

  readonly now = () => this.world.time + this.skew;

  constructor(world: World, index: number) {
    this.world = world;
    this.index = index;
    this.name = NAMES[index] ?? "";
    const mono = () => world.time;
    this.memory = createMemorySource(
      this.source(),
      {
        maxKeys: 10,
        maxMisses: 10,
        freshMs: FRESH_MS,
        maxAgeMs: FRESH_MS,
        staleIfErrorMs: STALE_MS,
        missingMs: MISSING_MS,
      },
      { now: this.now, mono, observer: { lookup: () => {} }, random: world.random },
    );
    const { memory } = this;
    const target = world.deafMemory ? { invalidate: () => {}, dropAll: () => {} } : memory;
    this.feed = createChangeFeed({
      log: this.log(),
      targets: [
        target,
        {
          invalidate: (_hash, change) => this.acted.add(Number(change.split("-")[0])),
          dropAll: (gap) => {
            this.actedAt = world.time;
            if (gap) world.seen.gaps += 1;
          },
        },
      ],
      now: this.now,
    });
  }

  /** Whether it has heard of a change made at that moment. */
  actedOn(at: number): boolean {
    return this.acted.has(at) || this.actedAt >= at;
  }

  follow(): void {
    if (this.busy) return;
    this.busy = true;
    this.feed
      .step()
      .catch(() => {}) // Out of reach: the next round tries again.
      .finally(() => {
        this.busy = false;
      });
  }

  /** Sends a question: it is answered as things are when it arrives, and the answer takes its time, or is lost. */
  private ask<T>(answer: () => T): Promise<T> {
    const { world } = this;
    return new Promise((resolve, reject) => {
      const there = Math.floor(world.random() * 200);
      const back = Math.floor(world.random() * 250);
      const lost = world.random() < 0.03;
      let settled = false;
      world.later(there, () => {
        if (lost || world.redis.frozen) return false;
        const value = answer();
        world.later(back, () => {
          settled = true;
          resolve(value);
          return true;
        });
        return false;
      });
      world.later(ANSWER_MS, () => {
        if (settled) return false;
        this.lostAnswerAt = world.time;
        reject(new SourceUnavailable("time-out"));
        return true;
      });
    });
  }

  private source(): KeySource {
    return {
      find: async (hash) => {
        const asOf = this.now();
        return { record: await this.ask(() => this.world.redis.records.get(hash) ?? null), asOf, tier: "redis" };
      },
      readiness: () => ({ ready: true, reason: "" }),
      close: async () => {},
    };
  }

  private log(): ChangeLog {
    const { redis, random } = this.world;
    const reach = <T>(answer: () => T) => {
      if (this.cutOff) return Promise.reject(new Error("cut"));
      return this.ask(answer);
    };
    return {
      position: () => reach(() => redis.position()),
      read: (after) =>
        reach(() => {
          const entries = redis.entries.filter(({ id }) => compareStreamIds(id, after) > 0);
          // Repeated and out of order: nothing may depend on their order.
          if (random() < 0.2) entries.push(...entries);
          if (random() < 0.2) entries.reverse();
          return entries;
        }),
      holds: (id) => reach(() => redis.entries.some((entry) => entry.id === id)),
      acknowledge: (_id) => reach(() => undefined),
      reconnect: () => {},
      close: async () => {},
    };
  }
}

/** Lets what waits for promises run; no real time passes. */
const turn = settled;
