import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { hashKey } from "../../src/keys/bearer.ts";
import { encodeCopy, encodeRecord } from "../../src/keys/record-codec.ts";
import { connectRedis, type RedisConnection, RedisRefusal } from "../../src/keys/redis-connection.ts";
import { createRedisLayout } from "../../src/keys/redis-layout.ts";
import { createRedisSource } from "../../src/keys/redis-source.ts";
import { createRedisStore } from "../../src/keys/redis-store.ts";
import { type KeyRecord, standing } from "../../src/keys/root-key.ts";
import {
  IncompleteChange,
  type KeyFields,
  type Keyring,
  KeyStoreRefusal,
  SourceUnavailable,
} from "../../src/keys/source.ts";
import { countingObserver, hashOf, recordOf } from "../support/key-parts.ts";
import { describeRedis, startRedis, startShim, type TestRedis } from "../support/redis.ts";

const layout = createRedisLayout("sentinel:");
const FIELDS: KeyFields = {
  name: "CI",
  workspaceId: null,
  permissions: ["api.api_1.read_api"],
  roles: [],
  expiresAt: null,
  externalId: null,
  meta: {},
};

describeRedis("the store in Redis", () => {
  let server: TestRedis;
  let redis: RedisConnection;
  const opened: RedisConnection[] = [];
  const lines: string[] = [];

  async function open(url = server.url, commandTimeout = 5000): Promise<RedisConnection> {
    const connection = await connectRedis(
      { url, keyPrefix: "sentinel:", commandTimeout },
      {
        log: (_level, event, fields) => lines.push(`${event} ${JSON.stringify(fields)}`),
        mono: () => performance.now(),
      },
    );
    opened.push(connection);
    return connection;
  }

  const storeOn = (connection: RedisConnection, records: "redis" | "service" = "redis") =>
    createRedisStore(connection, { layout, keyPrefix: "unkey_", records, forgottenMs: 60_000, now: Date.now });
  const source = () =>
    createRedisSource({
      redis,
      layout,
      now: Date.now,
      mono: () => performance.now(),
      observer: countingObserver(),
      log: () => {},
    });
  const changes = () => server.cli("XRANGE", layout.changes, "-", "+").split("\n");

  beforeAll(async () => {
    server = await startRedis();
    redis = await open();
    expect(await redis.whenUp(5000)).toBe(true);
  });
  beforeEach(() => {
    server.cli("FLUSHALL");
    server.cli("CONFIG", "SET", "maxmemory", "0");
  });
  afterAll(async () => {
    for (const connection of opened) await connection.close();
    await server.close();
  });

  it("creates a key whose secret is in the answer and nowhere in Redis", async () => {
    const { keyId, key } = await storeOn(redis).create({ ...FIELDS, externalId: "user_1", meta: { team: "a" } });
    expect(keyId).toMatch(/^key_/);
    expect(key).toMatch(/^unkey_[1-9A-HJ-NP-Za-km-z]{24}$/);
    const { record } = await source().find(hashOf(key));
    expect(record).toMatchObject({
      id: keyId,
      name: "CI",
      enabled: true,
      start: key.slice(0, 10),
      identity: { externalId: "user_1", meta: {} },
      meta: { team: "a" },
    });
    const dump = server
      .cli("KEYS", "*")
      .split("\n")
      .map((name) => name + server.cli("DUMP", name))
      .join("\n");
    expect(dump).not.toContain(key.slice(11));
    expect(dump).not.toContain(key.slice(6, 14));
  });

  it("appends each change to the stream: op, hash, id, at", async () => {
    const store = storeOn(redis);
    const { keyId, key } = await store.create(FIELDS);
    await store.setEnabled(keyId, false);
    await store.delete(keyId);
    const lines = changes();
    expect(lines.filter((line) => line === "upsert")).toHaveLength(2);
    expect(lines.filter((line) => line === "delete")).toHaveLength(1);
    expect(lines.filter((line) => line === hashOf(key))).toHaveLength(3);
    expect(lines.filter((line) => line === keyId)).toHaveLength(3);
    expect(Math.abs(Number(lines[lines.indexOf("at") + 1]) - Date.now())).toBeLessThan(5000);
  });

  it("gets, finds by hash, and lists what is there", async () => {
    const store = storeOn(redis);
    const created = await Promise.all(Array.from({ length: 1200 }, () => store.create(FIELDS)));
    const first = created[0] ?? { keyId: "", key: "" };
    expect((await store.get(first.keyId))?.id).toBe(first.keyId);
    expect((await store.findByHash(hashOf(first.key)))?.id).toBe(first.keyId);
    expect(await store.get("key_nobody")).toBeNull();
    expect(await store.findByHash(hashOf("nobody"))).toBeNull();
    const ids: string[] = [];
    for await (const { id } of store.list()) ids.push(id);
    expect(ids.sort()).toEqual(created.map(({ keyId }) => keyId).sort());
  });

  it("updates what is given, clears what is named, and leaves the rest", async () => {
    const store = storeOn(redis);
    const { keyId } = await store.create({ ...FIELDS, externalId: "user_1", meta: { a: 1 } });
    const record = await store.update(keyId, { permissions: ["api.*.read_api"] }, ["name"]);
    expect(record).toMatchObject({ name: null, permissions: ["api.*.read_api"], meta: { a: 1 } });
    expect([...record.grants]).toEqual(["api.*.read_api"]);
    expect(await store.get(keyId)).toEqual(record);
    expect((await store.update(keyId, {}, ["external-id"])).identity).toBeNull();
  });

  it("does not lose a disable to an update made at the same time", async () => {
    const { keyId } = await storeOn(redis).create(FIELDS);
    const stores = await Promise.all(Array.from({ length: 4 }, async () => storeOn(await open())));
    await Promise.all([
      ...stores.map((store, index) => store.update(keyId, { name: `n${index}` }, [])),
      storeOn(redis).setEnabled(keyId, false),
    ]);
    expect((await storeOn(redis).get(keyId))?.enabled).toBe(false);
  });

  it.each<[string, Partial<KeyFields>]>([
    ["a permission that would satisfy nothing", { permissions: ["api.*.*"] }],
    ["a past expiry", { expiresAt: Date.now() - 1 }],
    ["an unknown role", { roles: ["nobody"] }],
    ["an unknown workspace", { workspaceId: "ws_nobody" }],
    ["a record over 64 KiB", { meta: { text: "x".repeat(70_000) } }],
    ["more permissions than are read back", { permissions: Array.from({ length: 2001 }, (_, i) => `a.${i}.r`) }],
    ["meta nested too deeply", { meta: JSON.parse(`{"a":${"[".repeat(50)}${"]".repeat(50)}}`) }],
  ])("refuses %s, and changes nothing", async (_name, change) => {
    await expect(storeOn(redis).create({ ...FIELDS, ...change })).rejects.toMatchObject({
      name: "KeyStoreRefusal",
      reason: "refused",
    });
    expect(server.cli("DBSIZE")).toBe("0");
  });

  it("says of an id that is not there that it is unknown", async () => {
    const store = storeOn(redis);
    const unknown = { name: "KeyStoreRefusal", reason: "unknown" };
    await expect(store.update("key_x", {}, [])).rejects.toMatchObject(unknown);
    await expect(store.setEnabled("key_x", true)).rejects.toMatchObject(unknown);
    await expect(store.reroll("key_x", 0)).rejects.toMatchObject(unknown);
    await expect(store.delete("key_x")).rejects.toMatchObject(unknown);
    await expect(store.forget({ id: "key_x" })).rejects.toMatchObject(unknown);
  });

  it("rerolls: a new id and secret, the old one gone at once, or at the end of its grace", async () => {
    const store = storeOn(redis);
    const old = await store.create(FIELDS);
    const next = await store.reroll(old.keyId, 0);
    expect(next.keyId).not.toBe(old.keyId);
    expect(await store.findByHash(hashOf(old.key))).toBeNull();
    expect(await store.get(old.keyId)).toBeNull();
    const last = await store.reroll(next.keyId, 60_000);
    const ending = (await store.get(next.keyId)) as KeyRecord;
    expect(standing(ending, Date.now())).toBe("valid");
    expect(standing(ending, Date.now() + 60_001)).toBe("expired");
    expect(Number(server.cli("PTTL", layout.key(hashOf(next.key))))).toBeGreaterThan(50_000);
    expect(Number(server.cli("PTTL", layout.id(next.keyId)))).toBeGreaterThan(50_000);
    expect((await store.findByHash(hashOf(last.key)))?.permissions).toEqual(FIELDS.permissions);
    await store.update(next.keyId, { expiresAt: Date.now() + 3_600_000 }, []);
    expect(server.cli("PTTL", layout.key(hashOf(next.key)))).toBe("-1");
  });

  it("says what holds when the record was written but not announced, and hands over the secret all the same", async () => {
    server.cli("SET", layout.changes, "not a stream");
    const failure = await storeOn(redis)
      .create(FIELDS)
      .catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(IncompleteChange);
    const { created, message } = failure as IncompleteChange;
    expect(message).toMatch(/was stored, but announcing it failed .*WRONGTYPE.*fresh/);
    expect((await source().find(hashOf(created?.key ?? ""))).record?.id).toBe(created?.keyId);
    await expect(storeOn(redis).setEnabled(created?.keyId ?? "", false)).rejects.toThrow(
      /was disabled, but announcing/,
    );
    expect((await source().find(hashOf(created?.key ?? ""))).record?.enabled).toBe(false);
    await expect(storeOn(redis).delete(created?.keyId ?? "")).rejects.toThrow(/was deleted, but announcing/);
    server.cli("DEL", layout.changes);
    await storeOn(redis).delete(created?.keyId ?? "");
    expect(changes()).toContain("delete");
  });

  it.each<[string, (port: number) => Promise<void>]>([
    ["down", async () => server.kill()],
    ["frozen", async () => server.freeze()],
  ])("changes nothing while Redis is %s", async (_name, breakIt) => {
    const { keyId } = await storeOn(redis).create(FIELDS);
    await breakIt(server.port);
    try {
      const late = storeOn(await open());
      await expect(late.create(FIELDS)).rejects.toBeInstanceOf(SourceUnavailable);
      await expect(late.setEnabled(keyId, false)).rejects.not.toBeInstanceOf(IncompleteChange);
    } finally {
      server.thaw();
      if (_name === "down") await server.restart();
    }
    const again = await open();
    expect(await again.whenUp(5000)).toBe(true);
    if (_name === "frozen") {
      expect((await storeOn(again).get(keyId))?.enabled).toBe(true);
      expect(server.cli("XLEN", layout.changes)).toBe("1");
    }
    expect(await redis.whenUp(5000)).toBe(true);
  });

  it("changes nothing while Redis is out of memory", async () => {
    server.cli("SET", "filler", "x".repeat(1000));
    server.cli("CONFIG", "SET", "maxmemory", "1mb");
    const failure = storeOn(redis).create(FIELDS);
    await expect(failure).rejects.toThrow(/OOM.*nothing was changed/);
    expect(server.cli("KEYS", "sentinel:*")).toBe("");
  });

  it("deletes while Redis is out of memory, and says that it could not be announced", async () => {
    const { keyId, key } = await storeOn(redis).create(FIELDS);
    server.cli("CONFIG", "SET", "maxmemory", "1mb");
    await expect(storeOn(redis).setEnabled(keyId, false)).rejects.toThrow(/OOM.*nothing was changed/);
    await expect(storeOn(redis).delete(keyId)).rejects.toThrow(/was deleted, but announcing it failed \(.*OOM/);
    expect(await storeOn(redis).findByHash(hashKey(key))).toBeNull();
    server.cli("CONFIG", "SET", "maxmemory", "0");
    await storeOn(redis).delete(keyId);
    expect(server.cli("XLEN", layout.changes)).toBe("2");
  });

  it("does not claim to know what became of a write that was never answered", async () => {
    const shim = await startShim(server.port);
    const slow = await open(shim.url);
    expect(await slow.whenUp(5000)).toBe(true);
    const { keyId } = await storeOn(redis).create(FIELDS);
    const store = storeOn({
      ...slow,
      call: (command, ...args) => {
        if (command === "EVAL") shim.set({ kind: "freeze" });
        return slow.call(command, ...args);
      },
      whenUp: (ms) => slow.whenUp(ms),
    });
    await expect(store.setEnabled(keyId, false)).rejects.toThrow(/not known whether/);
    await shim.close();
  });

  it("never logs a value, an argument or a secret", () => {
    expect(lines.join("\n")).not.toMatch(/unkey_|sentinel:|key_/);
    expect(lines.length).toBeGreaterThan(0);
  });

  const keyring = (records: readonly KeyRecord[], change: Partial<Keyring> = {}): Keyring => ({
    records,
    roles: new Map(),
    workspaces: new Map(),
    ...change,
  });

  it("imports a keyring, its roles and workspaces, and announces each record", async () => {
    const store = storeOn(redis);
    const records = Array.from({ length: 1500 }, (_, index) => recordOf(`k${index}`));
    const roles = new Map([["reader", ["api.*.read_api"]]]);
    const workspaces = new Map([["ws_acme", true]]);
    expect(await store.importKeyring(keyring(records, { roles, workspaces }))).toEqual({ created: 1500, updated: 0 });
    expect((await source().find(hashOf("k1499"))).record).toEqual(recordOf("k1499"));
    expect(server.cli("XLEN", layout.changes)).toBe("1500");
    const { keyId } = await store.create({ ...FIELDS, roles: ["reader"], workspaceId: "ws_acme" });
    expect([...((await store.get(keyId))?.grants ?? [])]).toEqual(["api.*.read_api", "api.api_1.read_api"]);
  });

  it("replaces by id on import: the old hash stops working", async () => {
    const store = storeOn(redis);
    await store.importKeyring(keyring([recordOf("a")]));
    const again = recordOf("new secret", { id: "key_a" });
    expect(await store.importKeyring(keyring([again]))).toEqual({ created: 0, updated: 1 });
    expect(await store.findByHash(hashOf("a"))).toBeNull();
    expect((await store.get("key_a"))?.hash).toBe(hashOf("new secret"));
    expect(changes()).toContain("delete");
  });

  it("refuses an import with a hash that another id holds, and writes nothing", async () => {
    const store = storeOn(redis);
    await store.importKeyring(keyring([recordOf("a")]));
    const attempt = store.importKeyring(keyring([recordOf("b"), recordOf("a", { id: "key_thief" })]));
    await expect(attempt).rejects.toBeInstanceOf(KeyStoreRefusal);
    expect(await store.get("key_b")).toBeNull();
  });

  it.each<[string, Partial<KeyRecord>]>([
    ["an expiry that would be taken for seconds", { expiresAt: Date.UTC(1970, 5) }],
    ["a creation before 1970", { createdAt: -1 }],
    [
      "more permissions by its roles than are read back",
      { grants: new Set(Array.from({ length: 2001 }, (_, i) => `a.${i}.r`)) },
    ],
  ])("refuses an import of a record with %s, and writes nothing", async (_name, change) => {
    const store = storeOn(redis);
    const attempt = store.importKeyring(keyring([recordOf("a"), recordOf("b", change)]));
    await expect(attempt).rejects.toMatchObject({ name: "KeyStoreRefusal", reason: "refused" });
    expect(await store.get("key_a")).toBeNull();
  });

  it("takes back what an import wrote when a later write fails", async () => {
    const store = storeOn(redis);
    await store.importKeyring(keyring([recordOf("a")]));
    let batches = 0;
    const failing = storeOn({
      ...redis,
      whenUp: async () => true,
      pipeline: async (commands) => {
        if (commands[0]?.[0] === "SET" && ++batches === 3) throw new SourceUnavailable("lost");
        return redis.pipeline(commands);
      },
    });
    const records = [recordOf("a", { name: "changed" }), ...Array.from({ length: 2000 }, (_, i) => recordOf(`k${i}`))];
    await expect(failing.importKeyring(keyring(records))).rejects.toThrow(/nothing was changed/);
    expect(await store.get("key_a")).toEqual(recordOf("a"));
    expect(server.cli("DBSIZE")).toBe("3");
  });

  it("gives a role or workspace its new meaning in the records that name it, too", async () => {
    const store = storeOn(redis);
    const roles = new Map([["reader", ["api.*.read_api"]]]);
    const workspaces = new Map([["ws_acme", true]]);
    await store.importKeyring(keyring([], { roles, workspaces }));
    const { keyId } = await store.create({ ...FIELDS, roles: ["reader"], workspaceId: "ws_acme" });
    await store.importKeyring(
      keyring([], { roles: new Map([["reader", ["api.*.list_apis"]]]), workspaces: new Map([["ws_acme", false]]) }),
    );
    const record = (await store.get(keyId)) as KeyRecord;
    expect([...record.grants]).toEqual(["api.*.list_apis", "api.api_1.read_api"]);
    expect(standing(record, Date.now())).toBe("workspace_disabled");
  });

  it("says that an import is in force but unannounced, and that a key it could not end still works", async () => {
    const store = storeOn(redis);
    const { keyId } = await store.create(FIELDS);
    const failing = (fails: (command: string, args: readonly unknown[]) => boolean) =>
      storeOn({
        ...redis,
        whenUp: async () => true,
        call: async (command, ...args) => {
          if (fails(command, args)) throw new SourceUnavailable("lost");
          return redis.call(command, ...args);
        },
        pipeline: async (commands) => {
          if (commands.some(([command, ...args]) => fails(command, args))) throw new SourceUnavailable("lost");
          return redis.pipeline(commands);
        },
      });
    const unannounced = failing((command) => command === "XADD").importKeyring(keyring([recordOf("z")]));
    await expect(unannounced).rejects.toThrow(/every record was stored, but announcing/);
    expect((await store.get("key_z"))?.id).toBe("key_z");

    const unended = await failing((command) => command === "EVAL")
      .reroll(keyId, 0)
      .catch((error: unknown) => error);
    expect(unended).toMatchObject({ created: { keyId: expect.stringMatching(/^key_/) } });
    expect(await store.get(keyId)).not.toBeNull();

    const unstored = await failing((command, args) => command === "SET" && String(args[0]).includes("key:"))
      .create(FIELDS)
      .catch((error: unknown) => error);
    expect(unstored).toMatchObject({ message: expect.stringMatching(/not known whether/) });
  });

  it("says how much of an import could not be taken back", async () => {
    let writes = 0;
    const failing = storeOn({
      ...redis,
      whenUp: async () => true,
      pipeline: async (commands) => {
        if (["SET", "EVAL"].includes(commands[0]?.[0] ?? "") && ++writes > 1) throw new SourceUnavailable("lost");
        return redis.pipeline(commands);
      },
    });
    const records = Array.from({ length: 600 }, (_, index) => recordOf(`k${index}`));
    await expect(failing.importKeyring(keyring(records))).rejects.toThrow(
      /could not be taken back: import the file again/,
    );
    expect(await storeOn(redis).importKeyring(keyring(records))).toMatchObject({ created: expect.any(Number) });
  });

  it("does not touch what is no record of the key", async () => {
    const store = storeOn(redis);
    const { keyId, key } = await store.create(FIELDS);
    server.cli("SET", layout.key(hashOf(key)), "hello");
    await expect(store.get(keyId)).rejects.toThrow(/no record of this key/);
    await expect(store.setEnabled(keyId, true)).rejects.toThrow(/nothing was changed/);
    await store.delete(keyId);
    expect(await store.get(keyId)).toBeNull();
  });

  it("does not take a shared copy for a record, nor another's record for the one an id names", async () => {
    const store = storeOn(redis);
    server.cli("SET", layout.id("key_a"), hashOf("a"));
    server.cli("SET", layout.key(hashOf("a")), encodeCopy(recordOf("a"), 1));
    await expect(store.get("key_a")).rejects.toThrow(/a shared copy/);
    server.cli("SET", layout.key(hashOf("a")), encodeRecord(recordOf("a", { id: "key_other" })));
    await expect(store.setEnabled("key_a", false)).rejects.toMatchObject({ reason: "unknown" });
    expect((await source().find(hashOf("a"))).record?.enabled).toBe(true);
  });

  it("lists records and nothing else that lies beside them", async () => {
    const store = storeOn(redis);
    const { keyId } = await store.create(FIELDS);
    server.cli("RPUSH", layout.key(hashOf("list")), "x");
    server.cli("SET", layout.key(hashOf("empty")), "");
    server.cli("SET", layout.key(hashOf("copy")), encodeCopy(recordOf("copy"), 1));
    server.cli("SET", layout.key(hashOf("moved")), encodeRecord(recordOf("a")));
    const ids: string[] = [];
    for await (const { id } of store.list()) ids.push(id);
    expect(ids).toEqual([keyId]);
  });

  /** A store whose commands are answered by `answer` where it does not give undefined. */
  const answering = (answer: (command: string, args: readonly unknown[]) => unknown) =>
    storeOn({
      ...redis,
      whenUp: async () => true,
      call: async (command, ...args) => {
        const value = answer(command, args);
        if (value instanceof Error) throw value;
        return value === undefined ? redis.call(command, ...args) : value;
      },
    });

  it("leaves nothing behind where the new id or hash is taken already, or the record is refused", async () => {
    const isSet = (prefix: string) => (command: string, args: readonly unknown[]) =>
      command === "SET" && String(args[0]).startsWith(prefix);
    const [isId, isKey] = [isSet(layout.id("")), isSet(layout.key("" as never))];
    const outcome = (answer: (command: string, args: readonly unknown[]) => unknown) =>
      answering(answer)
        .create(FIELDS)
        .catch((error: unknown) => error);
    expect(await outcome((...command) => (isId(...command) ? null : undefined))).toMatchObject({
      message: "the new id is taken already; nothing was changed",
    });
    expect(await outcome((...command) => (isKey(...command) ? null : undefined))).toBeInstanceOf(IncompleteChange);
    const refused = await outcome((...command) => (isKey(...command) ? new RedisRefusal("OOM", "SET") : undefined));
    expect(refused).toMatchObject({ message: "Redis refused SET (OOM); nothing was changed" });
    expect(refused).not.toBeInstanceOf(IncompleteChange);
    expect(server.cli("DBSIZE")).toBe("0");
  });

  it("hands the new secret over where the end of the old one was not announced", async () => {
    const { keyId } = await storeOn(redis).create(FIELDS);
    let announced = 0;
    const store = answering((command) => {
      if (command === "XADD" && ++announced === 2) return new SourceUnavailable("lost");
    });
    const failure = await store.reroll(keyId, 0).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      message: expect.stringMatching(new RegExp(`${keyId} was deleted, but announcing`)),
    });
    const { created } = failure as IncompleteChange;
    expect((await source().find(hashOf(created?.key ?? ""))).record?.id).toBe(created?.keyId);
    const unannounced = answering((command) => (command === "XADD" ? new SourceUnavailable("lost") : undefined));
    await expect(unannounced.setEnabled(created?.keyId ?? "", true)).rejects.toThrow(/was enabled, but announcing/);
  });

  it("gives a key its first identity, and refuses a meta that is no object", async () => {
    const store = storeOn(redis);
    const { keyId } = await store.create(FIELDS);
    expect((await store.update(keyId, { externalId: "user_1" }, [])).identity).toEqual({
      externalId: "user_1",
      meta: {},
    });
    const meta = [] as unknown as Record<string, unknown>;
    await expect(store.update(keyId, { meta }, [])).rejects.toThrow(/meta must be a JSON object/);
  });

  it("says that an import is in force where Redis refuses to announce it", async () => {
    server.cli("SET", layout.changes, "not a stream");
    await expect(storeOn(redis).importKeyring(keyring([recordOf("z")]))).rejects.toThrow(
      /every record was stored, but announcing them failed .*XADD \(WRONGTYPE\)/,
    );
    expect((await storeOn(redis).get("key_z"))?.id).toBe("key_z");
  });

  it("imports over an id without a record and over values that are none", async () => {
    server.cli("SET", layout.id("key_a"), hashOf("gone"));
    server.cli("RPUSH", layout.key(hashOf("a")), "x");
    expect(await storeOn(redis).importKeyring(keyring([recordOf("a")]))).toEqual({ created: 0, updated: 1 });
    expect(await storeOn(redis).get("key_a")).toEqual(recordOf("a"));
  });

  it("gives nothing for a role or workspace that nobody defines, once an import looks at what they mean", async () => {
    const store = storeOn(redis);
    const roles = new Map([["reader", ["api.*.read_api"]]]);
    const ghost = recordOf("g", {
      roles: ["ghost"],
      workspaceId: "ws_ghost",
      grants: new Set(["api.a.read_api", "api.g.x"]),
    });
    await store.importKeyring(keyring([ghost], { roles }));
    await store.importKeyring(keyring([], { roles: new Map([["reader", ["api.*.list_apis"]]]) }));
    const record = (await store.get("key_g")) as KeyRecord;
    expect([...record.grants]).toEqual(["api.a.read_api"]);
    expect(standing(record, Date.now())).toBe("workspace_disabled");
  });

  it("does not reroll a key that has expired", async () => {
    await storeOn(redis).importKeyring(keyring([recordOf("a", { expiresAt: 1_600_000_000_000 })]));
    await expect(storeOn(redis).reroll("key_a", 0)).rejects.toThrow(/has expired/);
  });

  it("forgets shared copies where a key service holds the records, and manages nothing else there", async () => {
    const store = storeOn(redis, "service");
    await expect(store.create(FIELDS)).rejects.toThrow(/live in the key service/);
    server.cli("SET", layout.id("key_a"), hashOf("a"));
    await store.forget({ id: "key_a" });
    await store.forget({ hash: hashOf("b") });
    expect(changes().filter((line) => line === "forget")).toHaveLength(2);
    expect(server.cli("GET", layout.key(hashOf("a")))).toContain("forgotten");
  });

  it("does not harm a record of its own when told to forget it", async () => {
    const store = storeOn(redis);
    const { keyId } = await store.create(FIELDS);
    await store.forget({ id: keyId });
    expect((await store.get(keyId))?.id).toBe(keyId);
    expect(changes()).toContain("forget");
  });

  it("waits for every live instance and every worker of it, and names those that do not answer", async () => {
    const store = storeOn(redis);
    expect(await store.waitForInstances(1000)).toMatchObject({ instances: 0, acknowledged: 0, missing: [] });
    for (const follower of ["alpha/0", "alpha/1", "beta/0", "gone/0"]) {
      server.cli("ZADD", layout.instances, "1", follower);
      if (follower !== "gone/0") server.cli("SET", layout.instance(follower), "1-0", "PX", "15000");
    }
    const { keyId } = await store.create(FIELDS);
    await store.setEnabled(keyId, false);
    const last = server.cli("XREVRANGE", layout.changes, "+", "-", "COUNT", "1").split("\n")[0] ?? "";
    server.cli("SET", layout.instance("alpha/0"), last, "PX", "15000");
    server.cli("SET", layout.instance("beta/0"), last, "PX", "15000");
    expect(await store.waitForInstances(150)).toMatchObject({ instances: 2, acknowledged: 1, missing: ["alpha"] });
    const waiting = store.waitForInstances(5000);
    server.cli("SET", layout.instance("alpha/1"), last, "PX", "15000");
    expect(await waiting).toMatchObject({ instances: 2, acknowledged: 2, missing: [] });
  });
});
