import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readBearer } from "../../src/keys/bearer.ts";
import { explainMalformed } from "../../src/keys/malformed-bearer.ts";

describe("explainMalformed", () => {
  it.each([
    ["two fields", "Bearer unkey_x", 2, "there are 2 Authorization fields; exactly one is read"],
    ["an empty field", " \t", 1, "it is empty"],
    ["513 characters", `Bearer unkey_${"a".repeat(500)}`, 1, "it has 513 characters; no more than 512 are read"],
    ["the scheme alone", "Bearer ", 1, "no key follows Bearer"],
    ["another case", "bearer unkey_x", 1, "it must begin with Bearer, spelt like this, and one space"],
    ["a tab behind the scheme", "Bearer\tunkey_x", 1, "it must begin with Bearer, spelt like this, and one space"],
    ["another scheme", "Basic dW5rZXk6", 1, "it does not begin with Bearer and a space"],
    ["the key alone", "unkey_x", 1, "it does not begin with Bearer and a space"],
    ["two spaces", "Bearer  unkey_x", 1, "more than one space follows Bearer"],
    ["another prefix", "Bearer sk_x", 1, "the key does not begin with unkey_ (keys.prefix)"],
    ["the prefix alone", "Bearer unkey_", 1, "nothing follows the key's unkey_"],
    ["a full stop at the end", "Bearer unkey_x.", 1, "character 8 of the key is none of A-Z a-z 0-9 _ -"],
  ])("says why: %s", (_, value, count, why) => {
    expect(explainMalformed(value, count, "unkey_")).toBe(why);
  });

  it("says something exactly where the gateway finds it malformed, and no more of it than where", () => {
    const piece = fc.constantFrom("Bearer", "bearer", " ", "\t", "unkey_", "x", "S3cret", ".", "\u00e9", "");
    const value = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(""));
    fc.assert(
      fc.property(value, fc.integer({ min: 1, max: 2 }), fc.constantFrom("unkey_", ""), (text, count, prefix) => {
        const why = explainMalformed(text, count, prefix);
        expect(why !== null).toBe(readBearer(text, count, prefix).kind === "malformed");
        expect(why ?? "").not.toContain("S3cret");
      }),
    );
  });
});
