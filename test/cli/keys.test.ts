import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { CommandFailure, type CommandIo, EXIT } from "../../src/cli/exit.ts";
import type { OpenedStore } from "../../src/cli/key-store.ts";
import { addKeysCommands } from "../../src/cli/keys.ts";
import { hashKey } from "../../src/keys/bearer.ts";
import { createKeyringStore } from "../../src/keys/keyring-store.ts";
import type { Keyring, KeyStore, SharedKeyStore, WaitReport } from "../../src/keys/source.ts";
import { IncompleteChange, KeyStoreRefusal, SourceUnavailable } from "../../src/keys/source.ts";
import { describeRedis, startRedis, type TestRedis } from "../support/redis.ts";

interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

const SECRET = "unkey_1234567890";
const HASH = "FbbDyNvesllHaCyuOnZ/KrBK6jLxqvALodX93jAPHtM=";
const KEYRING = `# ours
workspaces:
  - { id: ws_acme, enabled: true }
roles:
  - { name: reader, permissions: [api.*.read_api] }
keys:
  - id: key_ci
    name: CI
    hash: ${HASH}
    workspaceId: ws_acme
    permissions: [api.api_1234.update_api]
    roles: [reader]
`;

let folder: string;
let keyring: string;
/** What `open` gives; null opens what the configuration says. */
let opened: OpenedStore | null;
let opens = 0;
let closes = 0;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "keys-cli-"));
  keyring = join(folder, "keys.yaml");
  await writeFile(keyring, KEYRING);
  opens = 0;
  closes = 0;
  use(createKeyringStore({ path: keyring, prefix: "unkey_", now: Date.now }), "file", "keys.yaml");
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

function use(store: KeyStore, kind: OpenedStore["kind"], name: string): void {
  const close = async () => {
    closes += 1;
  };
  const counted = { ...store, close };
  opened = { store: counted, kind, name, keyPrefix: "unkey_", gatewayUrl: "http://localhost:8080" };
}

async function keys(args: readonly string[], input = ""): Promise<Outcome> {
  let out = "";
  let err = "";
  let status: number = EXIT.done;
  const io: CommandIo = {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
    env: {},
    cwd: folder,
    stdin: async () => input,
    colour: false,
  };
  const program = new Command("sentinel").exitOverride();
  const store = opened;
  const open = async () => {
    opens += 1;
    return store as OpenedStore;
  };
  const finish = (given: number) => {
    status = given;
  };
  addKeysCommands(program, io, finish, ...(store === null ? [] : [open]));
  for (const command of program.commands.flatMap((group) => [group, ...group.commands])) {
    command.exitOverride().configureOutput({ writeOut: io.out, writeErr: io.err });
  }
  try {
    await program.parseAsync(["keys", ...args], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    status = error.status;
    err += `${error.message}\n`;
  }
  return { status, out, err };
}

const json = ({ out }: Outcome) => JSON.parse(out) as Record<string, unknown>;

describe("create", () => {
  it("prints the secret once, on stdout, and the next step beside it", async () => {
    const { status, out, err } = await keys(["create", "--name", "New", "--permission", "api.*.read_api"]);
    expect(status).toBe(0);
    const [, keyId, key = ""] = /^keyId {2}(key_\w{24})\nkey {4}(unkey_\w{24})\n$/.exec(out) ?? [];
    expect(err).toContain('curl -H "Authorization: Bearer $KEY" http://localhost:8080/');
    expect(err).not.toContain(key);
    expect(await readFile(keyring, "utf8")).toContain(`hash: ${hashKey(key)}`);
    expect(json(await keys(["get", keyId ?? "", "--json"]))).toMatchObject({
      name: "New",
      permissions: ["api.*.read_api"],
    });
    expect(closes).toBe(2);
  });

  it("answers {keyId, key} as JSON, and nothing else", async () => {
    const { status, out, err } = await keys(["create", "--json"]);
    expect(status).toBe(0);
    expect(out).toMatch(/^\{"keyId":"key_\w{24}","key":"unkey_\w{24}"\}\n$/);
    expect(err).toBe("");
  });

  it("takes every flag", async () => {
    const flags = ["--workspace", "ws_acme", "--role", "reader", "--expires", "2099-01-01", "--external-id", "user_1"];
    const lists = ["--permission", "a.1.r", "--permission", "b.1.r", "--meta", '{"plan":"pro"}'];
    const { keyId } = json(await keys(["create", ...flags, ...lists, "--json"]));
    expect(json(await keys(["get", String(keyId), "--json"]))).toMatchObject({
      id: keyId,
      workspaceId: "ws_acme",
      enabled: true,
      expiresAt: "2099-01-01T00:00:00Z",
      permissions: ["a.1.r", "b.1.r"],
      roles: ["reader"],
      identity: { externalId: "user_1", meta: {} },
      meta: { plan: "pro" },
    });
  });

  it.each([
    ["90s", 90_000],
    ["12h", 43_200_000],
    ["30d", 2_592_000_000],
  ])("takes an expiry of %s from now", async (text, ms) => {
    const before = Date.now();
    const { keyId } = json(await keys(["create", "--expires", text, "--json"]));
    const { expiresAt } = json(await keys(["get", String(keyId), "--json"]));
    const expires = Date.parse(String(expiresAt));
    expect(expires).toBeGreaterThanOrEqual(before + ms - 1);
    expect(expires).toBeLessThanOrEqual(Date.now() + ms);
  });

  it.each([
    ["a grant that satisfies nothing", ["--permission", "*"], "Permission '*' would satisfy nothing"],
    ["a grant of every action", ["--permission", "a.1.r", "--permission", "api.*.*"], "`*` can not be the action"],
    ["a past date", ["--expires", "2020-01-01"], "not in the future"],
    ["no time at all", ["--expires", "0s"], "not in the future"],
    ["a date that does not exist", ["--expires", "2099-02-30"], "--expires takes a duration"],
    ["a date past all dates", ["--expires", "999999999d"], "--expires takes a duration"],
    ["a word for a date", ["--expires", "tomorrow"], "--expires takes a duration"],
    ["meta that is no JSON", ["--meta", "{plan}"], "--meta takes a JSON object"],
    ["meta that is a list", ["--meta", "[]"], "--meta takes a JSON object"],
    ["an empty name", ["--name", ""], "name must be"],
  ])("refuses %s with exit 2, before it opens the store", async (_, flags, message) => {
    const { status, out, err } = await keys(["create", ...flags]);
    expect(status).toBe(EXIT.usage);
    expect(err).toContain(message);
    expect(out).toBe("");
    expect(opens).toBe(0);
    expect(await readFile(keyring, "utf8")).toBe(KEYRING);
  });

  it("refuses a role that is not defined with exit 2", async () => {
    const { status, err } = await keys(["create", "--role", "raeder"]);
    expect(status).toBe(EXIT.usage);
    expect(err).toBe("Role 'raeder' is not defined; did you mean \"reader\"?\n");
    expect(closes).toBe(1);
  });
});

describe("get and list", () => {
  it("show a record as the contract has it", async () => {
    expect(json(await keys(["get", "key_ci", "--json"]))).toEqual({
      id: "key_ci",
      hash: HASH,
      name: "CI",
      workspaceId: "ws_acme",
      enabled: true,
      permissions: ["api.api_1234.update_api"],
      roles: ["reader"],
      meta: {},
    });
  });

  it("show a record for people", async () => {
    const { out } = await keys(["get", "key_ci"]);
    expect(out).toBe(`id            key_ci
name          CI
standing      valid
workspace     ws_acme
expires       never
permissions   api.api_1234.update_api
roles         reader
by its roles  api.*.read_api
`);
  });

  it("list in columns, whether a key expires or not", async () => {
    await keys(["create", "--expires", "90d"]);
    await keys(["create"]);
    const [header = "", ...lines] = (await keys(["list"])).out.trimEnd().split("\n");
    const ends = lines
      .map((line) => / \d+ {2}/.exec(line))
      .map((found) => (found?.index ?? 0) + (found?.[0].length ?? 0));
    expect(new Set(ends)).toEqual(new Set([header.indexOf("GRANTS  ") + "GRANTS  ".length]));
  });

  it("list one record a line", async () => {
    const { out, status } = await keys(["list"]);
    expect(status).toBe(0);
    expect(out.split("\n")).toHaveLength(3);
    expect(out).toMatch(/^ID .*\nkey_ci +valid +never +2 +CI\n$/);
  });

  it("list as one JSON list", async () => {
    await keys(["create"]);
    const listed = JSON.parse((await keys(["list", "--json"])).out) as { id: string }[];
    expect(listed).toHaveLength(2);
    expect(listed[0]?.id).toBe("key_ci");
  });

  it("list nothing, and say how to begin", async () => {
    await writeFile(keyring, "");
    expect(await keys(["list", "--json"])).toEqual({ status: 0, out: "[]\n", err: "" });
    expect(await keys(["list"])).toEqual({
      status: 0,
      out: "",
      err: "There are no keys in keys.yaml yet. Make one with: sentinel keys create\n",
    });
  });
});

describe("update", () => {
  it("takes the flags of create, and --clear", async () => {
    const args = ["update", "key_ci", "--permission", "x.1.r", "--clear", "workspace", "--clear", "roles", "--json"];
    const record = json(await keys(args));
    expect(record).toMatchObject({ id: "key_ci", name: "CI", permissions: ["x.1.r"], roles: [] });
    expect(record).not.toHaveProperty("workspaceId");
  });

  it.each([
    ["nothing to do", [], "Nothing to update"],
    ["an unknown member", ["--clear", "nam"], "--clear takes name, workspace, permissions"],
    ["both", ["--name", "x", "--clear", "name"], "both given and cleared"],
    ["a bad grant", ["--permission", "a.b"], "would satisfy nothing"],
  ])("refuses %s with exit 2", async (_, flags, message) => {
    const { status, err } = await keys(["update", "key_ci", ...flags]);
    expect(status).toBe(EXIT.usage);
    expect(err).toContain(message);
    expect(opens).toBe(0);
  });
});

describe("disable, enable, reroll and delete on a keyring", () => {
  it("change the standing", async () => {
    expect((await keys(["disable", "key_ci"])).out).toBe("key_ci is disabled.\n");
    expect(json(await keys(["get", "key_ci", "--json"])).enabled).toBe(false);
    expect((await keys(["enable", "key_ci"])).out).toBe("key_ci is enabled.\n");
    expect((await keys(["delete", "key_ci"])).out).toBe("key_ci is deleted.\n");
    expect((await keys(["get", "key_ci"])).status).toBe(EXIT.notSo);
  });

  it.each([
    [[], ""],
    [["-c", "conf.d/a.yaml"], " -c conf.d/a.yaml"],
    [["-c", "it's mine.yaml"], " -c 'it'\\''s mine.yaml'"],
  ])("disable says how to take it back, for the same configuration (%j)", async (option, repeated) => {
    const { err } = await keys(["disable", "key_ci", ...option]);
    expect(err).toBe(`To let it in again: sentinel keys enable key_ci${repeated}\n`);
  });

  it("say when an enabled key is still of no use", async () => {
    await writeFile(keyring, KEYRING.replace("enabled: true", "enabled: false"));
    expect((await keys(["enable", "key_ci"])).out).toBe("key_ci is enabled, but workspace disabled.\n");
  });

  it("reroll gives a new id and secret", async () => {
    const { keyId, key } = json(await keys(["reroll", "key_ci", "--json"]));
    expect(await keys(["verify", String(key)])).toMatchObject({ status: 0 });
    expect(await keys(["verify", SECRET])).toMatchObject({ status: EXIT.notSo });
    expect(keyId).not.toBe("key_ci");
  });

  it("reroll lets the old secret live for its grace", async () => {
    const { status, err } = await keys(["reroll", "key_ci", "--grace", "1d"]);
    expect(status).toBe(0);
    expect(err).toContain("key_ci works until its grace ends.");
    expect(await keys(["verify", SECRET])).toMatchObject({ status: 0 });
  });

  it("reroll of a key that was rerolled before says when the new one ends: with the old one's grace", async () => {
    expect((await keys(["reroll", "key_ci", "--grace", "1h"])).err).not.toContain("The new key expires");
    const again = await keys(["reroll", "key_ci", "--grace", "1h"]);
    const [, at] = /^The new key expires when the old one would have, at (\S+)\.$/m.exec(again.err) ?? [];
    const [, keyId = ""] = /^keyId +(\S+)$/m.exec(again.out) ?? [];
    expect(json(await keys(["get", keyId, "--json"])).expiresAt).toBe(at);
  });

  it.each(["delete", "disable", "reroll"])("%s --wait waits for nothing and says so", async (command) => {
    const { status, out, err } = await keys([command, "key_ci", "--wait", "--json"]);
    expect(status).toBe(0);
    expect(err).toBe("--wait waits for nothing: instances read keys.yaml themselves, within 2 s.\n");
    expect(JSON.parse(out)).not.toHaveProperty("instances");
  });

  it.each([
    [["reroll", "key_ci", "--grace", "soon"], "--grace takes a duration"],
    [["reroll", "key_ci", "--grace", "999999999d"], "--grace is too long"],
    [["delete", "key_ci", "--wait", "soon"], "--wait takes a duration"],
    [["delete"], "Which key?"],
    [["delete", "--wait", "1s"], "Which key?"],
    [["get", SECRET], "A key id starts with key_"],
  ])("%j is refused with exit 2", async (args, message) => {
    const { status, err } = await keys(args);
    expect(status).toBe(EXIT.usage);
    expect(err).toContain(message);
    expect(err).not.toContain(SECRET);
  });

  it.each(["get", "enable", "disable", "reroll", "delete"])("%s of an unknown id is exit 1", async (command) => {
    expect(await keys([command, "key_none"])).toMatchObject({ status: EXIT.notSo, err: "There is no key key_none.\n" });
  });

  it("update of an unknown id is exit 1", async () => {
    expect(await keys(["update", "key_none", "--name", "x"])).toMatchObject({ status: EXIT.notSo });
  });
});

describe("verify", () => {
  it("says the standing and every permission, its roles' too", async () => {
    expect(json(await keys(["verify", SECRET, "--json"]))).toEqual({
      valid: true,
      standing: "valid",
      keyId: "key_ci",
      name: "CI",
      workspaceId: "ws_acme",
      permissions: ["api.*.read_api", "api.api_1234.update_api"],
      roles: ["reader"],
    });
  });

  it("reads the key from standard input", async () => {
    expect(await keys(["verify", "-"], `${SECRET}\n`)).toMatchObject({ status: 0 });
    expect(await keys(["verify", "-"], SECRET)).toMatchObject({ status: 0 });
  });

  it.each([
    ["of an unknown key", KEYRING, `${SECRET}x`, "not_found"],
    ["of a key with another prefix", KEYRING, "acme_1", "malformed"],
    ["of a key with a space at its end", KEYRING, `${SECRET} `, "malformed"],
    ["of nothing", KEYRING, "", "malformed"],
    ["of a disabled key", `${KEYRING}    enabled: false\n`, SECRET, "disabled"],
    ["of an expired key", `${KEYRING}    expiresAt: 2020-01-01\n`, SECRET, "expired"],
    [
      "of a key of a disabled workspace",
      KEYRING.replace("enabled: true", "enabled: false"),
      SECRET,
      "workspace_disabled",
    ],
  ])("%s is exit 1 and says why", async (_, text, key, standing) => {
    await writeFile(keyring, text);
    const asJson = await keys(["verify", key, "--json"]);
    expect(asJson.status).toBe(EXIT.notSo);
    expect(json(asJson)).toMatchObject({ valid: false, standing });
    const asText = await keys(["verify", "-"], key);
    expect(asText.status).toBe(EXIT.notSo);
    expect(asText.out).toContain(standing.replace("_", " "));
    if (key !== "") expect(asJson.out + asText.out + asText.err).not.toContain(key);
  });
});

describe("a keyring that can not be used", () => {
  it("is exit 1 with each line, and stays as it is", async () => {
    const text = `${KEYRING}    key: ${SECRET}\n`;
    await writeFile(keyring, text);
    const { status, err } = await keys(["create"]);
    expect(status).toBe(EXIT.notSo);
    expect(err).toContain(":13:5: a keyring holds hashes, never keys");
    expect(err).not.toContain(SECRET);
    expect(await readFile(keyring, "utf8")).toBe(text);
  });

  it.each([
    ["import", ["import", "keys.yaml"]],
    ["forget", ["forget", "key_ci"]],
  ])("%s needs Redis, and says so with exit 2", async (command, args) => {
    const { status, err } = await keys(args);
    expect(status).toBe(EXIT.usage);
    expect(err).toContain(`keys ${command} needs Redis`);
  });
});

describe("a store that instances share", () => {
  let report: WaitReport | Error;
  let calls: string[];
  let imported: Keyring | null;

  beforeEach(() => {
    calls = [];
    imported = null;
    report = { instances: 3, acknowledged: 3, ms: 41, missing: [] };
    const file = createKeyringStore({ path: keyring, prefix: "unkey_", now: Date.now });
    const shared: SharedKeyStore = {
      ...file,
      importKeyring: async (given) => {
        imported = given;
        return { created: given.records.length, updated: 0 };
      },
      forget: async (named) => {
        if ("id" in named && named.id === "key_none") throw new KeyStoreRefusal("unknown", "there is no key key_none");
        calls.push(JSON.stringify(named));
      },
      waitForInstances: async (timeoutMs) => {
        calls.push(`wait ${timeoutMs}`);
        if (report instanceof Error) throw report;
        return report;
      },
    };
    use(shared, "redis", "Redis");
  });

  it.each(["delete", "disable"])("%s --wait says how many acted on it, and how soon", async (command) => {
    const { status, out } = await keys([command, "key_ci", "--wait"]);
    expect(status).toBe(0);
    expect(out).toContain("3 of 3 instances acted on it in 41 ms.\n");
    expect(calls).toEqual(["wait 10000"]);
  });

  it.each([
    [["delete", "key_ci", "--wait", "2s"], "wait 2000"],
    [["delete", "key_ci", "--wait=2s"], "wait 2000"],
    [["delete", "--wait", "2s", "key_ci"], "wait 2000"],
    [["delete", "--wait", "key_ci"], "wait 10000"],
    [["reroll", "--wait", "key_ci"], "wait 10000"],
    [["disable", "--wait", "key_ci", "--json"], "wait 10000"],
  ])("%j waits that long", async (args, call) => {
    expect((await keys(args)).status).toBe(0);
    expect(calls).toEqual([call]);
  });

  it("does not wait unless asked", async () => {
    await keys(["delete", "key_ci"]);
    expect(calls).toEqual([]);
  });

  it.each(["delete", "disable", "reroll"])("%s --wait --json holds the report", async (command) => {
    const { out, err } = await keys([command, "key_ci", "--wait", "--json"]);
    expect(JSON.parse(out)).toMatchObject({ instances: 3, acknowledged: 3, ms: 41 });
    expect(err).toBe("");
  });

  it("names who did not answer, with exit 3", async () => {
    report = { instances: 3, acknowledged: 1, ms: 10_000, missing: ["a1", "b2"] };
    const { status, err } = await keys(["delete", "key_ci", "--wait"]);
    expect(status).toBe(EXIT.unreachable);
    expect(err).toContain("2 of 3 instances did not answer in 10000 ms: a1, b2");
  });

  it("says when nobody runs", async () => {
    report = { instances: 0, acknowledged: 0, ms: 0, missing: [] };
    expect(await keys(["delete", "key_ci", "--wait"])).toMatchObject({
      status: 0,
      out: "key_ci is deleted.\nNo instance is running.\n",
    });
  });

  it.each<[string, () => WaitReport | Error]>([
    ["an instance did not answer", () => ({ instances: 1, acknowledged: 0, ms: 5, missing: ["a1"] })],
    ["Redis was lost while waiting", () => new SourceUnavailable("Redis is out of reach")],
  ])("prints a new secret although %s", async (_, outcome) => {
    report = outcome();
    for (const flags of [[], ["--json"]]) {
      await writeFile(keyring, KEYRING);
      const { status, out } = await keys(["reroll", "key_ci", "--wait", ...flags]);
      expect(status).toBe(EXIT.unreachable);
      expect(out.match(/unkey_\w{24}/g)).toHaveLength(1);
    }
  });

  it("prints a new secret although announcing it failed", async () => {
    const created = { keyId: "key_new", key: "unkey_new" };
    const failing = { ...(opened as OpenedStore).store };
    failing.create = () => Promise.reject(new IncompleteChange("it was stored, but not announced", null, created));
    use(failing, "redis", "Redis");
    expect(await keys(["create", "--json"])).toEqual({
      status: EXIT.unreachable,
      out: '{"keyId":"key_new","key":"unkey_new"}\n',
      err: "It was stored, but not announced.\n",
    });
  });

  it("out of reach is exit 3, and nothing is printed", async () => {
    const failing = { ...(opened as OpenedStore).store };
    failing.create = () => Promise.reject(new SourceUnavailable("Redis is out of reach; nothing was changed"));
    use(failing, "redis", "Redis");
    expect(await keys(["create"])).toEqual({
      status: EXIT.unreachable,
      out: "",
      err: "Redis is out of reach; nothing was changed.\n",
    });
    expect(closes).toBe(1);
  });

  it("takes in a keyring", async () => {
    expect(json(await keys(["import", "keys.yaml", "--json"]))).toEqual({ created: 1, updated: 0 });
    expect((imported as Keyring | null)?.records.map(({ id }) => id)).toEqual(["key_ci"]);
    expect((await keys(["import", "keys.yaml"])).out).toBe("1 created, 0 updated\n");
  });

  it("takes in no keyring with a mistake, and none that is not there", async () => {
    await writeFile(keyring, KEYRING.replace("api.*.read_api", "api.*.*"));
    const bad = await keys(["import", "keys.yaml"]);
    expect(bad).toMatchObject({ status: EXIT.notSo, out: "" });
    expect(bad.err).toContain("keys.yaml:5:");
    expect(await keys(["import", "none.yaml"])).toMatchObject({
      status: EXIT.usage,
      err: "none.yaml can not be read: ENOENT\n",
    });
    expect(imported).toBeNull();
  });

  it("forgets by id and by hash", async () => {
    expect(json(await keys(["forget", "key_ci", "--json"]))).toEqual({ keyId: "key_ci" });
    expect(json(await keys(["forget", HASH, "--json"]))).toEqual({ hash: HASH });
    expect(calls).toEqual(['{"id":"key_ci"}', `{"hash":"${HASH}"}`]);
    expect(await keys(["forget", "key_none"])).toMatchObject({ status: EXIT.notSo });
  });

  it("does not repeat a secret that was given in place of an id", async () => {
    const { status, err } = await keys(["forget", SECRET]);
    expect(status).toBe(EXIT.usage);
    expect(err).not.toContain(SECRET);
  });
});

const config = (source: string, rest = "") => `listen: 127.0.0.1:8123
keys: { prefix: acme_, source: ${source} }
upstreams: [{ name: a, targets: [http://127.0.0.1:9] }]
routes: [{ name: all, upstream: a }]
${rest}`;

describeRedis("the mark of a forget", () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(() => redis?.close());

  it("lasts longer than a look-up at a slow key service can", async () => {
    opened = null;
    const source = "{ type: http, url: http://127.0.0.1:9/, timeout: 5m }";
    await writeFile(join(folder, "sentinel.yaml"), config(source, `redis: { url: ${redis.url} }\n`));
    expect(await keys(["forget", HASH])).toMatchObject({ status: EXIT.done });
    expect(Number(redis.cli("PTTL", `sentinel:key:${HASH}`))).toBeGreaterThan(5 * 60_000);
  });
});

describe("the configured store", () => {
  beforeEach(() => {
    opened = null;
  });

  it("is the keyring, named relative to the configuration", async () => {
    await writeFile(join(folder, "sentinel.yaml"), config("{ type: file, path: ./mine.yaml }"));
    const { status, out, err } = await keys(["create"]);
    expect(status).toBe(0);
    expect(out).toMatch(/key {4}acme_\w{24}\n/);
    expect(err).toContain("http://127.0.0.1:8123/");
    expect(await readdir(folder)).toContain("mine.yaml");
  });

  it("is not opened with a configuration that is not valid", async () => {
    await writeFile(join(folder, "other.yaml"), config("{ type: fil }"));
    const { status, err } = await keys(["create", "-c", "other.yaml"]);
    expect(status).toBe(EXIT.notSo);
    expect(err).toContain("other.yaml:2:");
  });

  it("is nothing where keys are in a key service and there is no Redis", async () => {
    await writeFile(join(folder, "sentinel.yaml"), config("{ type: http, url: http://127.0.0.1:9/ }"));
    const { status, err } = await keys(["forget", "key_a"]);
    expect(status).toBe(EXIT.usage);
    expect(err).toContain("there is no Redis");
  });

  it("says that the keys of a key service are changed there", async () => {
    const redis = "redis: { url: redis://127.0.0.1:1 }\n";
    await writeFile(join(folder, "sentinel.yaml"), config("{ type: http, url: http://127.0.0.1:9/ }", redis));
    const { status, err } = await keys(["create"]);
    expect(status).toBe(EXIT.usage);
    expect(err).toContain("the key service");
  });

  it("is out of reach where Redis is", async () => {
    await writeFile(
      join(folder, "sentinel.yaml"),
      config("{ type: redis }", "redis: { url: redis://127.0.0.1:1, commandTimeout: 50ms }\n"),
    );
    const { status, out, err } = await keys(["create"]);
    expect(status).toBe(EXIT.unreachable);
    expect(out).toBe("");
    expect(err).toContain("Redis is out of reach");
  });
});
