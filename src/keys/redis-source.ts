import { decodeValue, type StoredValue, type Unreadable, VALUE_BYTES_MAX } from "./record-codec.ts";
import { type KeyLog, type RedisCommands, RedisRefusal } from "./redis-connection.ts";
import type { RedisLayout } from "./redis-layout.ts";
import type { KeyHash } from "./root-key.ts";
import { type Clock, type KeySource, type LookupObserver, type LookupOutcome, SourceUnavailable } from "./source.ts";

export interface RedisSourceDeps {
  readonly redis: RedisCommands & { readonly wasUp: boolean };
  readonly layout: RedisLayout;
  readonly now: Clock;
  readonly mono: () => number;
  readonly observer: LookupObserver;
  readonly log: KeyLog;
}

/**
 * Redis as the source of records. A value that is not a record of this very hash means that Redis can not tell: it is
 * counted and logged (without the value), and ends in 503, never in 401.
 */
export function createRedisSource(deps: RedisSourceDeps): KeySource {
  const { redis, layout, now, mono, observer } = deps;
  const report = createUnreadableLog(deps.log);

  return {
    async find(hash) {
      const startedAt = mono();
      // An answer is as old as its question: anything may have changed while it was on its way.
      const asOf = now();
      const seen = (outcome: LookupOutcome) => observer.lookup("redis", outcome, (mono() - startedAt) / 1000);
      let value: StoredValue | null;
      try {
        value = decode(await readValue(redis, layout.key(hash)), hash);
      } catch (error) {
        seen("error");
        throw error;
      }
      if (value === null) {
        seen("absent");
        return { record: null, asOf, tier: "redis" };
      }
      if (value.kind === "record") {
        seen("hit");
        return { record: value.record, asOf, tier: "redis" };
      }
      seen("invalid");
      const why = value.kind === "unreadable" ? value.why : "a copy, not a record";
      report(why);
      throw new SourceUnavailable(`the record in Redis can not be read: ${why}`);
    },
    readiness: () =>
      redis.wasUp ? { ready: true, reason: "" } : { ready: false, reason: "Redis has not been reached yet" },
    close: async () => {},
  };
}

/** What Redis holds at a key, as far as it may be a record; null when there is nothing. */
export type RawValue = { readonly text: string } | { readonly unreadable: Unreadable } | null;

/** Reads a value, however large it is, in bounded memory: GETRANGE gives no more than was asked for. */
export async function readValue(redis: RedisCommands, key: string): Promise<RawValue> {
  try {
    for (let attempt = 1; ; attempt += 1) {
      const text = await redis.call("GETRANGE", key, 0, VALUE_BYTES_MAX);
      if (typeof text !== "string") return { unreadable: "wrong type" };
      if (text !== "") return Buffer.byteLength(text) > VALUE_BYTES_MAX ? { unreadable: "too large" } : { text };
      if ((await redis.call("EXISTS", key)) === 0) return null;
      // It was made between the two questions, if it is not empty.
      if (attempt === 2) return { unreadable: "not JSON" };
    }
  } catch (error) {
    if (error instanceof RedisRefusal && error.code === "WRONGTYPE") return { unreadable: "wrong type" };
    throw error;
  }
}

export function decode(raw: RawValue, hash: KeyHash): StoredValue | null {
  if (raw === null) return null;
  return "text" in raw ? decodeValue(raw.text, hash) : { kind: "unreadable", why: raw.unreadable };
}

/** Says at most once in ten seconds that values can not be read: whoever writes them could write many. */
export function createUnreadableLog(log: KeyLog): (why: string) => void {
  let quietUntil = 0;
  let skipped = 0;
  return (why) => {
    skipped += 1;
    const at = performance.now();
    if (at < quietUntil) return;
    quietUntil = at + 10_000;
    log("warn", "redis_value_unreadable", { reason: why, count: skipped });
    skipped = 0;
  };
}
