import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isFault } from "../../src/faults/fault.ts";
import { checkRouteAllows, parseTarget, rewriteTarget, type Target } from "../../src/routes/target.ts";
import { cpuMsOf } from "../support/cpu-time.ts";

function target(raw: string): Target {
  const parsed = parseTarget(raw);
  if (isFault(parsed)) throw new Error(`${raw} was refused: ${parsed.detail}`);
  return parsed;
}

function detailOf(raw: string): string {
  const parsed = parseTarget(raw);
  if (!isFault(parsed)) throw new Error(`${raw} was let through as ${parsed.path}${parsed.query}`);
  expect(parsed.code).toBe("user:bad_request:ambiguous_path");
  expect(parsed.errors[0]?.location).toBe("path");
  return parsed.detail;
}

describe("a canonical path", () => {
  it.each([
    ["/", "/"],
    ["/v2/keys.createKey", "/v2/keys.createKey"],
    ["/%61pi/%7eb", "/api/~b"],
    ["/a%c3%a4/", "/a%C3%A4/"],
    ["/a%20b", "/a%20b"],
    ["/%e2%82%ac", "/%E2%82%AC"],
    ["/%f0%9f%98%80", "/%F0%9F%98%80"],
    ["/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="],
    ["/[x]", "/[x]"],
    ["/100%25", "/100%25"],
    ["/%25zz", "/%25zz"],
    ["/%3f%23%22", "/%3F%23%22"],
    ["/...", "/..."],
    ["/..a/b..", "/..a/b.."],
    ["/.well-known/x", "/.well-known/x"],
    ["/a/", "/a/"],
  ])("is made of %s: %s", (raw, path) => {
    expect(target(raw)).toEqual({ path, query: "", hasEncodedSlash: false, hasSemicolon: false, authority: null });
  });

  it.each([
    ["/a%2fb", "/a%2Fb", true, false],
    ["/a%2F", "/a%2F", true, false],
    ["/a;b=c", "/a;b=c", false, true],
    ["/a%3bb", "/a%3Bb", false, true],
    ["/a%2fb;c", "/a%2Fb;c", true, true],
    ["/a/;c", "/a/;c", false, true],
  ])("flags what a route may allow in %s", (raw, path, hasEncodedSlash, hasSemicolon) => {
    expect(target(raw)).toMatchObject({ path, hasEncodedSlash, hasSemicolon });
  });

  it("leaves the query as it came, from the first question mark", () => {
    expect(target('/a?x=/../b;%zz%2e"<>^{|}`\\?y=%c0')).toMatchObject({
      path: "/a",
      query: '?x=/../b;%zz%2e"<>^{|}`\\?y=%c0',
    });
    expect(target("/%61?")).toMatchObject({ path: "/a", query: "?" });
    expect(target("/admin?/public")).toMatchObject({ path: "/admin", query: "?/public" });
  });
});

describe("a target that servers read differently is refused", () => {
  it.each([
    ["", "begin with a slash"],
    ["*", "begin with a slash"],
    ["admin", "begin with a slash"],
    ["?x", "begin with a slash"],
    ["gw:80", "begin with a slash"],
    ["ftp://gw/", "begin with a slash"],
    ["//admin", "empty segment"],
    ["///admin", "empty segment"],
    ["/x//admin", "empty segment"],
    ["//", "empty segment"],
    ["//host/admin", "empty segment"],
    ["/a/%2fb", "empty segment"],
    ["/a%2f/b", "empty segment"],
    ["/%2fadmin", "empty segment"],
    ["/a%2f%2fb", "empty segment"],
    ["/a/%2F%2fb", "empty segment"],
    ["/;/admin", "empty segment"],
    ["/;x/admin", "empty segment"],
    ["/%3bx/admin", "empty segment"],
    ["/.", "dot segment"],
    ["/..", "dot segment"],
    ["/./admin", "dot segment"],
    ["/public/../admin", "dot segment"],
    ["/public/.%2e/admin", "dot segment"],
    ["/%2e%2e/admin", "dot segment"],
    ["/%2E/admin", "dot segment"],
    ["/a/.", "dot segment"],
    ["/a/..", "dot segment"],
    ["/a/%2e", "dot segment"],
    ["/a/..?x", "dot segment"],
    ["/a/..%2fb", "dot segment"],
    ["/a%2f..%2fb", "dot segment"],
    ["/a%2f%2e%2e%2fb", "dot segment"],
    ["/a%2f..", "dot segment"],
    ["/..;/b", "dot segment"],
    ["/..;x=y/b", "dot segment"],
    ["/a/.;x", "dot segment"],
    ["/a/..%3bx", "dot segment"],
    ["/a/%2e%2e;/b", "dot segment"],
    ["/a/..%20/b", "dot segment"],
    ["/a/.%20", "dot segment"],
    ["/a\\b", "backslash"],
    ["/\\admin", "backslash"],
    ["/a%5cb", "backslash"],
    ["/a%5Cb", "backslash"],
    ["/a#b", "number sign"],
    ["/public#/../admin", "number sign"],
    ["/%00", "control character"],
    ["/a%0d%0aX:1", "control character"],
    ["/%09", "control character"],
    ["/%1f", "control character"],
    ["/%7f", "control character"],
    ["/a b", "control character"],
    ["/a\tb", "control character"],
    ["/a\x7f", "control character"],
    ["/a\xe4", "beyond ASCII"],
    ["/\u20ac", "beyond ASCII"],
    ["/%", "hexadecimal"],
    ["/%1", "hexadecimal"],
    ["/a%z1", "hexadecimal"],
    ["/a%1z", "hexadecimal"],
    ["/%u0061", "hexadecimal"],
    ["/%%32%65", "hexadecimal"],
    ["/%252e%252e", "escape of an escape"],
    ["/%252f", "escape of an escape"],
    ["/%2561dmin", "escape of an escape"],
    ["/%25%32%65", "escape of an escape"],
    ["/%25%36%31", "escape of an escape"],
    ["/%252%65", "escape of an escape"],
    ["/%25%2541", "escape of an escape"],
    ["/%c0%ae", "UTF-8"],
    ["/%c1%bf", "UTF-8"],
    ["/%e0%80%ae", "UTF-8"],
    ["/%ed%a0%80", "UTF-8"],
    ["/%f0%80%80%ae", "UTF-8"],
    ["/%f4%90%80%80", "UTF-8"],
    ["/%f5%80%80%80", "UTF-8"],
    ["/%ff", "UTF-8"],
    ["/%80", "UTF-8"],
    ["/%c3", "UTF-8"],
    ["/%c3a4", "UTF-8"],
    ["/%c3%28", "UTF-8"],
    ["/%e2%82", "UTF-8"],
    ["/%e2%82/", "UTF-8"],
    ['/a"', "backtick"],
    ["/<", "backtick"],
    ["/>", "backtick"],
    ["/^", "backtick"],
    ["/{id}", "backtick"],
    ["/|", "backtick"],
    ["/`", "backtick"],
    ["/a?b#c", "query"],
    ["/%61?b#c", "query"],
    ["/a?b c", "query"],
    ["/a?\x00", "query"],
    ["/a?\x7f", "query"],
    ["/a?\xe4", "query"],
  ])("%j: %s", (raw, why) => {
    const detail = detailOf(raw);
    expect(detail).toContain(why);
  });

  it("says why without a word of what was sent", () => {
    expect(detailOf("/seekrit//seekrit")).not.toContain("seekrit");
  });
});

describe("absolute-form", () => {
  it.each([
    ["http://gw/admin", "gw", "/admin", ""],
    ["HTTP://Gw:8080/a?b", "Gw:8080", "/a", "?b"],
    ["https://gw", "gw", "/", ""],
    ["http://gw?x=1", "gw", "/", "?x=1"],
    ["http://[::1]:80/%61", "[::1]:80", "/a", ""],
  ])("%s becomes origin-form and keeps its authority", (raw, authority, path, query) => {
    expect(target(raw)).toMatchObject({ authority, path, query });
  });

  it.each([
    "http://",
    "http:///admin",
    "http://user@gw/admin",
    "http://user:pw@gw/",
    "http://gw//admin",
    "http://gw#x",
    "http://gw/../admin",
    "http:/gw/admin",
    "http:gw",
    "xhttp://gw/",
  ])("%s is refused", (raw) => {
    detailOf(raw);
  });
});

describe("what a route allows", () => {
  const strict = { allowEncodedSlash: false, allowSemicolon: false };
  it("judges %2F and ; by the route", () => {
    expect(checkRouteAllows(target("/a"), strict)).toBeNull();
    expect(checkRouteAllows(target("/a%2fb"), strict)?.detail).toContain("encoded slash");
    expect(checkRouteAllows(target("/a;b"), strict)?.detail).toContain("semicolon");
    expect(checkRouteAllows(target("/a%2fb"), { ...strict, allowEncodedSlash: true })).toBeNull();
    expect(checkRouteAllows(target("/a%3bb"), { ...strict, allowSemicolon: true })).toBeNull();
    expect(checkRouteAllows(target("/a%2fb;"), { ...strict, allowSemicolon: true })?.code).toBe(
      "user:bad_request:ambiguous_path",
    );
  });
});

describe("rewriting", () => {
  it.each([
    ["/x", "stripPrefix", "/x", "/"],
    ["/x/", "stripPrefix", "/x", "/"],
    ["/x/y?q", "stripPrefix", "/x", "/y?q"],
    ["/x/y", "stripPrefix", "/x/", "/y"],
    ["/xy", "stripPrefix", "/x", "/xy"],
    ["/X/y", "stripPrefix", "/x", "/X/y"],
    ["/x%2Fy", "stripPrefix", "/x", "/x%2Fy"],
    ["/", "addPrefix", "/y", "/y/"],
    ["/a?q", "addPrefix", "/y/", "/y/a?q"],
    ["/a", "addPrefix", "/%79", "/y/a"],
    ["/a", "addPrefix", "/", "/a"],
  ] as const)("%s with %s %s is asked for as %s", (raw, kind, prefix, expected) => {
    const rewritten = rewriteTarget(target(raw), { kind, prefix });
    if (isFault(rewritten)) throw new Error(rewritten.detail);
    expect(rewritten.path + rewritten.query).toBe(expected);
  });

  it("ends in ambiguous_path where the result is none that a client may send", () => {
    const rewritten = rewriteTarget(target("/a"), { kind: "addPrefix", prefix: "/../y" });
    expect(isFault(rewritten) && rewritten.code).toBe("user:bad_request:ambiguous_path");
  });

  it("keeps flags and authority in step with the result", () => {
    const rewritten = rewriteTarget(target("http://gw/x/a%2fb;c"), { kind: "stripPrefix", prefix: "/x" });
    expect(rewritten).toEqual({
      path: "/a%2Fb;c",
      query: "",
      hasEncodedSlash: true,
      hasSemicolon: true,
      authority: "gw",
    });
  });
});

describe("for every byte string", () => {
  const byte = fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code));
  const piece = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(..."/.;%?ab2eEfF5cC3B\\#~", "%2e", "%2f", "%25", "..", "%c3%a4", "%20") },
    { weight: 1, arbitrary: byte },
  );
  const raw = fc.array(piece, { maxLength: 24 }).map((pieces) => `/${pieces.join("")}`);

  it("the canonical form is a fixed point, and clean", () => {
    fc.assert(
      fc.property(raw, (text) => {
        const parsed = parseTarget(text);
        if (isFault(parsed)) return;
        expect(parseTarget(parsed.path + parsed.query)).toEqual(parsed);
        expect(parsed.path).toMatch(/^\/[A-Za-z0-9\-._~!$&'()*+,;=:@[\]%/]*$/);
        expect(parsed.path).not.toMatch(/\/\/|\/\.{1,2}(\/|$)/);
        const decoded = decodeURIComponent(parsed.path);
        expect(decoded).not.toMatch(/\/\/|\/\.{1,2}([/;]|$)|[\0-\x1f\x7f\\]/);
        expect(decodeURIComponent(parsed.path.replaceAll("%25", "%2525"))).toBe(decoded.replaceAll("%", "%25"));
      }),
      { numRuns: 5_000 },
    );
  });

  it("never throws", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: byte }), fc.string({ unit: "binary" }), raw), (text) => {
        const parsed = parseTarget(text);
        expect(isFault(parsed) || parsed.path.startsWith("/")).toBe(true);
      }),
      { numRuns: 3_000 },
    );
  });

  it("takes time linear in the length, in the worst case too", () => {
    for (const unit of ["/a", "%20", ";", "%3B", "/.a", "%e2%82%ac", "%2Fa", ".", "%25"]) {
      const text = `/a${unit.repeat(200_000)}`;
      expect(
        cpuMsOf(() => parseTarget(text)),
        unit,
      ).toBeLessThan(2_000);
    }
  });
});
