import { createHash } from "node:crypto";
import type { KeyHash, KeyRecord } from "../../src/keys/root-key.ts";
import type { KeySource, Lookup, LookupObserver, LookupOutcome, Tier } from "../../src/keys/source.ts";

export function hashOf(secret: string): KeyHash {
  return createHash("sha256").update(secret).digest("base64") as KeyHash;
}

export function recordOf(secret: string, change: Partial<KeyRecord> = {}): KeyRecord {
  return {
    id: `key_${secret}`,
    hash: hashOf(secret),
    start: null,
    name: null,
    workspaceId: null,
    workspaceEnabled: true,
    enabled: true,
    expiresAt: null,
    permissions: ["api.a.read_api"],
    roles: [],
    grants: new Set(["api.a.read_api"]),
    identity: null,
    meta: {},
    createdAt: 1_700_000_000_000,
    updatedAt: 1_700_000_000_000,
    ...change,
  };
}

/** Both clocks of a process, moved by hand. */
export class TestClock {
  wall = 1_800_000_000_000;
  steady = 0;
  readonly now = () => this.wall;
  readonly mono = () => this.steady;

  advance(ms: number): void {
    this.wall += ms;
    this.steady += ms;
  }

  /** Somebody sets the wall clock. */
  step(ms: number): void {
    this.wall += ms;
  }
}

export interface CountingObserver extends LookupObserver {
  count(tier: Tier, outcome: LookupOutcome): number;
}

export function countingObserver(): CountingObserver {
  const counts = new Map<string, number>();
  return {
    lookup: (tier, outcome) => counts.set(`${tier} ${outcome}`, (counts.get(`${tier} ${outcome}`) ?? 0) + 1),
    count: (tier, outcome) => counts.get(`${tier} ${outcome}`) ?? 0,
  };
}

/** A source whose answers are given by hand, one for each question, in any order. */
export class ScriptedSource implements KeySource {
  readonly asked: { hash: KeyHash; answer(record: KeyRecord | null, asOf?: number): void; fail(error: Error): void }[] =
    [];
  readonly now: () => number;
  closed = false;

  constructor(now: () => number) {
    this.now = now;
  }

  find(hash: KeyHash): Promise<Lookup> {
    const askedAt = this.now();
    return new Promise((resolve, reject) => {
      this.asked.push({
        hash,
        answer: (record, asOf = askedAt) => resolve({ record, asOf, tier: "http" }),
        fail: reject,
      });
    });
  }

  readiness() {
    return { ready: true, reason: "" };
  }

  async close() {
    this.closed = true;
  }
}

/** Lets everything that waits for promises run. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}

/** Resolves when `condition` holds, asked again and again, ever less often; rejects after `withinMs`. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  withinMs = 10_000,
): Promise<void> {
  const deadline = performance.now() + withinMs;
  // What takes seconds is not hurried by being asked for 200 times in each of them, least of all on a busy machine.
  for (let pauseMs = 2; !(await condition()); pauseMs = Math.min(1.5 * pauseMs, 40)) {
    if (performance.now() > deadline) throw new Error(`it did not happen in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
