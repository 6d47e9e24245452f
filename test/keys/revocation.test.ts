import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { NO_FIELDS } from "../../src/keys/key-fields.ts";
import { connectRedis, type RedisConnection } from "../../src/keys/redis-connection.ts";
import { createRedisLayout } from "../../src/keys/redis-layout.ts";
import { createRedisStore } from "../../src/keys/redis-store.ts";
import type { SharedKeyStore } from "../../src/keys/source.ts";
import { type InstanceSettings, type KeyInstance, openKeyInstance } from "../support/key-instance.ts";
import { hashOf, recordOf, until } from "../support/key-parts.ts";
import { describeRedis, type Shim, startRedis, startShim, type TestRedis } from "../support/redis.ts";

/** What a machine that hangs may add to any time here: less than the ten seconds after which a record is asked for anyway. */
const HANG_MS = 8000;

const layout = createRedisLayout("sentinel:");

describeRedis("a revocation", () => {
  let server: TestRedis;
  let redis: RedisConnection;
  let store: SharedKeyStore;
  let shim: Shim;
  const instances: KeyInstance[] = [];

  beforeAll(async () => {
    server = await startRedis();
    const settings = { url: server.url, keyPrefix: "sentinel:", commandTimeout: 500 };
    redis = await connectRedis(settings, { log: () => {}, mono: () => performance.now() });
    store = createRedisStore(redis, {
      layout,
      keyPrefix: "unkey_",
      records: "redis",
      forgottenMs: 60_000,
      now: Date.now,
    });
  });
  beforeEach(async () => {
    shim = await startShim(server.port);
  });
  afterEach(async () => {
    shim.set({ kind: "none" });
    for (const instance of instances.splice(0)) await instance.close();
    await shim.close();
    server.cli("FLUSHALL");
  });
  afterAll(async () => {
    await redis.close();
    await server.close();
  });

  async function open(settings: InstanceSettings = {}): Promise<KeyInstance> {
    const instance = await openKeyInstance({ url: server.url, commandTimeout: 500 }, settings);
    instances.push(instance);
    await until("following", () => instance.isFollowing());
    return instance;
  }

  async function accepts(instance: KeyInstance, key: string): Promise<boolean> {
    const { record } = await instance.memory.find(hashOf(key));
    return record?.enabled === true;
  }

  it("reaches three instances within a second, and --wait says when it has", async () => {
    const all = [await open({ name: "alpha" }), await open({ name: "beta" }), await open({ name: "gamma" })];
    for (let round = 0; round < 20; round += 1) {
      const { keyId, key } = await store.create(NO_FIELDS);
      for (const instance of all) expect(await accepts(instance, key)).toBe(true);
      const startedAt = performance.now();
      await store.setEnabled(keyId, false);
      expect(await store.waitForInstances(5000)).toMatchObject({ instances: 3, acknowledged: 3, missing: [] });
      expect(performance.now() - startedAt).toBeLessThan(HANG_MS);
      // What --wait promises: not one of them accepts it from here on.
      for (const instance of all) expect(await accepts(instance, key)).toBe(false);
    }
    for (const { lags } of all) expect(lags.length).toBeGreaterThanOrEqual(20);
  });

  it("of a key that is deleted, and a creation of one that was asked for before, are acted on alike", async () => {
    const instance = await open();
    const { keyId, key } = await store.create(NO_FIELDS);
    expect(await accepts(instance, key)).toBe(true);
    await store.delete(keyId);
    await until("refused", async () => !(await accepts(instance, key)), HANG_MS);
    expect((await instance.memory.find(hashOf(key))).record).toBeNull();
    const records = [recordOf("again", { hash: hashOf(key) })];
    await store.importKeyring({ records, roles: new Map(), workspaces: new Map() });
    await until("accepted again", () => accepts(instance, key), HANG_MS);
  });

  it.each(["freeze", "cut"] as const)(
    "is in force at the latest `fresh` after where the way to the stream is lost (%s), and what was missed is caught up on",
    async (kind) => {
      const freshMs = 1500;
      const instance = await open({ freshMs, feed: { url: shim.url } });
      const { keyId, key } = await store.create(NO_FIELDS);
      expect(await accepts(instance, key)).toBe(true);
      shim.set({ kind: kind === "cut" ? "refuse" : "freeze" });
      if (kind === "cut") shim.cut();
      await until("looked up lately", () => accepts(instance, key));
      const revokedAt = performance.now();
      await store.setEnabled(keyId, false);
      let acceptedAt = revokedAt;
      await until("refused", async () => {
        const accepted = await accepts(instance, key);
        if (accepted) acceptedAt = performance.now();
        return !accepted;
      });
      expect(acceptedAt - revokedAt).toBeLessThan(freshMs + HANG_MS);
      await until("noticed", () => !instance.isFollowing(), HANG_MS);
      const lagsBefore = instance.lags.length;
      shim.set({ kind: "none" });
      await until("following again", () => instance.isFollowing());
      await until("caught up", () => instance.lags.length > lagsBefore);
      expect(instance.events.map((event) => event.kind)).toEqual(["following", "lost", "following"]);
    },
  );

  it("reaches an instance whose connection for records outlived a failover", async () => {
    const replica = await startRedis(["--replicaof", "127.0.0.1", String(server.port)]);
    try {
      await until("replicated", () => replica.cli("INFO", "replication").includes("master_link_status:up"));
      const instance = await openKeyInstance({ url: shim.url, commandTimeout: 500 });
      instances.push(instance);
      await until("following", () => instance.isFollowing());
      const { keyId, key } = await store.create(NO_FIELDS);
      expect(await accepts(instance, key)).toBe(true);

      // As behind an address that moves: connections that are open stay with the old master, which only ends blocked reads.
      shim.moveTo(replica.port);
      await until("failed over", () => {
        // Refused while one is under way; `FORCE`: after a second it goes on without the last word of the replica.
        server.cli("FAILOVER", "TO", "127.0.0.1", String(replica.port), "FORCE", "TIMEOUT", "1000");
        return replica.cli("INFO", "replication").includes("role:master");
      });
      server.cli("REPLICAOF", "127.0.0.1", "1");
      await until("following the new master", () => replica.cli("EXISTS", layout.instance("alpha/0")) === "1");

      replica.cli("DEL", layout.key(hashOf(key)));
      replica.cli("XADD", layout.changes, "*", "op", "delete", "hash", hashOf(key), "id", keyId, "at", "0");
      await until(
        "refused",
        () =>
          accepts(instance, key).then(
            (accepted) => !accepted,
            () => false,
          ),
        HANG_MS,
      );
    } finally {
      server.cli("REPLICAOF", "NO", "ONE");
      await replica.close();
    }
  });

  it("names the instance that did not act, and gives up in time", async () => {
    await open({ name: "alpha" });
    await open({ name: "beta", feed: { url: shim.url } });
    const { keyId } = await store.create(NO_FIELDS);
    await store.waitForInstances(3000);
    shim.set({ kind: "freeze" });
    await store.setEnabled(keyId, false);
    const report = await store.waitForInstances(400);
    expect(report).toMatchObject({ instances: 2, acknowledged: 1, missing: ["beta"] });
    expect(report.ms).toBeGreaterThanOrEqual(400);
  });

  it("does not wait for an instance that ended", async () => {
    const instance = await open({ name: "alpha" });
    await store.create(NO_FIELDS);
    expect(await store.waitForInstances(3000)).toMatchObject({ instances: 1 });
    await instance.close();
    await store.create(NO_FIELDS);
    expect(await store.waitForInstances(300)).toMatchObject({ instances: 0, missing: [] });
  });

  it("that can no longer be read about makes memory forget everything: the stream was trimmed meanwhile", async () => {
    const instance = await open({ feed: { url: shim.url } });
    const { keyId, key } = await store.create(NO_FIELDS);
    expect(await accepts(instance, key)).toBe(true);
    shim.set({ kind: "refuse" });
    shim.cut();
    await until("noticed", () => !instance.isFollowing());
    await store.setEnabled(keyId, false);
    await store.create(NO_FIELDS);
    server.cli("XTRIM", layout.changes, "MAXLEN", "1");
    shim.set({ kind: "none" });
    await until("gap", () => instance.events.some(({ kind }) => kind === "gap"));
    expect(await accepts(instance, key)).toBe(false);
  });

  it("by flushing Redis is noticed within two seconds behind a connection that lives", async () => {
    const instance = await open();
    const { key } = await store.create(NO_FIELDS);
    expect(await accepts(instance, key)).toBe(true);
    server.cli("FLUSHALL");
    await until("gap", () => instance.events.some(({ kind }) => kind === "gap"), HANG_MS);
    expect((await instance.memory.find(hashOf(key))).record).toBeNull();
  });

  it("is not lost in a flood of entries that are none", async () => {
    const instance = await open();
    const { keyId, key } = await store.create(NO_FIELDS);
    expect(await accepts(instance, key)).toBe(true);
    for (let batch = 0; batch < 20; batch += 1) {
      const noise = ["XADD", layout.changes, "*", "op", "?", "hash", "x".repeat(500)] as const;
      await redis.pipeline(Array.from({ length: 500 }, () => noise));
    }
    await store.setEnabled(keyId, false);
    await until("refused", async () => !(await accepts(instance, key)), HANG_MS);
  });
});
