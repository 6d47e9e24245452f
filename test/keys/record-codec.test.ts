import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decodeServiceAnswer,
  decodeValue,
  encodeCopy,
  encodeForgotten,
  encodeRecord,
  VALUE_BYTES_MAX,
} from "../../src/keys/record-codec.ts";
import { hashOf, recordOf } from "../support/key-parts.ts";

const A = hashOf("a");
const stored = JSON.parse(encodeRecord(recordOf("a")));
const alter = (change: Record<string, unknown>) =>
  JSON.stringify({ ...stored, record: { ...stored.record, ...change } });

describe("a value in Redis", () => {
  it("comes back as it was written", () => {
    const record = recordOf("a", {
      name: "CI",
      workspaceId: "ws_1",
      workspaceEnabled: false,
      expiresAt: 1_900_000_000_000,
      roles: ["reader"],
      grants: new Set(["api.*.x", "api.a.read_api"]),
      identity: { externalId: "user_1", meta: { plan: "pro" } },
      meta: { nested: { list: [1, null, "ü"] } },
    });
    expect(decodeValue(encodeRecord(record), A)).toEqual({ kind: "record", record });
    expect(decodeValue(encodeCopy(record, 5), A)).toEqual({ kind: "copy", record, asOf: 5 });
    expect(decodeValue(encodeForgotten("1-0"), A)).toEqual({ kind: "forgotten" });
  });

  it.each<[string, string]>([
    ["nothing", ""],
    ["not JSON", "hello"],
    ["half of one", encodeRecord(recordOf("a")).slice(0, 100)],
    ["null", "null"],
    ["a list", "[]"],
    ["a number", "1"],
    ["a string", '"record"'],
    ["an empty object", "{}"],
    ["without a version", JSON.stringify({ kind: "record", record: stored.record })],
    ["an older version", JSON.stringify({ ...stored, v: 0 })],
    ["a newer version", JSON.stringify({ ...stored, v: 2 })],
    ["a version that is a string", JSON.stringify({ ...stored, v: "1" })],
    ["another kind", JSON.stringify({ ...stored, kind: "allow" })],
    ["no record", JSON.stringify({ v: 1, kind: "record" })],
    ["a record that is null", JSON.stringify({ v: 1, kind: "record", record: null })],
    ["a copy without its age", JSON.stringify({ ...stored, kind: "copy" })],
    ["a copy whose age is a string", JSON.stringify({ ...stored, kind: "copy", asOf: "5" })],
    ["a copy of no time", JSON.stringify({ ...stored, kind: "copy", asOf: -1 })],
    ["huge", JSON.stringify({ ...stored, padding: "x".repeat(VALUE_BYTES_MAX) })],
    ["deep", "[".repeat(30_000) + "]".repeat(30_000)],
    ["meta that is deep", alter({ meta: JSON.parse(`{"a":${"[".repeat(500)}${"]".repeat(500)}}`) })],
    ["another key's record", encodeRecord(recordOf("b"))],
    ["a hash that is none", alter({ hash: "x" })],
    ["without an id", alter({ id: undefined })],
    ["an id with a line feed", alter({ id: "key_a\nkey_b" })],
    ["permissions as a string", alter({ permissions: "*" })],
    ["permissions as an object", alter({ permissions: { 0: "api.a.read_api" } })],
    ["permissions that are not strings", alter({ permissions: [1] })],
    ["grants as a string", alter({ grants: "api.*.x" })],
    ["grants missing", alter({ grants: undefined })],
    ["too many grants", alter({ grants: Array.from({ length: 5000 }, () => "a.b.c") })],
    ["enabled as a string", alter({ enabled: "true" })],
    ["enabled as 1", alter({ enabled: 1 })],
    ["enabled missing", alter({ enabled: undefined })],
    ["the workspace's standing missing", alter({ workspaceEnabled: undefined })],
    ["an expiry that is a string", alter({ expiresAt: "2030-01-01" })],
    ["an expiry in seconds", alter({ expiresAt: 1_900_000_000 })],
    ["an expiry that is negative", alter({ expiresAt: -1 })],
    ["an expiry of 1e20", alter({ expiresAt: 1e20 })],
    ["an expiry that is a fraction", alter({ expiresAt: 1_900_000_000_000.5 })],
    ["an expiry missing", alter({ expiresAt: undefined })],
    ["a NaN date", encodeRecord(recordOf("a")).replace('"createdAt":1700000000000', '"createdAt":NaN')],
    ["meta as a list", alter({ meta: [] })],
    ["meta as null", alter({ meta: null })],
    ["an identity that is a string", alter({ identity: "user_1" })],
    ["an identity without a name", alter({ identity: { meta: {} } })],
    ["a member nobody knows", alter({ ipAllowlist: ["10.0.0.0/8"] })],
    ["__proto__ as the record", '{"v":1,"kind":"record","__proto__":{"record":{}}}'],
  ])("that is %s is unreadable", (_name, text) => {
    expect(decodeValue(text, A)).toMatchObject({ kind: "unreadable" });
  });

  it("with __proto__ in meta changes no prototype", () => {
    const text = encodeRecord(recordOf("a")).replace('"meta":{}', '"meta":{"__proto__":{"enabled":true}}');
    const value = decodeValue(text, A);
    expect(value.kind).toBe("record");
    expect(({} as { enabled?: boolean }).enabled).toBeUndefined();
  });

  it("whatever it is, never throws and never gives another key's record", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), mutated()), (text) => {
        const value = decodeValue(text, A);
        if (value.kind === "record" || value.kind === "copy") expect(value.record.hash).toBe(A);
      }),
      { numRuns: 3000 },
    );
  });

  /** A good value with some members replaced. */
  function mutated() {
    const member = fc.constantFrom(...Object.keys(stored.record), "v", "kind", "__proto__", "constructor");
    return fc.dictionary(member, fc.jsonValue()).map((change) => alter(change as Record<string, unknown>));
  }
});

describe("a key service's answer", () => {
  const good = { id: "key_a", hash: A, enabled: true, workspaceEnabled: true, permissions: ["api.a.read_api"] };
  const read = (change: Record<string, unknown>) => decodeServiceAnswer(JSON.stringify({ ...good, ...change }), A);

  it("needs no more than the required members", () => {
    expect(read({})).toEqual(recordOf("a", { createdAt: null, updatedAt: null }));
  });

  it("may hold the others, dates as ISO 8601, and some nobody knows", () => {
    expect(
      read({
        name: "CI",
        workspaceId: "ws_1",
        roles: ["reader"],
        expiresAt: "2030-01-01T02:00:00+02:00",
        createdAt: "2024-02-29",
        identity: { externalId: "user_1" },
        meta: { a: 1 },
        plan: "pro",
      }),
    ).toMatchObject({
      name: "CI",
      roles: ["reader"],
      expiresAt: Date.UTC(2030, 0, 1),
      createdAt: Date.UTC(2024, 1, 29),
      identity: { externalId: "user_1", meta: {} },
      meta: { a: 1 },
    });
  });

  it.each<[string, Record<string, unknown>]>([
    ["no id", { id: undefined }],
    ["no hash", { hash: undefined }],
    ["another hash", { hash: hashOf("b") }],
    ["no enabled", { enabled: undefined }],
    ["no workspaceEnabled", { workspaceEnabled: undefined }],
    ["no permissions", { permissions: undefined }],
    ["permissions as a string", { permissions: "*" }],
    ["a date that is none", { expiresAt: "soon" }],
    ["a date in milliseconds", { expiresAt: 1_900_000_000_000 }],
    ["a day that does not exist", { expiresAt: "2030-02-30T00:00:00Z" }],
    ["a date without a zone", { expiresAt: "2030-01-01T00:00:00" }],
    ["roles as a string", { roles: "admin" }],
    ["an identity without a name", { identity: {} }],
  ])("with %s is unreadable", (_name, change) => {
    expect(read(change)).toHaveProperty("why");
  });

  it.each([["not JSON"], ["null"], ["[]"], ["true"], ['{"valid":false}']])("%s is unreadable", (text) => {
    expect(decodeServiceAnswer(text, A)).toHaveProperty("why");
  });
});
