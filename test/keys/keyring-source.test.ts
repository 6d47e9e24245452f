import { beforeEach, describe, expect, it } from "vitest";
import { createKeyringSource, type KeyringSource } from "../../src/keys/keyring-source.ts";
import { type Keyring, SourceUnavailable } from "../../src/keys/source.ts";
import { hashOf, recordOf } from "../support/key-parts.ts";

const A = hashOf("a");

let source: KeyringSource;
let now = 1000;
let seen: string[] = [];

beforeEach(() => {
  now = 1000;
  seen = [];
  const observer = { lookup: (tier: string, outcome: string) => void seen.push(`${tier} ${outcome}`) };
  source = createKeyringSource({ now: () => now, observer });
});

function keyringOf(...secrets: string[]): Keyring {
  return { records: secrets.map((secret) => recordOf(secret)), roles: new Map(), workspaces: new Map() };
}

describe("the keyring source", () => {
  it("can not tell before it was given a keyring", () => {
    expect(source.readiness()).toEqual({ ready: false, reason: "the keyring has not been read yet" });
    expect(() => source.find(A)).toThrow(SourceUnavailable);
    expect(seen).toEqual(["file error"]);
  });

  it("answers at once, with the same answer for the same key", () => {
    source.replace(keyringOf("a"));
    now = 5000;
    expect(source.readiness()).toEqual({ ready: true, reason: "" });
    const lookup = source.find(A);
    expect(lookup).toMatchObject({ record: { id: "key_a" }, asOf: 1000, tier: "file" });
    expect(source.find(A)).toBe(lookup);
    expect(source.find(hashOf("b"))).toEqual({ record: null, asOf: 1000, tier: "file" });
    expect(seen).toEqual(["file hit", "file hit", "file absent"]);
  });

  it("knows the keys of the last keyring alone", () => {
    source.replace(keyringOf("a"));
    now = 5000;
    source.replace(keyringOf("b"));
    expect(source.find(A)).toEqual({ record: null, asOf: 5000, tier: "file" });
    expect(source.find(hashOf("b")).record?.id).toBe("key_b");
  });
});
