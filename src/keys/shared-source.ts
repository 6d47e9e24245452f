import { compareAndSet } from "./compare-and-set.ts";
import type { ChangeTarget } from "./memory-source.ts";
import { encodeCopy, encodeForgotten, VALUE_BYTES_MAX } from "./record-codec.ts";
import type { KeyLog, RedisCommands } from "./redis-connection.ts";
import type { RedisLayout } from "./redis-layout.ts";
import { createUnreadableLog, decode, type RawValue, readValue } from "./redis-source.ts";
import type { KeyHash } from "./root-key.ts";
import {
  CLOCK_SKEW_MS,
  type Clock,
  type KeySource,
  type Lookup,
  type LookupObserver,
  type LookupOutcome,
} from "./source.ts";

export interface SharedSettings {
  /** A copy whose record the service gave less than this ago is used as it is. */
  readonly sharedFreshMs: number;
  /** How long the hash of an id is kept, so that `sentinel keys forget KEY_ID` finds it. */
  readonly idLifetimeMs: number;
  /** How long the mark of a change holds off what began before it: `forgottenMsOf` the service's time-out. */
  readonly forgottenMs: number;
}

export interface SharedSourceDeps {
  readonly redis: RedisCommands & { readonly isUp: boolean };
  readonly layout: RedisLayout;
  readonly now: Clock;
  readonly mono: () => number;
  readonly observer: LookupObserver;
  readonly log: KeyLog;
}

/** Longer than a look-up can be under way at a service that is given `timeoutMs` for one. */
export function forgottenMsOf(timeoutMs: number): number {
  return timeoutMs + 60_000;
}

const DISTRUSTED_MAX = 100_000;

/**
 * Copies of a key service's records in Redis, shared by all instances. A copy is as old as the service's answer, wherever
 * it was since. Without Redis the service is asked. Nothing is kept of hashes that the service does not know, so made-up
 * keys can not fill Redis.
 *
 * A change is made to win over a look-up that began before it: a copy is only written over exactly what was read before
 * the service was asked, and each change leaves a mark there that is like no other.
 */
export function createSharedSource(
  origin: KeySource,
  settings: SharedSettings,
  deps: SharedSourceDeps,
): KeySource & ChangeTarget {
  const { sharedFreshMs, idLifetimeMs, forgottenMs } = settings;
  const { redis, layout, now, mono, observer } = deps;
  const report = createUnreadableLog(deps.log);

  /** Hashes whose copy may be from before a change, because the mark is not yet written; until when (monotonic). */
  const distrusted = new Map<KeyHash, number>();
  let distrustAllUntil = Number.NEGATIVE_INFINITY;

  async function find(hash: KeyHash): Promise<Lookup> {
    if (!redis.isUp || isDistrusted(hash)) return origin.find(hash);
    const startedAt = mono();
    const seen = (outcome: LookupOutcome) => observer.lookup("redis", outcome, (mono() - startedAt) / 1000);
    let raw: RawValue;
    try {
      raw = await readValue(redis, layout.key(hash));
    } catch {
      // Redis' own state is logged by the connection; the service can tell without it.
      seen("error");
      return origin.find(hash);
    }
    const value = decode(raw, hash);
    if (value?.kind === "unreadable") {
      seen("invalid");
      report(value.why);
    } else if (value?.kind === "copy" && isFresh(value.asOf) && !isDistrusted(hash)) {
      seen("hit");
      return { record: value.record, asOf: value.asOf, tier: "redis" };
    } else seen("miss");

    const lookup = await origin.find(hash);
    // What Redis holds as its own, or in a form of another version, is not ours to replace.
    const isOurs = value === null || value.kind === "copy" || value.kind === "forgotten" || isBroken(value);
    const tookMs = mono() - startedAt;
    if (isOurs && (raw === null || "text" in raw) && tookMs < forgottenMs / 2 && !isDistrusted(hash)) {
      void share(hash, raw?.text ?? null, lookup).catch(() => seen("error"));
    }
    return lookup;
  }

  function isFresh(asOf: number): boolean {
    const age = now() - asOf;
    return age < sharedFreshMs && age >= -CLOCK_SKEW_MS;
  }

  async function share(hash: KeyHash, expected: string | null, { record, asOf }: Lookup): Promise<void> {
    const key = layout.key(hash);
    if (record === null) {
      if (expected !== null) await compareAndSet(redis, key, expected, null);
      return;
    }
    const lifetime = Math.floor(sharedFreshMs - Math.max(0, now() - asOf));
    const copy = encodeCopy(record, asOf);
    if (lifetime <= 0 || Buffer.byteLength(copy) > VALUE_BYTES_MAX) return;
    if (!(await compareAndSet(redis, key, expected, copy, lifetime))) return;
    await redis.call("SET", layout.id(record.id), hash, "PX", idLifetimeMs);
  }

  function invalidate(hash: KeyHash, change: string): void {
    const until = mono() + sharedFreshMs;
    if (distrusted.size >= DISTRUSTED_MAX) {
      distrusted.clear();
      distrustAllUntil = until;
    }
    distrusted.delete(hash);
    distrusted.set(hash, until);
    markForgotten(redis, layout, hash, change, forgottenMs).then(
      (marked) => {
        if (marked && distrusted.get(hash) === until) distrusted.delete(hash);
      },
      () => {
        // Not written: the hash stays distrusted for as long as a copy may live.
      },
    );
  }

  function isDistrusted(hash: KeyHash): boolean {
    const until = distrusted.get(hash);
    if (until !== undefined && mono() >= until) distrusted.delete(hash);
    else if (until !== undefined) return true;
    return mono() < distrustAllUntil;
  }

  return {
    find,
    readiness: () => origin.readiness(),
    invalidate,
    dropAll(gap) {
      // Copies may be from before a change that nobody here saw. At the start there is no reason to think so.
      if (gap) distrustAllUntil = mono() + sharedFreshMs;
    },
    close: () => origin.close(),
  };
}

/**
 * Replaces a shared copy by the mark of a change. False: what is there is not a copy, or it changed again and again.
 * Used by the instances, and by `sentinel keys forget`.
 */
export async function markForgotten(
  redis: RedisCommands,
  layout: RedisLayout,
  hash: KeyHash,
  change: string,
  forgottenMs: number,
): Promise<boolean> {
  const key = layout.key(hash);
  const mark = encodeForgotten(change);
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const raw = await readValue(redis, key);
    const value = decode(raw, hash);
    if (raw !== null && !("text" in raw)) return false;
    if (raw?.text === mark) return true;
    if (value !== null && value.kind !== "copy" && value.kind !== "forgotten" && !isBroken(value)) return false;
    if (await compareAndSet(redis, key, raw?.text ?? null, mark, forgottenMs)) return true;
  }
  return false;
}

function isBroken(value: ReturnType<typeof decode>): boolean {
  return value?.kind === "unreadable" && value.why !== "other version";
}
