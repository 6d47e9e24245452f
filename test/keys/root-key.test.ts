import { describe, expect, it } from "vitest";
import { hashKey } from "../../src/keys/bearer.ts";
import { createKeyId, createRootKey, keyStart } from "../../src/keys/key-id.ts";
import { grantsOf, isKeyHash, type KeyRecord, standing } from "../../src/keys/root-key.ts";
import { recordOf } from "../support/key-parts.ts";

const NOW = Date.UTC(2027, 0, 1);

const record = recordOf("unkey_1");

describe("standing", () => {
  it.each<[string, Partial<KeyRecord>, string]>([
    ["valid without an expiry", {}, "valid"],
    ["valid until the instant before it expires", { expiresAt: NOW + 1 }, "valid"],
    ["expired at that instant", { expiresAt: NOW }, "expired"],
    ["expired after it", { expiresAt: NOW - 1 }, "expired"],
    ["expired where the expiry is no number", { expiresAt: Number.NaN }, "expired"],
    ["disabled", { enabled: false }, "disabled"],
    ["expired rather than disabled", { enabled: false, expiresAt: NOW }, "expired"],
    ["of a disabled workspace", { workspaceEnabled: false }, "workspace_disabled"],
    ["disabled rather than of a disabled workspace", { enabled: false, workspaceEnabled: false }, "disabled"],
  ])("is %s", (_, changes, expected) => {
    expect(standing({ ...record, ...changes }, NOW)).toBe(expected);
  });
});

describe("grantsOf", () => {
  it("holds a record's own permissions and its roles', each once, sorted", () => {
    expect([...grantsOf(["b.1.r", "a.1.r"], [["c.1.r", "a.1.r"], ["b.1.r"]])]).toEqual(["a.1.r", "b.1.r", "c.1.r"]);
    expect(grantsOf([]).size).toBe(0);
  });
});

describe("isKeyHash", () => {
  it.each([
    ["a hash", hashKey("unkey_1"), true],
    ["hex", "15b6c3c8dbdeb259476828ae3a767f2ab04aea32f1aaf00ba1d5fdde300f1ed3", false],
    ["without padding", hashKey("unkey_1").slice(0, -1), false],
    ["in base64url", "FbbDyNvesllHaCyuOnZ_KrBK6jLxqvALodX93jAPHtM=", false],
    [
      "with bits past the end, a second spelling of the same bytes",
      "FbbDyNvesllHaCyuOnZ/KrBK6jLxqvALodX93jAPHtN=",
      false,
    ],
    ["too short", "YWJj", false],
    ["a secret", "unkey_1234567890", false],
    ["empty", "", false],
    ["a number", 7, false],
    ["absent", undefined, false],
    ["with a line end", `${hashKey("unkey_1")}\n`, false],
  ])("%s", (_, value, expected) => {
    expect(isKeyHash(value)).toBe(expected);
  });

  it("takes the hash of every key", () => {
    for (let i = 0; i < 500; i += 1) expect(isKeyHash(hashKey(createRootKey("unkey_")))).toBe(true);
  });
});

describe("new keys", () => {
  it("are the prefix and 24 base58 characters, each another", () => {
    const keys = Array.from({ length: 200 }, () => createRootKey("unkey_"));
    for (const key of keys) expect(key).toMatch(/^unkey_[1-9A-HJ-NP-Za-km-z]{24}$/);
    expect(new Set(keys).size).toBe(keys.length);
    expect(createRootKey("")).toHaveLength(24);
  });

  it("have an id of their own", () => {
    expect(createKeyId()).toMatch(/^key_[1-9A-HJ-NP-Za-km-z]{24}$/);
    expect(createKeyId()).not.toBe(createKeyId());
  });

  it("show the prefix and four characters, and nothing of a short one", () => {
    expect(keyStart("unkey_abcdefghij", "unkey_")).toBe("unkey_abcd");
    expect(keyStart("unkey_abcdefg", "unkey_")).toBe("unkey_");
    expect(keyStart("abcdefgh", "")).toBe("abcd");
  });
});
