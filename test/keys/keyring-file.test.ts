import { describe, expect, it } from "vitest";
import { hashKey } from "../../src/keys/bearer.ts";
import { parseKeyring } from "../../src/keys/keyring-file.ts";
import type { Keyring } from "../../src/keys/source.ts";

const HASH = "FbbDyNvesllHaCyuOnZ/KrBK6jLxqvALodX93jAPHtM=";
const OTHER = hashKey("unkey_other");
const KEY = `keys:\n  - id: key_a\n    hash: ${HASH}\n`;

function keyring(text: string): Keyring {
  const reading = parseKeyring(text, "keys.yaml");
  if (reading.kind === "problems") throw new Error(JSON.stringify(reading.problems, null, 1));
  return reading.keyring;
}

/** `line:column: message` of each problem. */
function problems(text: string): string[] {
  const reading = parseKeyring(text, "keys.yaml");
  if (reading.kind === "keyring") return [];
  return reading.problems.map(({ line, column, message }) => `${line}:${column}: ${message}`);
}

describe("a good keyring", () => {
  it("is read whole, roles and workspaces resolved", () => {
    const { records, roles, workspaces } = keyring(`
workspaces:
  - { id: ws_acme, enabled: true }
  - { id: ws_off, enabled: false }
roles:
  - { name: reader, permissions: [api.*.read_api] }
keys:
  - id: key_ci
    name: CI
    hash: ${HASH}
    start: unkey_1234
    workspaceId: ws_acme
    permissions: [api.api_1234.read_api, ratelimit.*.read_namespace]
    roles: [reader]
    expiresAt: 2027-06-01T00:00:00Z
    identity: { externalId: user_1, meta: { plan: pro } }
    meta: { team: [a, { b: 1 }], "n": null }
    createdAt: 2026-01-01
    updatedAt: 2026-01-02T03:04:05Z
  - { id: key_b, hash: ${OTHER}, workspaceId: ws_off, enabled: false }
`);
    expect(records).toEqual([
      {
        id: "key_ci",
        hash: HASH,
        start: "unkey_1234",
        name: "CI",
        workspaceId: "ws_acme",
        workspaceEnabled: true,
        enabled: true,
        expiresAt: Date.parse("2027-06-01T00:00:00Z"),
        permissions: ["api.api_1234.read_api", "ratelimit.*.read_namespace"],
        roles: ["reader"],
        grants: new Set(["api.*.read_api", "api.api_1234.read_api", "ratelimit.*.read_namespace"]),
        identity: { externalId: "user_1", meta: { plan: "pro" } },
        meta: { team: ["a", { b: 1 }], n: null },
        createdAt: Date.parse("2026-01-01T00:00:00Z"),
        updatedAt: Date.parse("2026-01-02T03:04:05Z"),
      },
      {
        id: "key_b",
        hash: OTHER,
        start: null,
        name: null,
        workspaceId: "ws_off",
        workspaceEnabled: false,
        enabled: false,
        expiresAt: null,
        permissions: [],
        roles: [],
        grants: new Set(),
        identity: null,
        meta: {},
        createdAt: null,
        updatedAt: null,
      },
    ]);
    expect(roles).toEqual(new Map([["reader", ["api.*.read_api"]]]));
    expect(workspaces).toEqual(
      new Map([
        ["ws_acme", true],
        ["ws_off", false],
      ]),
    );
  });

  it.each(["", "\n\n", "# nothing yet\n", "---\n", "keys:\n", "keys: []\n", "{}", "null", "roles:\nworkspaces: ~\n"])(
    "may have no keys: %j",
    (text) => {
      expect(keyring(text).records).toEqual([]);
    },
  );

  it("takes empty members as absent, and aliases as what they stand for", () => {
    const [a, b] = keyring(`
keys:
  - { id: key_a, hash: ${HASH}, name: , permissions: &p [a.1.r], roles: , expiresAt: , identity: , meta: &m { x: 1 } }
  - { id: key_b, hash: ${OTHER}, permissions: *p, meta: *m, identity: { externalId: &e x, meta: { y: *e } } }
`).records;
    expect(a).toMatchObject({ name: null, permissions: ["a.1.r"], identity: null, meta: { x: 1 } });
    expect(b).toMatchObject({
      permissions: ["a.1.r"],
      meta: { x: 1 },
      identity: { externalId: "x", meta: { y: "x" } },
    });
  });

  it("keeps a member of meta that is called __proto__ a member", () => {
    const [record] = keyring(`${KEY}    meta: { __proto__: { admin: true } }\n`).records;
    expect(Object.hasOwn(record?.meta ?? {}, "__proto__")).toBe(true);
    expect(record?.meta.admin).toBeUndefined();
  });
});

describe("a bad keyring is refused, with the place of", () => {
  it.each<[string, string, string]>([
    ["YAML that is none", "keys: [", "not valid YAML"],
    ["a tab for indentation", "keys:\n\t- a", "2:1: not valid YAML: Tabs"],
    ["a member twice", `${KEY}    hash: ${OTHER}\n`, "4:5: this member is there twice"],
    ["keys twice", `${KEY}keys: []\n`, "4:1: this member is there twice"],
    ["two documents", `${KEY}---\n${KEY}`, "a second document begins here; a file holds one"],
    ["an unknown tag", `${KEY}    name: !secret x\n`, "4:11: not valid YAML: Unresolved tag"],
    ["a list for a keyring", "- a", "1:1: a keyring must be a mapping with the members workspaces, roles, keys"],
    ["a text for a keyring", "hello", "1:1: a keyring must be a mapping"],
    ["an unknown top member", "key: []", '1:1: unknown member "key"; did you mean "keys"?'],
    ["another one", "users: []", '1:1: unknown member "users": a keyring has workspaces, roles, keys'],
    ["keys that are no list", "keys: { a: b }", "1:7: keys must be a list"],
    ["a key that is no mapping", "keys:\n  - key_a", "2:5: a key must be a mapping"],
    [
      "an unknown member",
      `${KEY}    permission: [a.1.r]`,
      '4:5: unknown member "permission"; did you mean "permissions"?',
    ],
    [
      "a member in another case",
      `${KEY}    expiresat: 2027-01-01`,
      '4:5: unknown member "expiresat"; did you mean "expiresAt"?',
    ],
    ["a member under another name", `${KEY}    expires: 2027-01-01`, 'did you mean "expiresAt"?'],
    ["an external id outside identity", `${KEY}    externalId: x`, "stands inside `identity:"],
    ["disabled", `${KEY}    disabled: true`, "write `enabled: false`"],
    ["a member that is no name", `${KEY}    ? [a]\n    : 1`, 'unknown member ""'],
    ["no id", `keys:\n  - hash: ${HASH}`, "2:5: a key needs `id`"],
    ["an empty id", `keys:\n  - id:\n    hash: ${HASH}`, "2:8: a key needs `id`"],
    ["an id that is a number", `keys:\n  - id: 7\n    hash: ${HASH}`, "2:9: id must be a string: put it in quotes"],
    ["an id that does not look like one", `keys:\n  - id: ci\n    hash: ${HASH}`, "2:9: a key's id is `key_` and then"],
    ["no hash", "keys:\n  - id: key_a", "2:5: a key needs `hash`"],
    ["a hash in hexadecimal", `keys:\n  - id: key_a\n    hash: ${"ab".repeat(32)}`, "3:11: a hash is the SHA-256"],
    [
      "a hash without its padding",
      `keys:\n  - id: key_a\n    hash: ${HASH.slice(0, -1)}`,
      "3:11: a hash is the SHA-256",
    ],
    [
      "a second spelling of a hash",
      `keys:\n  - id: key_a\n    hash: ${HASH.replace("M=", "N=")}`,
      "3:11: a hash is the SHA-256",
    ],
    ["an id twice", `${KEY}  - id: key_a\n    hash: ${OTHER}`, "4:9: key id 'key_a' is already used on line 2"],
    ["a hash twice", `${KEY}  - id: key_b\n    hash: ${HASH}`, "5:11: this hash is already used on line 3"],
    ["a grant that is a lone star", `${KEY}    permissions: ["*"]`, "4:19: permission '*' would satisfy nothing"],
    [
      "a grant of every action",
      `${KEY}    permissions:\n      - a.1.r\n      - api.*.*`,
      "6:9: permission 'api.*.*' would",
    ],
    ["a grant of a piece of an id", `${KEY}    permissions: [api.api_1*.x]`, "4:19: permission 'api.api_1*.x' would"],
    ["permissions that are no list", `${KEY}    permissions: a.1.r`, "4:18: permissions must be a list"],
    ["a permission that is a list", `${KEY}    permissions: [[a.1.r]]`, "4:19: permissions must be a string"],
    [
      "a bad grant of a role",
      "roles:\n  - { name: r, permissions: [a.b] }",
      "2:30: permission 'a.b' would satisfy nothing",
    ],
    ["a role without a name", "roles:\n  - permissions: [a.1.r]", "2:5: a role needs `name`"],
    ["a role twice", "roles:\n  - name: r\n  - name: r", "3:11: role 'r' is already used on line 2"],
    ["a role that is a text", "roles: [reader]", "1:9: a role must be a mapping"],
    ["a role's unknown member", "roles:\n  - { name: r, permision: [] }", 'did you mean "permissions"?'],
    [
      "a role that is not defined",
      `roles: [{ name: reader }]\n${KEY}    roles: [raeder]`,
      "5:13: role 'raeder' is not defined; did you mean \"reader\"?",
    ],
    [
      "a role with nothing near",
      `${KEY}    roles: [admin]`,
      "4:13: role 'admin' is not defined: define it under `roles`",
    ],
    [
      "a workspace that is not defined",
      `${KEY}    workspaceId: ws_x`,
      "4:18: workspace 'ws_x' is not defined: define it",
    ],
    ["a workspace twice", "workspaces:\n  - id: w\n  - id: w", "3:9: workspace 'w' is already used on line 2"],
    ["a workspace without an id", "workspaces:\n  - enabled: true", "2:5: a workspace needs `id`"],
    ["a workspace that is a text", "workspaces: [w]", "1:14: a workspace must be a mapping"],
    [
      "a workspace whose enabled is a text",
      'workspaces: [{ id: w, enabled: "no" }]',
      "1:32: enabled must be true or false",
    ],
    ["enabled as YAML 1.1 spells it", `${KEY}    enabled: no`, "4:14: enabled must be true or false"],
    ["enabled without a value", `${KEY}    enabled:`, "4:13: enabled must be true or false"],
    ["a date that does not exist", `${KEY}    expiresAt: 2027-02-30`, "4:16: expiresAt must be an ISO 8601 date"],
    ["a date without a zone", `${KEY}    expiresAt: 2027-02-20T00:00:00`, "4:16: expiresAt must be an ISO 8601 date"],
    ["a date in milliseconds", `${KEY}    expiresAt: 1780272000000`, "4:16: expiresAt must be an ISO 8601 date"],
    ["a date that is a list", `${KEY}    createdAt: []`, "4:16: createdAt must be an ISO 8601 date"],
    ["a name with a control character", `${KEY}    name: "a\\u0007"`, "4:11: name must be 1 to 255 characters"],
    ["an empty name", `${KEY}    name: ""`, "4:11: name must be 1 to 255 characters"],
    ["an identity that is a text", `${KEY}    identity: user`, "4:15: an identity must be a mapping"],
    ["an identity without its id", `${KEY}    identity: { meta: {} }`, "4:15: an identity needs `externalId`"],
    ["meta that is a list", `${KEY}    meta: [a]`, "4:11: meta must be a mapping"],
    ["meta that JSON can not hold", `${KEY}    meta: { a: .inf }`, "4:11: meta must be what JSON can hold"],
    [
      "meta that is too deep",
      `${KEY}    meta: { a: ${"[".repeat(40)}${"]".repeat(40)} }`,
      "4:11: meta must be what JSON",
    ],
    ["an alias without an anchor", `${KEY}    name: *nobody`, "4:11: name must be a string"],
    ["meta that refers to itself", `${KEY}    meta: &m { a: *m, b: *m }`, "4:14: meta must be what JSON can hold"],
  ])("%s", (_, text, expected) => {
    expect(problems(text).join("\n")).toContain(expected);
  });

  it("every mistake at once, in the order of the file", () => {
    const text = `keys:
  - id: key_a
    hash: nope
    permissions: ["*"]
  - id: key_b
    expire: 1
roles:
  - nam: r
`;
    expect(problems(text).map((problem) => problem.split(":").slice(0, 2).join(":"))).toEqual([
      "3:11",
      "4:19",
      "5:5",
      "6:5",
      "8:5",
      "8:5",
    ]);
  });

  it("an alias bomb, without building it", () => {
    const levels = Array.from({ length: 12 }, (_, i) => {
      const item = i === 0 ? "x" : `*a${i - 1}`;
      return `a${i}: &a${i} [${Array.from({ length: 10 }, () => item).join(", ")}]`;
    });
    const text = `${KEY}    meta: { ${levels.join(", ")} }`;
    expect(problems(text).join()).toContain("meta must be what JSON can hold");
  });

  it("nesting that exhausts the parser", () => {
    expect(problems("[".repeat(20_000)).join()).toContain("YAML");
  });
});

describe("no secret is repeated", () => {
  const SECRET = "unkey_3ZFeSzZi4bAHLaADiPyJy7BN";
  it.each([
    ["as `key`", `${KEY}    key: ${SECRET}\n`],
    ["as `secret`, quoted", `${KEY}    secret: "${SECRET}"\n`],
    ["as `token` in a flow mapping", `keys: [{ id: key_a, hash: ${HASH}, token: ${SECRET} }]`],
    ["in place of the hash", `keys:\n  - id: key_a\n    hash: ${SECRET}\n`],
    ["in place of the id", `keys:\n  - id: ${SECRET}\n    hash: ${HASH}\n`],
    ["in place of the start", `keys:\n  - id: key_a\n    hash: ${hashKey(SECRET)}\n    start: ${SECRET}\n`],
    ["in place of a permission", `${KEY}    permissions: [${SECRET}]\n`],
    ["in place of a role", `${KEY}    roles: [${SECRET}]\n`],
    ["in place of a member's name", `${KEY}    ${SECRET}: true\n`],
    ["under an unknown member", `${KEY}    rootkey: ${SECRET}\n`],
    ["in broken YAML", `${KEY}    key: "${SECRET}\n`],
    ["twice", `${KEY}    key: ${SECRET}\n    key: ${SECRET}\n`],
    ["with another prefix", `${KEY}    key: acme_${SECRET.slice(6)}\n`],
    ["short, with no prefix", `${KEY}    key: ${SECRET.slice(6, 20)}\n`],
  ])("%s", (_, text) => {
    const reading = parseKeyring(text, "keys.yaml");
    expect(reading.kind).toBe("problems");
    expect(JSON.stringify(reading)).not.toContain(SECRET.slice(6, 20));
  });

  it("and says what to do instead", () => {
    expect(problems(`${KEY}    key: ${SECRET}\n`)).toEqual([
      "4:5: a keyring holds hashes, never keys: remove it, and give the key's SHA-256 in base64 as `hash`",
    ]);
  });

  it("while the line is shown, as long as it was", () => {
    const line = `    key: ${SECRET} # mine`;
    const reading = parseKeyring(`${KEY}${line}\r\n`, "keys.yaml");
    expect(reading).toMatchObject({ problems: [{ sourceLine: line.replace(SECRET, "*".repeat(SECRET.length)) }] });
  });
});
