import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { NO_FIELDS } from "../../src/keys/key-fields.ts";
import type { RedisConnection } from "../../src/keys/redis-connection.ts";
import { createRedisLayout } from "../../src/keys/redis-layout.ts";
import { createRedisStore } from "../../src/keys/redis-store.ts";
import { type KeyRecord, standing } from "../../src/keys/root-key.ts";
import { IncompleteChange, type Keyring, SourceUnavailable } from "../../src/keys/source.ts";
import { hashOf, recordOf } from "../support/key-parts.ts";
import { connectTo, describeRedis, startRedis, type TestRedis } from "../support/redis.ts";

const layout = createRedisLayout("sentinel:");
const READER = new Map([["reader", ["api.*.read_api"]]]);
const NARROW = new Map([["reader", ["api.*.list_apis"]]]);

type Command = readonly [string, ...(string | number)[]];

/** Two people change keys at once, and what one of them took away must not come back by the other. */
describeRedis("two changes at once", () => {
  let server: TestRedis;
  let redis: RedisConnection;

  /** A store whose commands pass `before` first, where somebody else may come in between, or the connection fail. */
  function storeOn(before: (command: Command) => Promise<void> = async () => {}) {
    const connection: RedisConnection = {
      ...redis,
      whenUp: (ms) => redis.whenUp(ms),
      call: async (...command) => {
        await before(command);
        return redis.call(...command);
      },
      pipeline: async (commands) => {
        for (const command of commands) await before(command);
        return redis.pipeline(commands);
      },
    };
    return createRedisStore(connection, {
      layout,
      keyPrefix: "unkey_",
      records: "redis",
      forgottenMs: 60_000,
      now: Date.now,
    });
  }

  /** `act` comes in between once, before the first command that `matches`. */
  function inBetween(matches: (command: Command) => boolean, act: () => Promise<unknown>) {
    let done = false;
    return storeOn(async (command) => {
      if (done || !matches(command)) return;
      done = true;
      await act();
    });
  }

  const keyring = (change: Partial<Keyring>): Keyring => ({
    records: [],
    roles: new Map(),
    workspaces: new Map(),
    ...change,
  });
  const get = async (keyId: string) => (await storeOn().get(keyId)) as KeyRecord;
  const isWrite = ([command, ...args]: Command) => command === "EVAL" && String(args[2]).includes("key:");

  beforeAll(async () => {
    server = await startRedis();
    redis = await connectTo(server);
  });
  beforeEach(async () => {
    server.cli("FLUSHALL");
    await storeOn().importKeyring(keyring({ roles: READER, workspaces: new Map([["ws", true]]) }));
  });
  afterAll(async () => {
    await redis.close();
    await server.close();
  });

  it("an update of the name does not bring a role back that was cleared meanwhile", async () => {
    const { keyId } = await storeOn().create({ ...NO_FIELDS, roles: ["reader"] });
    const renaming = inBetween(isWrite, () => storeOn().update(keyId, {}, ["roles"]));
    await renaming.update(keyId, { name: "new" }, []);
    expect(await get(keyId)).toMatchObject({ name: "new", roles: [], grants: new Set() });
  });

  it("an update does not let a key in whose workspace was disabled meanwhile", async () => {
    const { keyId } = await storeOn().create({ ...NO_FIELDS, workspaceId: "ws" });
    const disabling = () => storeOn().importKeyring(keyring({ workspaces: new Map([["ws", false]]) }));
    await inBetween(isWrite, disabling).update(keyId, { name: "new" }, []);
    expect(standing(await get(keyId), Date.now())).toBe("workspace_disabled");
  });

  it.each<[string, string]>([
    ["create", "SET"],
    ["update", "EVAL"],
    ["reroll", "SET"],
  ])("a %s does not keep what a role meant before it was redefined meanwhile", async (change, writes) => {
    const { keyId } = await storeOn().create({ ...NO_FIELDS, roles: change === "reroll" ? ["reader"] : [] });
    const redefining = () => storeOn().importKeyring(keyring({ roles: NARROW }));
    const store = inBetween(([command, key, ...args]) => {
      return command === writes && [key, ...args].some((arg) => String(arg).startsWith(layout.key("" as never)));
    }, redefining);
    const made =
      change === "create"
        ? (await store.create({ ...NO_FIELDS, roles: ["reader"] })).keyId
        : change === "update"
          ? (await store.update(keyId, { roles: ["reader"] }, [])).id
          : (await store.reroll(keyId, 0)).keyId;
    expect([...(await get(made)).grants]).toEqual(["api.*.list_apis"]);
  });

  it("an import gives a role its new meaning in a record that was made while it was being written, too", async () => {
    let keyId = "";
    const importing = inBetween(
      ([command]) => command === "HSET",
      async () => {
        keyId = (await storeOn().create({ ...NO_FIELDS, roles: ["reader"] })).keyId;
      },
    );
    await importing.importKeyring(keyring({ roles: NARROW }));
    expect([...(await get(keyId)).grants]).toEqual(["api.*.list_apis"]);
    expect(server.cli("XREVRANGE", layout.changes, "+", "-", "COUNT", "1")).toContain(keyId);
  });

  it.each([0, 60_000])(
    "a reroll (grace %s) does not make a working key of one that was disabled meanwhile",
    async (grace) => {
      const { keyId } = await storeOn().create(NO_FIELDS);
      const isNewKey = ([command, ...args]: Command) => command === "SET" && args[2] === "NX";
      const next = await inBetween(isNewKey, () => storeOn().setEnabled(keyId, false)).reroll(keyId, grace);
      expect(standing(await get(next.keyId), Date.now())).toBe("disabled");
      const left: string[] = [];
      for await (const { id } of storeOn().list()) left.push(id);
      expect(left.sort()).toEqual((grace === 0 ? [next.keyId] : [keyId, next.keyId]).sort());
    },
  );

  it("an import that finds a record changed since it looked takes everything back, and leaves that change", async () => {
    const { keyId } = await storeOn().create({ ...NO_FIELDS, roles: ["reader"] });
    const importing = inBetween(isWrite, () => storeOn().setEnabled(keyId, false));
    await expect(importing.importKeyring(keyring({ roles: NARROW }))).rejects.toThrow(
      /changed by someone else meanwhile\); nothing was changed/,
    );
    expect(await get(keyId)).toMatchObject({ enabled: false, grants: new Set(["api.*.read_api"]) });
    expect(server.cli("HGET", layout.roles, "reader")).toBe('["api.*.read_api"]');
  });

  it("an import that is taken back does not let a key in that was disabled meanwhile", async () => {
    await storeOn().importKeyring(keyring({ records: [recordOf("a")] }));
    let pages = 0;
    const failing = storeOn(async ([command, key]) => {
      if (command !== "SET" || !String(key).endsWith(`key:${hashOf("k999")}`)) return;
      pages += 1;
      await storeOn().setEnabled("key_a", false);
      throw new SourceUnavailable("lost");
    });
    const records = [recordOf("a", { name: "new" }), ...Array.from({ length: 1000 }, (_, i) => recordOf(`k${i}`))];
    await expect(failing.importKeyring(keyring({ records }))).rejects.toThrow("lost");
    expect(pages).toBe(1);
    expect((await get("key_a")).enabled).toBe(false);
    expect(await storeOn().get("key_k0")).toBeNull();
  });

  it("a delete of one id does not end the key of another, whatever the id leads to", async () => {
    const { keyId } = await storeOn().create(NO_FIELDS);
    const { hash } = await get(keyId);
    server.cli("SET", layout.id("key_other"), hash);
    server.cli("SET", layout.id("key_odd"), "no hash");
    for (const id of ["key_other", "key_odd"]) {
      await expect(storeOn().delete(id)).rejects.toMatchObject({ reason: "unknown" });
      expect(await storeOn().get(id)).toBeNull();
    }
    expect((await get(keyId)).id).toBe(keyId);
  });

  it("a key in its grace whose id can not be kept is not given a new end: nobody could manage it", async () => {
    const { keyId } = await storeOn().create(NO_FIELDS);
    await storeOn().reroll(keyId, 60_000);
    const before = await get(keyId);
    const failing = storeOn(async ([command]) => {
      if (command === "PERSIST") throw new SourceUnavailable("lost");
    });
    await expect(failing.update(keyId, { expiresAt: Date.now() + 3_600_000 }, [])).rejects.toThrow("lost");
    expect(await get(keyId)).toEqual(before);
  });

  it("the end of a rerolled key is announced even where its id can not be made to go with it", async () => {
    const { keyId } = await storeOn().create(NO_FIELDS);
    const failing = storeOn(async ([command]) => {
      if (command === "PEXPIRE") throw new SourceUnavailable("lost");
    });
    await failing.reroll(keyId, 60_000);
    expect(server.cli("XREVRANGE", layout.changes, "+", "-", "COUNT", "1")).toContain(keyId);
    expect((await get(keyId)).expiresAt).not.toBeNull();
  });

  it.each(["create", "update"] as const)(
    "a %s that can not look once more says so, and hands the secret over",
    async (change) => {
      const { keyId } = await storeOn().create({ ...NO_FIELDS, roles: ["reader"] });
      let looks = 0;
      const failing = storeOn(async ([command]) => {
        if (command === "HGET" && ++looks === 2) throw new SourceUnavailable("lost");
      });
      const failure = await (change === "create"
        ? failing.create({ ...NO_FIELDS, roles: ["reader"] })
        : failing.update(keyId, { name: "new" }, [])
      ).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(IncompleteChange);
      expect(failure).toMatchObject({ message: expect.stringMatching(/redefined meanwhile is not known \(lost\)/) });
      expect((failure as IncompleteChange).created !== null).toBe(change === "create");
    },
  );
});
