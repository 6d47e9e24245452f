import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hashKey, readBearer } from "../../src/keys/bearer.ts";

const secret = (text: string) => ({ kind: "secret", secret: text });

describe("readBearer", () => {
  it.each([
    ["the key", "Bearer unkey_1234567890", "unkey_1234567890"],
    ["every character that a key may hold", "Bearer unkey_aZ09_-", "unkey_aZ09_-"],
    ["one character after the prefix", "Bearer unkey_x", "unkey_x"],
    ["a field that HTTP's white space surrounds", " \tBearer unkey_x\t ", "unkey_x"],
    ["512 characters", `Bearer unkey_${"a".repeat(499)}`, `unkey_${"a".repeat(499)}`],
  ])("reads %s", (_, value, key) => {
    expect(readBearer(value, 1, "unkey_")).toEqual(secret(key));
  });

  it("takes any key where the prefix is empty, but not an empty one", () => {
    expect(readBearer("Bearer abc", 1, "")).toEqual(secret("abc"));
    expect(readBearer("Bearer ", 1, "")).toEqual({ kind: "malformed" });
    expect(readBearer("Bearer", 1, "")).toEqual({ kind: "malformed" });
  });

  it("says missing only where there is no field at all", () => {
    expect(readBearer(null, 0, "unkey_")).toEqual({ kind: "missing" });
    expect(readBearer("", 1, "unkey_")).toEqual({ kind: "malformed" });
  });

  it.each([
    ["an empty field", ""],
    ["white space alone", "  "],
    ["the scheme alone", "Bearer"],
    ["the scheme and a space", "Bearer "],
    ["nothing after the prefix", "Bearer unkey_"],
    ["a piece of the prefix", "Bearer unkey"],
    ["another prefix", "Bearer acme_123"],
    ["the prefix in another case", "Bearer UNKEY_123"],
    ["a prefix further in", "Bearer xunkey_123"],
    ["the scheme in lower case", "bearer unkey_123"],
    ["the scheme in upper case", "BEARER unkey_123"],
    ["another scheme", "Basic unkey_123"],
    ["no scheme", "unkey_123"],
    ["no space", "Bearerunkey_123"],
    ["two spaces", "Bearer  unkey_123"],
    ["a tab for the space", "Bearer\tunkey_123"],
    ["a non-breaking space", "Bearer\u00a0unkey_123"],
    ["a space in the key", "Bearer unkey_1 23"],
    ["two credentials", "Bearer unkey_1, Bearer unkey_2"],
    ["a comma list", "Bearer unkey_1,unkey_2"],
    ["parameters", 'Bearer unkey_1 realm="x"'],
    ["quotes", 'Bearer "unkey_1"'],
    ["a dot", "Bearer unkey_a.b"],
    ["a plus", "Bearer unkey_a+b"],
    ["base64 padding", "Bearer unkey_ab=="],
    ["a NUL", "Bearer unkey_a\u0000"],
    ["a line end", "Bearer unkey_a\n"],
    ["a letter outside ASCII", "Bearer unkey_é"],
    ["a letter whose low byte is ASCII", "Bearer unkey_\u0161"],
    ["513 characters", `Bearer unkey_${"a".repeat(500)}`],
    ["a megabyte", `Bearer unkey_${"a".repeat(1_000_000)}`],
    ["a megabyte of spaces inside", `Bearer ${" ".repeat(1_000_000)}unkey_1`],
  ])("refuses %s as malformed", (_, value) => {
    expect(readBearer(value, 1, "unkey_")).toEqual({ kind: "malformed" });
  });

  it("refuses two fields, however good the first", () => {
    expect(readBearer("Bearer unkey_1", 2, "unkey_")).toEqual({ kind: "malformed" });
  });

  it("agrees with the grammar on every value", () => {
    const pieces = fc.constantFrom("Bearer", "bearer", " ", "unkey_", "a", "-", "\t", ",", "é", ".", "");
    const value = fc.oneof(
      fc.string(),
      fc.array(pieces, { maxLength: 8 }).map((list) => list.join("")),
    );
    fc.assert(
      fc.property(value, (text) => {
        const trimmed = text.replace(/^[ \t]+|[ \t]+$/g, "");
        const match = /^Bearer (unkey_[A-Za-z0-9_-]+)$/.exec(trimmed);
        const expected = match?.[1] === undefined || trimmed.length > 512 ? { kind: "malformed" } : secret(match[1]);
        expect(readBearer(text, 1, "unkey_")).toEqual(expected);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("hashKey", () => {
  it.each([
    ["unkey_1234567890", "FbbDyNvesllHaCyuOnZ/KrBK6jLxqvALodX93jAPHtM="],
    ["token123", "sTrjS5Ix+VZ1/1AnYbZK7dDCePW26HMM6Zty81st37A="],
    ["abc", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="],
    ["3ZFeSzZi4bAHLaADiPyJy7BN", "Af0t8Qg3G7oLwGHlkgMYIeloGL2dNBfcLxOLp3IDROY="],
  ])("hashes %s as Unkey does", (key, hash) => {
    expect(hashKey(key)).toBe(hash);
  });
});
