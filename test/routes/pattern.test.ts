import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isFault } from "../../src/faults/fault.ts";
import { parseHostPattern } from "../../src/routes/host.ts";
import { ANY_PATH, parsePathPattern, parseRewritePrefix, shapeOf } from "../../src/routes/pattern.ts";
import { parseTarget } from "../../src/routes/target.ts";

function segments(text: string, kind: "whole" | "prefix"): string[] {
  const pattern = parsePathPattern(text, kind);
  if (pattern.kind === "problem") throw new Error(pattern.message);
  return pattern.segments.map((segment) => (segment.kind === "literal" ? segment.text : `{${segment.name}}`));
}

describe("a path pattern", () => {
  it.each([
    ["/", "whole", [""]],
    ["/", "prefix", []],
    ["/a", "whole", ["a"]],
    ["/a/", "whole", ["a", ""]],
    ["/a/", "prefix", ["a"]],
    ["/v2/apis/{apiId}", "whole", ["v2", "apis", "{apiId}"]],
    ["/{a}/{b}/", "prefix", ["{a}", "{b}"]],
    ["/caf%C3%A9/a%2Fb;c", "whole", ["caf%C3%A9", "a%2Fb;c"]],
  ] as const)("%s as a %s path is %j", (text, kind, expected) => {
    expect(segments(text, kind)).toEqual(expected);
  });

  it("keeps its text and kind; without one, everything is below the root", () => {
    expect(parsePathPattern("/a", "prefix")).toMatchObject({ kind: "prefix", text: "/a" });
    expect(shapeOf(ANY_PATH)).toEqual({ kind: "prefix", segments: [] });
  });

  it.each([
    ["", 1, "slash"],
    ["a", 1, "/a"],
    ["//a", 2, "empty segment"],
    ["/a//b", 4, "empty segment"],
    ["/a/../b", 4, "dot segment"],
    ["/a/%2e", 4, "dot segment"],
    ["/%61pi", 2, ": api"],
    ["/a/b%c3%a4", 4, ": b%C3%A4"],
    ["/a/caf\u00e9", 7, ": caf%C3%A9"],
    ["/a\u20acb\u{1f600}", 3, ": a%E2%82%ACb%F0%9F%98%80"],
    ["/a\ud800", 3, "%EF%BF%BD"],
    ["/a b", 3, "space"],
    ["/a/b\\c", 5, "backslash"],
    ["/a?b", 3, "question mark"],
    ["/a#b", 3, "number sign"],
    ["/a|", 3, "backtick"],
    ["/%zz", 2, "hexadecimal"],
    ["/%2561", 2, "escape of an escape"],
    ["/x{a}", 3, "braces"],
    ["/{a}x", 2, "braces"],
    ["/{a}{b}", 2, "braces"],
    ["/a}", 3, "braces"],
    ["/{}", 2, "braces"],
    ["/{1a}", 2, "braces"],
    ["/{a.b}", 2, "braces"],
    ["/{id}/x/{id}", 9, "twice"],
  ])("%j has a problem at column %i: %s", (text, column, message) => {
    const problem = parsePathPattern(text, "whole");
    expect(problem).toMatchObject({ kind: "problem", column, message: expect.stringContaining(message) });
  });

  it("has literals that a canonical path can hold, always", () => {
    const piece = fc.constantFrom(
      "/",
      "/",
      "a",
      "%2e",
      ".",
      "%C3%A9",
      "%c3",
      "%25",
      "2f",
      ";",
      "%20",
      "\u00e9",
      " ",
      "{x}",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 10 }), fc.constantFrom("whole", "prefix"), (pieces, kind) => {
        const text = `/${pieces.join("")}`;
        const pattern = parsePathPattern(text, kind);
        if (pattern.kind === "problem") {
          expect(pattern.column).toBeLessThanOrEqual(text.length + 1);
          return;
        }
        const path = pattern.segments.map((segment) => `/${segment.kind === "literal" ? segment.text : "x"}`).join("");
        const target = parseTarget(path === "" ? "/" : path);
        expect(isFault(target) || target.path).toBe(path === "" ? "/" : path);
      }),
      { numRuns: 3_000 },
    );
  });
});

describe("a rewrite's prefix", () => {
  it.each([
    ["/x", "/x"],
    ["/x/y/", "/x/y"],
  ])("%s is %s", (text, prefix) => {
    expect(parseRewritePrefix(text)).toEqual({ kind: "prefix", prefix });
  });

  it.each([
    ["x", 1],
    ["/", 1],
    ["/a/{b}", 4],
    ["/a/../b", 4],
  ])("%s is none: column %i", (text, column) => {
    expect(parseRewritePrefix(text)).toMatchObject({ kind: "problem", column });
  });
});

describe("a host pattern", () => {
  it.each([
    ["API.Example.com.", { kind: "exact", name: "api.example.com" }],
    ["*.Example.com", { kind: "wildcard", suffix: ".example.com" }],
    ["[::1]", { kind: "exact", name: "[::1]" }],
  ])("%s", (text, expected) => {
    expect(parseHostPattern(text)).toEqual(expected);
  });

  it.each([
    ["*", 1],
    ["*.", 1],
    ["a.*.b", 1],
    ["*.*.b", 1],
    ["a b", 1],
    ["*.[::1]", 3],
    ["gw:80", 3],
    ["*.example.com:80", 14],
  ])("%s is none: column %i", (text, column) => {
    expect(parseHostPattern(text)).toMatchObject({ kind: "problem", column });
  });
});
