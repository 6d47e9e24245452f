import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connectRedis } from "../../src/keys/redis-connection.ts";
import { createRedisLayout } from "../../src/keys/redis-layout.ts";
import { createRedisStore } from "../../src/keys/redis-store.ts";
import { createSharedSource } from "../../src/keys/shared-source.ts";
import { openKeyInstance } from "../support/key-instance.ts";
import { countingObserver, hashOf, recordOf, until } from "../support/key-parts.ts";
import { describeRedis, startRedis, type TestRedis } from "../support/redis.ts";

/** The rules as docs/operations.md gives them: what operators copy is what is tested. */
function ruleOf(user: string): string[] {
  const page = readFileSync(new URL("../../docs/operations.md", import.meta.url), "utf8");
  const rule = new RegExp(`ACL SETUSER ${user} ([^\`]*)\`\`\``).exec(page)?.[1] ?? "";
  return rule.trim().split(/\s+/);
}

describeRedis("the users of docs/operations.md", () => {
  let server: TestRedis;
  const layout = createRedisLayout("sentinel:");
  const deps = { log: () => {}, mono: () => performance.now() };
  const settings = (user: string) => ({
    url: `redis://${user}:PASSWORD@127.0.0.1:${server.port}`,
    keyPrefix: "sentinel:",
    commandTimeout: 5000,
  });

  beforeAll(async () => {
    server = await startRedis();
    for (const user of ["sentinel-gateway", "sentinel-keys"]) {
      expect(server.cli("ACL", "SETUSER", user, ...ruleOf(user))).toBe("OK");
    }
  });
  afterAll(() => server.close());

  it("have all the rights they need, and the gateway's none to make a key", async () => {
    const instance = await openKeyInstance(settings("sentinel-gateway"), { name: "alpha" });
    const redis = await connectRedis(settings("sentinel-keys"), deps);
    const store = createRedisStore(redis, {
      layout,
      keyPrefix: "unkey_",
      records: "redis",
      forgottenMs: 60_000,
      now: Date.now,
    });
    await until("following", () => instance.isFollowing());
    const roles = new Map([["reader", ["api.*.read_api"]]]);
    await store.importKeyring({ records: [recordOf("a")], roles, workspaces: new Map([["ws", true]]) });
    await store.importKeyring({
      records: [recordOf("a2", { id: "key_a" })],
      roles,
      workspaces: new Map([["ws", false]]),
    });
    const fields = { name: null, permissions: [], expiresAt: null, externalId: null, meta: {} };
    const { keyId, key } = await store.create({ ...fields, roles: ["reader"], workspaceId: "ws" });
    expect((await instance.memory.find(hashOf(key))).record?.id).toBe(keyId);
    await store.update(keyId, { expiresAt: Date.now() + 60_000 }, []);
    const next = await store.reroll(keyId, 60_000);
    await store.forget({ id: next.keyId });
    for await (const record of store.list()) expect(record.id).toMatch(/^key_/);
    await store.delete(next.keyId);
    expect(await store.waitForInstances(3000)).toMatchObject({ instances: 1, acknowledged: 1 });
    expect((await instance.memory.find(hashOf(next.key))).record).toBeNull();
    await expect(instance.redis.call("SET", layout.key(hashOf("x")), "x")).rejects.toMatchObject({ code: "NOPERM" });
    await expect(redis.call("FLUSHALL")).rejects.toMatchObject({ code: "NOPERM" });
    await instance.close();
    expect(server.cli("EXISTS", layout.instance("alpha/0"))).toBe("0");
    await redis.close();
  });

  it("of an http source's gateway can share copies with the rights that are added", async () => {
    const page = readFileSync(new URL("../../docs/operations.md", import.meta.url), "utf8");
    const added = /With an `http` source add `([^`]*)`/.exec(page)?.[1]?.split(" ") ?? [];
    expect(server.cli("ACL", "SETUSER", "sentinel-gateway", ...added)).toBe("OK");
    const redis = await connectRedis(settings("sentinel-gateway"), deps);
    await redis.whenUp(5000);
    const service = {
      find: async () => ({ record: recordOf("b"), asOf: Date.now(), tier: "http" as const }),
      readiness: () => ({ ready: true, reason: "" }),
      close: async () => {},
    };
    const source = createSharedSource(
      service,
      { sharedFreshMs: 60_000, idLifetimeMs: 60_000, forgottenMs: 60_000 },
      { redis, layout, now: Date.now, observer: countingObserver(), ...deps },
    );
    await source.find(hashOf("b"));
    await until("shared", () => server.cli("GET", layout.id("key_b")) === hashOf("b"));
    source.invalidate(hashOf("b"), "1-0");
    await until("marked", () => server.cli("GET", layout.key(hashOf("b"))).includes("forgotten"));
    await redis.close();
  });
});
