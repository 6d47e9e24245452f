import { expect, it } from "vitest";
import { connectRedis, type RedisSettings } from "../../src/keys/redis-connection.ts";
import { createRedisLayout } from "../../src/keys/redis-layout.ts";
import { createRedisStore } from "../../src/keys/redis-store.ts";
import { type CreatedKey, type KeyStore, SourceUnavailable } from "../../src/keys/source.ts";
import { type KeyInstance, openKeyInstance } from "../support/key-instance.ts";
import { hashOf, until } from "../support/key-parts.ts";
import { describeRedis } from "../support/redis.ts";
import { startCluster, startFailover, type TestNodes } from "../support/redis-ha.ts";

const layout = createRedisLayout("sentinel:");
const FIELDS = {
  name: null,
  workspaceId: null,
  permissions: ["api.a.read_api"],
  roles: [],
  expiresAt: null,
  externalId: null,
  meta: {},
};
const KEYS = 60;
/** Redis' own sentinels do nothing for half a minute once they were held up for two seconds, which busy machines do. */
const PATIENT_MS = 90_000;

type Where = Pick<RedisSettings, "sentinels" | "cluster">;

describeRedis("keys in", () => {
  it.each<[string, () => Promise<TestNodes>, (nodes: TestNodes) => Where]>([
    [
      "Redis with its own sentinels",
      startFailover,
      ({ hosts }) => ({ sentinels: { name: "mymaster", hosts, tls: false } }),
    ],
    ["a Redis cluster", startCluster, ({ hosts }) => ({ cluster: { hosts, tls: false } })],
  ])(
    "%s survive the loss of a master under load: no wrong verdict, and revocation goes on",
    { timeout: 5 * PATIENT_MS },
    async (_name, start, where) => {
      const nodes = await start();
      const settings = { ...where(nodes), keyPrefix: "sentinel:", commandTimeout: 500 };
      const redis = await connectRedis(
        { ...settings, commandTimeout: 5000 },
        { log: () => {}, mono: () => performance.now() },
      );
      const store = createRedisStore(redis, {
        layout,
        keyPrefix: "unkey_",
        records: "redis",
        forgottenMs: 60_000,
        now: Date.now,
      });
      const instance = await openKeyInstance(settings, { freshMs: 200, missingMs: 50 });
      try {
        expect(await redis.whenUp(10_000)).toBe(true);
        await until("following", () => instance.isFollowing(), PATIENT_MS);
        const keys: CreatedKey[] = [];
        for (let index = 0; index < KEYS; index += 1) keys.push(await create(store));
        const listed: string[] = [];
        for await (const { id } of store.list()) listed.push(id);
        expect(listed.sort()).toEqual(keys.map(({ keyId }) => keyId).sort());
        await revokes(store, instance, keys);
        // What the lost master had not passed on is lost with it, in every Redis.
        await nodes.replicated();

        const traffic = startTraffic(instance, keys);
        await nodes.killMaster();
        await nodes.failedOver();
        await until("back", async () => (await allAnswered(instance, keys)) && instance.isFollowing(), PATIENT_MS);
        await until("writes go on", () => isMade(create(store)), PATIENT_MS);
        await revokes(store, instance, keys);
        await until("traffic enough", () => traffic.verdicts() > 1000, PATIENT_MS);
        expect(await traffic.stop()).toEqual([]);
      } finally {
        await instance.close();
        await redis.close();
        await nodes.close();
      }
    },
  );
});

async function isMade(creation: Promise<CreatedKey>): Promise<boolean> {
  return creation.then(
    () => true,
    () => false,
  );
}

async function create(store: KeyStore): Promise<CreatedKey> {
  return store.create(FIELDS);
}

/** Deletes the last key, and sees it refused. */
async function revokes(store: KeyStore, instance: KeyInstance, keys: CreatedKey[]): Promise<void> {
  const key = await create(store);
  await until("accepted", async () => (await find(instance, key)) === "record", PATIENT_MS);
  await store.delete(key.keyId);
  await until("refused", async () => (await find(instance, key)) === "absent", PATIENT_MS);
  expect(keys).not.toContain(key);
}

async function find(instance: KeyInstance, { key, keyId }: CreatedKey): Promise<"record" | "absent" | "unknown"> {
  try {
    const { record } = await instance.memory.find(hashOf(key));
    if (record === null) return "absent";
    if (record.id !== keyId) throw new Error("another key's record");
    return "record";
  } catch (error) {
    if (error instanceof SourceUnavailable) return "unknown";
    throw error;
  }
}

async function allAnswered(instance: KeyInstance, keys: readonly CreatedKey[]): Promise<boolean> {
  const unread = instance.observer.count("memory", "stale") + instance.observer.count("memory", "error");
  const answers = await Promise.all(keys.map((key) => find(instance, key)));
  await new Promise((resolve) => setTimeout(resolve, 250));
  await Promise.all(keys.map((key) => find(instance, key)));
  const after = instance.observer.count("memory", "stale") + instance.observer.count("memory", "error");
  return answers.every((answer) => answer === "record") && after === unread;
}

/** Keys that exist are asked for all the time; "absent" would be a wrong verdict, and so would another's record. */
function startTraffic(instance: KeyInstance, keys: readonly CreatedKey[]) {
  const asked = [...keys];
  const wrong: string[] = [];
  let verdicts = 0;
  let running = true;
  const loop = (async () => {
    for (let index = 0; running; index += 1) {
      const key = asked[index % asked.length];
      if (key === undefined) continue;
      // Not one after the other: an outage must not slow the questions down.
      void find(instance, key).then(
        (verdict) => {
          verdicts += 1;
          if (verdict === "absent") wrong.push(`${key.keyId} absent`);
        },
        (error: unknown) => wrong.push(String(error)),
      );
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  })();
  return {
    verdicts: () => verdicts,
    /** Gives what was wrong. */
    async stop() {
      running = false;
      await loop;
      return wrong;
    },
  };
}
