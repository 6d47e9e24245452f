import { createChangeFeed, type FeedEvent } from "../../src/keys/change-feed.ts";
import { createChangeLog } from "../../src/keys/change-log.ts";
import { createMemorySource, type MemorySource } from "../../src/keys/memory-source.ts";
import { connectRedis, type RedisConnection, type RedisSettings } from "../../src/keys/redis-connection.ts";
import { createRedisLayout } from "../../src/keys/redis-layout.ts";
import { createRedisSource } from "../../src/keys/redis-source.ts";
import { type CountingObserver, countingObserver } from "./key-parts.ts";

/** What one gateway has of keys: `memory(redis)` and a follower of the stream, on real connections. */
export interface KeyInstance {
  readonly memory: MemorySource;
  readonly redis: RedisConnection;
  readonly observer: CountingObserver;
  /** `redis_up`, `redis_down`, in order. */
  readonly states: string[];
  readonly events: FeedEvent[];
  readonly lags: number[];
  isFollowing(): boolean;
  close(): Promise<void>;
}

export interface InstanceSettings {
  readonly name?: string;
  readonly freshMs?: number;
  readonly staleIfErrorMs?: number;
  readonly missingMs?: number;
  /** Where the stream is followed, if that is another way to the same Redis. */
  readonly feed?: Partial<RedisSettings>;
}

export async function openKeyInstance(
  where: Partial<RedisSettings>,
  { name = "alpha", freshMs = 10_000, staleIfErrorMs = 300_000, missingMs = 5000, feed: via }: InstanceSettings = {},
): Promise<KeyInstance> {
  const settings: RedisSettings = { keyPrefix: "sentinel:", commandTimeout: 200, ...where };
  const layout = createRedisLayout(settings.keyPrefix);
  const observer = countingObserver();
  const states: string[] = [];
  const events: FeedEvent[] = [];
  const lags: number[] = [];
  const mono = () => performance.now();
  const redis = await connectRedis(settings, { log: (_level, event) => states.push(event), mono });
  const source = createRedisSource({ redis, layout, now: Date.now, mono, observer, log: () => {} });
  const memory = createMemorySource(
    source,
    { maxKeys: 100_000, freshMs, maxAgeMs: freshMs, staleIfErrorMs, missingMs },
    { now: Date.now, mono, observer },
  );
  const waiting = await connectRedis(
    { ...settings, ...via },
    { log: () => {}, mono },
    { purpose: "feed", blockMs: 1000 },
  );
  const feed = createChangeFeed({
    log: createChangeLog(waiting, layout, `${name}/0`, redis),
    targets: [memory],
    now: Date.now,
    onLag: (seconds) => lags.push(seconds),
    onEvent: (event) => events.push(event),
  });
  feed.start();
  return {
    memory,
    redis,
    observer,
    states,
    events,
    lags,
    isFollowing: () => feed.isFollowing,
    async close() {
      await feed.close();
      await memory.close();
      await redis.close();
    },
  };
}
