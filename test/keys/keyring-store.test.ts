import { writeFileSync } from "node:fs";
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { hashKey } from "../../src/keys/bearer.ts";
import { editFile } from "../../src/keys/file-edit.ts";
import { NO_FIELDS } from "../../src/keys/key-fields.ts";
import { KeyringInvalid, parseKeyring } from "../../src/keys/keyring-file.ts";
import { createKeyringStore } from "../../src/keys/keyring-store.ts";
import { type KeyRecord, standing } from "../../src/keys/root-key.ts";
import { type KeyStore, KeyStoreRefusal, SourceUnavailable } from "../../src/keys/source.ts";

const NOW = Date.parse("2027-01-01T00:00:00Z");
const LATER = Date.parse("2027-06-01T00:00:00Z");
const HASH = "FbbDyNvesllHaCyuOnZ/KrBK6jLxqvALodX93jAPHtM=";

const KEYRING = `# Who may call us
workspaces:
  - { id: ws_acme, enabled: true } # the one
roles:
  - { name: reader, permissions: [api.*.read_api] }
keys:
  # Continuous integration
  - id: key_ci
    name: "CI" # in quotes
    hash: ${HASH}
    workspaceId: ws_acme
    permissions: [api.api_1234.read_api, ratelimit.*.read_namespace]
    roles: [reader]
    expiresAt: 2027-06-01T00:00:00Z
    identity: { externalId: team_ci, meta: { plan: pro } }

  # The other one
  - id: key_b
    hash: ${hashKey("unkey_b")}
    permissions:
      - api.a.read # because
      - api.b.read

# The end
`;

let folder: string;
let path: string;
let store: KeyStore;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "keyring-"));
  path = join(folder, "keys.yaml");
  store = createKeyringStore({ path, prefix: "unkey_", now: () => NOW });
});

afterEach(async () => {
  await store.close();
  await rm(folder, { recursive: true });
});

const write = (text: string) => writeFile(path, text);
const read = () => readFile(path, "utf8");

async function all(): Promise<KeyRecord[]> {
  const records: KeyRecord[] = [];
  for await (const record of store.list()) records.push(record);
  return records;
}

describe("create", () => {
  it("makes the file, for its owner alone, and gives the secret that it does not hold", async () => {
    const { keyId, key } = await store.create({
      name: "New",
      workspaceId: null,
      permissions: ["api.*.read_api"],
      roles: [],
      expiresAt: LATER,
      externalId: "user_1",
      meta: { plan: "pro", seats: 3 },
    });
    expect(key).toMatch(/^unkey_[1-9A-HJ-NP-Za-km-z]{24}$/);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await read()).not.toContain(key);
    expect(await read()).toBe(`keys:
  - id: ${keyId}
    name: New
    hash: ${hashKey(key)}
    start: ${key.slice(0, 10)}
    permissions: [api.*.read_api]
    expiresAt: 2027-06-01T00:00:00Z
    meta: { plan: pro, seats: 3 }
    identity: { externalId: user_1 }
    createdAt: 2027-01-01T00:00:00Z
    updatedAt: 2027-01-01T00:00:00Z
`);
    expect(await store.findByHash(hashKey(key))).toMatchObject({
      id: keyId,
      name: "New",
      enabled: true,
      expiresAt: LATER,
      permissions: ["api.*.read_api"],
      identity: { externalId: "user_1", meta: {} },
      meta: { plan: "pro", seats: 3 },
      createdAt: NOW,
      updatedAt: NOW,
    });
    expect(await readdir(folder)).toEqual(["keys.yaml"]);
  });

  it.each(["", "# only a comment\n", "keys: []\n", "keys:\n", "workspaces: []\n", "---\n", "{}\n", "null\n"])(
    "adds to %j, keeping what is there",
    async (text) => {
      await write(text);
      const first = await store.create(NO_FIELDS);
      const second = await store.create({ ...NO_FIELDS, name: "yes" });
      expect((await all()).map(({ id, name }) => [id, name])).toEqual([
        [first.keyId, null],
        [second.keyId, "yes"],
      ]);
      if (text.startsWith("#")) expect(await read()).toContain("# only a comment");
    },
  );

  it("keeps comments, order and layout", async () => {
    await write(KEYRING);
    const { keyId, key } = await store.create({ ...NO_FIELDS, roles: ["reader"], workspaceId: "ws_acme" });
    expect(await read()).toBe(
      KEYRING.replace(
        "\n# The end\n",
        `
  - id: ${keyId}
    hash: ${hashKey(key)}
    start: ${key.slice(0, 10)}
    workspaceId: ws_acme
    roles: [reader]
    createdAt: 2027-01-01T00:00:00Z
    updatedAt: 2027-01-01T00:00:00Z

# The end
`,
      ),
    );
    expect((await store.get(keyId))?.grants).toEqual(new Set(["api.*.read_api"]));
  });

  it.each([
    ["lists at the margin", `keys:\n- id: key_a\n  hash: ${HASH}\n`],
    ["padded lists", `keys:\n  - { id: key_a, hash: ${HASH}, permissions: [ a.1.r ] }\n`],
    ["mappings without padding", `keys:\n  - {id: key_a, hash: ${HASH}, permissions: [a.1.r]}\n`],
    ["Windows line ends", `keys:\r\n  - id: key_a\r\n    hash: ${HASH}\r\n`],
    ["a document start", `---\nkeys:\n  - id: key_a\n    hash: ${HASH}\n`],
    ["long lines", `keys:\n  - id: key_a\n    hash: ${HASH}\n    name: ${"long name ".repeat(20)}x\n`],
  ])("leaves %s as they were", async (_, text) => {
    await write(text);
    await store.create(NO_FIELDS);
    expect((await read()).startsWith(text)).toBe(true);
  });

  it.each([
    ["a grant that satisfies nothing", { permissions: ["*"] }, "would satisfy nothing"],
    ["a past expiry", { expiresAt: NOW }, "not in the future"],
    ["a role that is not defined", { roles: ["raeder"] }, "role 'raeder' is not defined; did you mean \"reader\"?"],
    ["a workspace that is not defined", { workspaceId: "ws_b" }, "workspace 'ws_b' is not defined"],
    ["meta that JSON can not hold", { meta: { a: Number.NaN } }, "meta must be what JSON can hold"],
  ])("refuses %s and writes nothing", async (_, fields, message) => {
    await write(KEYRING);
    const attempt = store.create({ ...NO_FIELDS, ...fields });
    await expect(attempt).rejects.toThrow(message);
    await expect(attempt).rejects.toMatchObject({ name: "KeyStoreRefusal", reason: "refused" });
    expect(await read()).toBe(KEYRING);
  });

  it("loses none of many that are made at once", async () => {
    await write(KEYRING);
    const other = createKeyringStore({ path, prefix: "unkey_", now: () => NOW });
    const created = await Promise.all(
      Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? store : other).create({ ...NO_FIELDS, name: `n${i}` })),
    );
    const ids = (await all()).map(({ id }) => id);
    for (const { keyId } of created) expect(ids).toContain(keyId);
    expect(ids).toHaveLength(12);
    expect(await readdir(folder)).toEqual(["keys.yaml"]);
  });
});

describe("update", () => {
  it("changes what is given and keeps the rest, its comments too", async () => {
    await write(KEYRING);
    const record = await store.update("key_b", { name: "Bee", permissions: ["api.a.read", "api.c.read"] }, []);
    expect(record).toMatchObject({ name: "Bee", permissions: ["api.a.read", "api.c.read"], updatedAt: NOW });
    expect(await read()).toBe(
      KEYRING.replace(
        "      - api.b.read\n",
        "      - api.c.read\n    name: Bee\n    updatedAt: 2027-01-01T00:00:00Z\n",
      ),
    );
  });

  it("clears members", async () => {
    await write(KEYRING);
    const clear = ["name", "workspace", "permissions", "roles", "expires", "external-id", "meta"] as const;
    expect(await store.update("key_ci", {}, clear)).toMatchObject({
      name: null,
      workspaceId: null,
      permissions: [],
      roles: [],
      expiresAt: null,
      identity: null,
      meta: {},
    });
  });

  it("keeps what else an identity holds", async () => {
    await write(KEYRING);
    const { identity } = await store.update("key_ci", { externalId: "team_b" }, []);
    expect(identity).toEqual({ externalId: "team_b", meta: { plan: "pro" } });
    expect(await store.update("key_b", { externalId: "x" }, [])).toMatchObject({ identity: { externalId: "x" } });
  });

  it("replaces values that YAML would read as something else", async () => {
    await write(KEYRING);
    for (const name of ["yes", "null", "7", "# not a comment", "a: b", "*x", "- y", "é 😀", " spaces "]) {
      expect((await store.update("key_ci", { name }, [])).name).toBe(name);
    }
  });
});

describe("reroll", () => {
  it("gives a new id and secret, and lets the old one live for the grace", async () => {
    await write(KEYRING);
    const { keyId, key } = await store.reroll("key_ci", 60_000);
    const old = await store.get("key_ci");
    const made = await store.get(keyId);
    expect(old).toMatchObject({ hash: HASH, expiresAt: NOW + 60_000, updatedAt: NOW });
    expect(standing(old as KeyRecord, NOW + 59_999)).toBe("valid");
    expect(standing(old as KeyRecord, NOW + 60_000)).toBe("expired");
    expect(made).toEqual({
      ...old,
      id: keyId,
      hash: hashKey(key),
      start: key.slice(0, 10),
      expiresAt: LATER,
      createdAt: NOW,
      updatedAt: NOW,
    });
  });

  it("never lengthens the life of the old key", async () => {
    await write(KEYRING);
    await store.reroll("key_ci", 1e12);
    expect((await store.get("key_ci"))?.expiresAt).toBe(LATER);
  });

  it("ends the old one at once where there is no grace", async () => {
    await write(KEYRING);
    const { keyId } = await store.reroll("key_ci", 0);
    expect((await all()).map(({ id }) => id)).toEqual([keyId, "key_b"]);
  });

  it("refuses a key that has expired: the new one would be born expired", async () => {
    await write(KEYRING.replace("2027-06-01", "2026-06-01"));
    await expect(store.reroll("key_ci", 0)).rejects.toThrow("key key_ci has expired");
    expect(await all()).toHaveLength(2);
  });

  it("leaves a disabled key disabled", async () => {
    await write(KEYRING);
    await store.setEnabled("key_ci", false);
    const { keyId } = await store.reroll("key_ci", 0);
    expect((await store.get(keyId))?.enabled).toBe(false);
  });
});

describe("disable, enable and delete", () => {
  it("say so in the file", async () => {
    await write(KEYRING);
    expect((await store.setEnabled("key_ci", false)).enabled).toBe(false);
    expect(await read()).toContain("enabled: false");
    expect((await store.setEnabled("key_ci", true)).enabled).toBe(true);
    await store.delete("key_ci");
    expect((await all()).map(({ id }) => id)).toEqual(["key_b"]);
    await store.delete("key_b");
    expect(await all()).toEqual([]);
    expect(await read()).toContain("# Who may call us");
    expect(parseKeyring(await read(), path).kind).toBe("keyring");
  });

  it("refuse an id that nobody has, and write nothing", async () => {
    await write(KEYRING);
    for (const attempt of [
      () => store.delete("key_none"),
      () => store.setEnabled("key_none", false),
      () => store.reroll("key_none", 0),
      () => store.update("key_none", { name: "x" }, []),
    ]) {
      await expect(attempt()).rejects.toMatchObject({ name: "KeyStoreRefusal", reason: "unknown" });
    }
    expect(await read()).toBe(KEYRING);
    expect(await store.get("key_none")).toBeNull();
    expect(await store.findByHash(hashKey("unkey_none"))).toBeNull();
  });
});

describe("a file that can not be changed", () => {
  it.each([
    ["is no keyring", "keys: nope\n"],
    ["is cut off", KEYRING.slice(0, 300)],
    ["has a grant that satisfies nothing", KEYRING.replace("api.a.read", '"*"')],
  ])("because it %s is left as it is", async (_, text) => {
    await write(text);
    await expect(store.create(NO_FIELDS)).rejects.toThrow(KeyringInvalid);
    await expect(store.get("key_ci")).rejects.toThrow(KeyringInvalid);
    expect(await read()).toBe(text);
    expect(await readdir(folder)).toEqual(["keys.yaml"]);
  });

  it("because aliases share a value between keys is left as it is", async () => {
    const text = `keys:
  - { id: key_a, hash: ${HASH}, permissions: &p [a.1.r] }
  - { id: key_b, hash: ${hashKey("unkey_b")}, permissions: *p }
`;
    await write(text);
    await expect(store.update("key_a", { permissions: ["b.1.r"] }, [])).rejects.toThrow("only be changed by hand");
    expect(await read()).toBe(text);
  });

  it("because its folder is not there is out of reach", async () => {
    const lost = createKeyringStore({ path: join(folder, "no/keys.yaml"), prefix: "", now: () => NOW });
    await expect(lost.create(NO_FIELDS)).rejects.toThrow(SourceUnavailable);
    await expect(lost.create(NO_FIELDS)).rejects.toThrow("there is no such folder");
  });

  it("because it is a folder is out of reach", async () => {
    await mkdir(path);
    await expect(store.create(NO_FIELDS)).rejects.toThrow(SourceUnavailable);
    await expect(store.get("key_a")).rejects.toThrow("it is a folder");
  });
});

describe("the file itself", () => {
  it("keeps its mode", async () => {
    await write(KEYRING);
    await chmod(path, 0o640);
    await store.setEnabled("key_ci", false);
    expect((await stat(path)).mode & 0o777).toBe(0o640);
  });

  it("stays where a link leads, and the link a link", async () => {
    await mkdir(join(folder, "real"));
    const real = join(folder, "real", "keys.yaml");
    await writeFile(real, KEYRING);
    await symlink("real/keys.yaml", path);
    await store.setEnabled("key_ci", false);
    expect(await readlink(path)).toBe("real/keys.yaml");
    expect(await readFile(real, "utf8")).toContain("enabled: false");
    expect(await readdir(join(folder, "real"))).toEqual(["keys.yaml"]);
  });

  it("is made where a link leads that leads nowhere yet", async () => {
    await symlink("new.yaml", path);
    const { keyId } = await store.create(NO_FIELDS);
    expect(await readFile(join(folder, "new.yaml"), "utf8")).toContain(keyId);
  });

  it("is out of reach behind links that go in a circle", async () => {
    await symlink("keys.yaml", path);
    await expect(store.create(NO_FIELDS)).rejects.toThrow(SourceUnavailable);
  });

  it("is changed again from what an editor wrote in between", async () => {
    await write("1\n");
    let calls = 0;
    await editFile(path, (content) => {
      calls += 1;
      // An editor knows nothing of the lock.
      if (calls === 1) writeFileSync(path, "2\n");
      return `${content}more\n`;
    });
    expect(await read()).toBe("2\nmore\n");
    expect(calls).toBe(2);
  });

  it("is given up when it changes each time", async () => {
    let calls = 0;
    const attempt = editFile(path, () => {
      calls += 1;
      writeFileSync(path, `${calls}\n`);
      return "mine";
    });
    await expect(attempt).rejects.toThrow("keeps changing");
    expect(await read()).toBe("5\n");
    expect(await readdir(folder)).toEqual(["keys.yaml"]);
  });

  it("is not written when nothing changes", async () => {
    await write("same");
    const before = await stat(path);
    await editFile(path, (content) => content);
    expect((await stat(path)).ino).toBe(before.ino);
  });
});

describe("the lock", () => {
  const DEAD = 2 ** 22 + 1;

  it("of a process that is gone is taken over", async () => {
    await write(KEYRING);
    await writeFile(`${path}.lock`, `${DEAD} ${hostname()} x\n`);
    await store.setEnabled("key_ci", false);
    expect(await readdir(folder)).toEqual(["keys.yaml"]);
  });

  it.each([
    ["another host", "1 elsewhere x\n"],
    ["nobody in particular", ""],
  ])("of %s is taken over when it is old", async (_, owner) => {
    await write(KEYRING);
    await writeFile(`${path}.lock`, owner);
    const old = new Date(Date.now() - 120_000);
    await utimes(`${path}.lock`, old, old);
    await store.setEnabled("key_ci", false);
    expect(await readdir(folder)).toEqual(["keys.yaml"]);
  });

  it("of a process that is gone is taken over by one of many, and nothing is lost", async () => {
    await write("0");
    await writeFile(`${path}.lock`, `${DEAD} ${hostname()} x\n`);
    await Promise.all(Array.from({ length: 10 }, () => editFile(path, (content) => String(Number(content) + 1))));
    expect(await read()).toBe("10");
    expect(await readdir(folder)).toEqual(["keys.yaml"]);
  });

  it("of a process that lives is waited for, and named when it does not end", async () => {
    await write(KEYRING);
    await writeFile(`${path}.lock`, `${process.pid} ${hostname()} x\n`);
    await expect(editFile(path, () => "mine", { patienceMs: 0 })).rejects.toThrow(`remove ${path}.lock`);
    expect(await read()).toBe(KEYRING);
    const waiting = store.setEnabled("key_ci", false);
    await rm(`${path}.lock`);
    await expect(waiting).resolves.toMatchObject({ enabled: false });
  });

  it("is released when a change is refused", async () => {
    await write(KEYRING);
    await expect(store.delete("key_none")).rejects.toThrow(KeyStoreRefusal);
    expect(await readdir(folder)).toEqual(["keys.yaml"]);
  });
});
