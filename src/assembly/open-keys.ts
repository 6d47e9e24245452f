import type { Config } from "../config/schema.ts";
import { createKeyringSource } from "../keys/keyring-source.ts";
import type { ChangeTarget } from "../keys/memory-source.ts";
import type { KeyLog, RedisConnection, RedisSettings } from "../keys/redis-connection.ts";
import { CLOCK_SKEW_MS, type Keyring, type KeySource } from "../keys/source.ts";
import type { Metrics } from "../telemetry/metrics.ts";

/** The key source of a running gateway, and what operators are shown of it. */
export interface OpenedKeys {
  readonly source: KeySource;
  /** Records and remembered misses in memory; for a file, its keys. */
  readonly entries: () => number;
  /** Null where there is no Redis. */
  readonly redis: () => { readonly up: boolean; readonly reason: string } | null;
  /** Takes up a changed keyring file; nothing to do for other sources. */
  replaceKeyring(keyring: Keyring): void;
}

export interface OpenKeysDeps {
  readonly metrics: Pick<Metrics, "lookup" | "redisUp" | "revocationLag">;
  readonly log: KeyLog;
  /** This process's name among those that follow the stream of changes; null: it follows nothing, and is gone soon. */
  readonly instance: string | null;
}

/** Composes the sources that the configuration asks for: a keyring, `memory(redis)` or `memory(redis(http))`. */
export async function openKeys(
  config: Config,
  redis: RedisSettings | null,
  keyring: Keyring | null,
  deps: OpenKeysDeps,
): Promise<OpenedKeys> {
  if (config.keys.source.type === "file") return openKeyring(keyring, deps);
  return openLookups(config, redis, deps);
}

function openKeyring(keyring: Keyring | null, { metrics }: OpenKeysDeps): OpenedKeys {
  const source = createKeyringSource({ now: Date.now, observer: metrics });
  let keys = 0;
  const replaceKeyring = (taken: Keyring) => {
    keys = taken.records.length;
    source.replace(taken);
  };
  if (keyring !== null) replaceKeyring(keyring);
  return { source, entries: () => keys, redis: () => null, replaceKeyring };
}

const MONO = () => performance.now();

/** How long `sentinel keys forget KEY_ID` can find the hash of an id that the service gave. */
const ID_LIFETIME_MS = 24 * 3_600_000;

async function openLookups(config: Config, redis: RedisSettings | null, deps: OpenKeysDeps): Promise<OpenedKeys> {
  const { createMemorySource } = await import("../keys/memory-source.ts");
  const { cache } = config.keys;
  // Also where copies are not shared: changes are followed wherever there is a Redis.
  const shared = redis === null ? null : await connectShared(redis, deps);
  const { origin, copies } = await openOrigin(config, shared, deps);
  const memory = createMemorySource(
    origin,
    {
      maxKeys: cache.maxKeys,
      freshMs: cache.fresh,
      maxAgeMs: copies === null ? cache.fresh : Math.max(cache.fresh, cache.sharedFresh),
      staleIfErrorMs: cache.staleIfError,
      missingMs: cache.missing,
    },
    { now: Date.now, mono: MONO, observer: deps.metrics },
  );
  const targets = copies === null ? [memory] : [copies, memory];
  const lookBackMs = copies === null ? 0 : cache.sharedFresh + CLOCK_SKEW_MS;
  const feed =
    shared === null || deps.instance === null ? null : await follow(shared, deps.instance, targets, lookBackMs, deps);
  return {
    source: {
      find: (hash) => memory.find(hash),
      readiness: () => memory.readiness(),
      close: async () => {
        await feed?.close();
        await memory.close();
        await shared?.commands.close();
      },
    },
    entries: () => memory.size().keys + memory.size().missing,
    redis: () =>
      shared === null
        ? null
        : { up: shared.commands.isUp, reason: shared.commands.isUp ? "" : "Redis does not answer" },
    replaceKeyring: () => {},
  };
}

interface Shared {
  readonly settings: RedisSettings;
  readonly commands: RedisConnection;
}

async function connectShared(settings: RedisSettings, { metrics, log }: OpenKeysDeps): Promise<Shared> {
  const { connectRedis } = await import("../keys/redis-connection.ts");
  const commands = await connectRedis(settings, { log, mono: MONO, onUp: (up) => metrics.redisUp(up) });
  return { settings, commands };
}

/** What memory asks, and the copies in Redis that have to hear of changes too (null where Redis holds the records). */
async function openOrigin(
  { keys: { source, cache } }: Config,
  shared: Shared | null,
  { metrics: observer, log }: OpenKeysDeps,
): Promise<{ readonly origin: KeySource; readonly copies: (KeySource & ChangeTarget) | null }> {
  const common = { now: Date.now, mono: MONO, observer, log };
  if (source.type === "http") {
    const { createHttpSource } = await import("../keys/http-source.ts");
    const { headers } = source;
    const service = createHttpSource({ url: source.url, headers, timeout: source.timeout }, common);
    if (shared === null || !cache.shared) return { origin: service, copies: null };
    const { createSharedSource, forgottenMsOf } = await import("../keys/shared-source.ts");
    const { createRedisLayout } = await import("../keys/redis-layout.ts");
    const copies = createSharedSource(
      service,
      {
        sharedFreshMs: cache.sharedFresh,
        idLifetimeMs: ID_LIFETIME_MS,
        forgottenMs: forgottenMsOf(source.timeout),
      },
      { ...common, redis: shared.commands, layout: createRedisLayout(shared.settings.keyPrefix) },
    );
    return { origin: copies, copies };
  }
  if (shared === null) throw new TypeError("a redis source needs a Redis");
  const { createRedisSource } = await import("../keys/redis-source.ts");
  const { createRedisLayout } = await import("../keys/redis-layout.ts");
  const layout = createRedisLayout(shared.settings.keyPrefix);
  return { origin: createRedisSource({ ...common, redis: shared.commands, layout }), copies: null };
}

async function follow(
  { settings, commands }: Shared,
  instance: string,
  targets: readonly ChangeTarget[],
  lookBackMs: number,
  { metrics, log }: OpenKeysDeps,
): Promise<{ close(): Promise<void> }> {
  const { connectRedis } = await import("../keys/redis-connection.ts");
  const { createRedisLayout } = await import("../keys/redis-layout.ts");
  const { createChangeLog } = await import("../keys/change-log.ts");
  const { createChangeFeed } = await import("../keys/change-feed.ts");
  const connection = await connectRedis(settings, { log: () => {}, mono: MONO }, { purpose: "feed", blockMs: 1000 });
  const feed = createChangeFeed({
    log: createChangeLog(connection, createRedisLayout(settings.keyPrefix), instance, commands),
    targets,
    now: Date.now,
    lookBackMs,
    onLag: (seconds) => metrics.revocationLag(seconds),
    onEvent: (event) => {
      if (event.kind === "following") log("info", "changes_followed", { from: event.from });
      else if (event.kind === "lost") log("warn", "changes_lost", { reason: nameOf(event.error) });
      else if (event.kind === "gap") log("warn", "changes_missed", { lastSeen: event.lastSeen });
      else log("warn", "change_unreadable", { entry: event.id, count: event.count });
    },
  });
  feed.start();
  return feed;
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.message : "unknown";
}
