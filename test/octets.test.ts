import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  hexDigit,
  IN_TOKEN,
  isAlphanumeric,
  isBlank,
  isFieldValue,
  isInFieldValue,
  isToken,
  octetSet,
  trimBlanks,
} from "../src/octets.ts";

const OCTETS = Array.from({ length: 256 }, (_, octet) => octet);
/** What the RFC says, in words of its own: visible characters but delimiters. */
const DELIMITERS = '"(),/:;<=>?@[\\]{}';

const latin1 = fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((octet) => String.fromCharCode(octet)) });

describe("a token", () => {
  it("is made of visible characters but delimiters, as a table and as a question", () => {
    for (const octet of OCTETS) {
      const char = String.fromCharCode(octet);
      const belongs = octet > 0x20 && octet < 0x7f && !DELIMITERS.includes(char);
      expect([char, IN_TOKEN[octet], isToken(char)]).toEqual([char, belongs ? 1 : 0, belongs]);
    }
  });

  it("is made of nothing else, anywhere in it, and is not empty", () => {
    fc.assert(
      fc.property(latin1, (text) => {
        const all = [...text].every((char) => IN_TOKEN[char.charCodeAt(0)] === 1);
        expect(isToken(text)).toBe(text !== "" && all);
      }),
    );
    expect(isToken("host\n")).toBe(false);
    expect(isToken("\u0141ost")).toBe(false);
  });
});

describe("a field's value", () => {
  it("holds tabs, but no other control character", () => {
    for (const octet of OCTETS) expect(isInFieldValue(octet)).toBe((octet >= 0x20 && octet !== 0x7f) || octet === 0x09);
  });

  it("is judged alike whatever its length", () => {
    fc.assert(
      fc.property(latin1, fc.integer({ min: 0, max: 40 }), (text, more) => {
        const clean = [...text].every((char) => isInFieldValue(char.charCodeAt(0)));
        expect(isFieldValue(text)).toBe(clean);
        expect(isFieldValue("a".repeat(more) + text)).toBe(clean);
      }),
    );
  });

  it("holds nothing that is no octet: it would be cut to one, and be a line break", () => {
    for (const text of ["\u010d\u010a", `${"a".repeat(20)}\u010d\u010a`]) expect(isFieldValue(text)).toBe(false);
  });
});

describe("blanks", () => {
  it("are space and tab alone", () => {
    expect(OCTETS.filter(isBlank)).toEqual([0x09, 0x20]);
    expect(trimBlanks(" \t\u00a0a b\v\t ")).toBe("\u00a0a b\v");
    expect(trimBlanks(" \t")).toBe("");
  });
});

describe("letters and digits", () => {
  it("are those of ASCII", () => {
    for (const octet of OCTETS) expect(isAlphanumeric(octet)).toBe(/[A-Za-z0-9]/.test(String.fromCharCode(octet)));
    expect([0x141, 0x161, Number.NaN].map(isAlphanumeric)).toEqual([false, false, false]);
  });

  it("are a number where they are hexadecimal", () => {
    for (const octet of OCTETS) {
      const char = String.fromCharCode(octet);
      expect(hexDigit(octet)).toBe(/[A-Fa-f0-9]/.test(char) ? Number.parseInt(char, 16) : -1);
    }
    expect([0x141, 0x161, Number.NaN].map(hexDigit)).toEqual([-1, -1, -1]);
  });
});

it("a set is 1 for what matches, 0 for all other octets", () => {
  expect(OCTETS.filter((octet) => octetSet(/[\x00a\xff]/)[octet] !== 0)).toEqual([0, 0x61, 0xff]);
});
