import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { inOnePiece } from "../src/one-piece.ts";

describe("inOnePiece", () => {
  it("is the same text, whatever it is made of", () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "grapheme" })), (parts) => {
        const text = parts.join("");
        expect(inOnePiece(text)).toBe(text);
      }),
    );
  });

  it("keeps every character of latin1, as fields of an answer may hold them", () => {
    const latin1 = Buffer.from(Uint8Array.from({ length: 256 }, (_, octet) => octet)).toString("latin1");
    expect(inOnePiece(latin1)).toBe(latin1);
  });
});
