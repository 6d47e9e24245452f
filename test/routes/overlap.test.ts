import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { findConflicts } from "../../src/routes/conflicts.ts";
import { findOpenOverlaps, findRewriteOverlaps } from "../../src/routes/overlap.ts";
import { compileRouteTable } from "../../src/routes/table.ts";
import { findUnreachable } from "../../src/routes/unreachable.ts";
import { cpuMsOf } from "../support/cpu-time.ts";
import { buildRoutes, type RouteSketch } from "./build-route.ts";

const conflicts = (...sketches: RouteSketch[]) =>
  findConflicts(buildRoutes(...sketches)).map(({ first, second }) => `${first.name} ${second.name}`);
const overlaps = (...sketches: RouteSketch[]) =>
  findOpenOverlaps(buildRoutes(...sketches)).map(({ open, guarded }) => `${open.name} ${guarded.name}`);
const rewriteOverlaps = (...sketches: RouteSketch[]) =>
  findRewriteOverlaps(buildRoutes(...sketches)).map(({ open, guarded }) => `${open.name} ${guarded.name}`);

describe("routes that can not be told apart", () => {
  it.each<[string, RouteSketch, RouteSketch]>([
    ["the same", { path: "/a" }, { path: "/a" }],
    ["names of parameters", { path: "/{x}/a" }, { path: "/{y}/a" }],
    ["a prefix with its last slash", { pathPrefix: "/a" }, { pathPrefix: "/a/" }],
    ["no path and everything", {}, { pathPrefix: "/" }],
    ["letter case of a host", { host: "A.b" }, { host: "a.B." }],
    ["methods that overlap", { methods: ["GET", "PUT"] }, { methods: ["PUT", "POST"] }],
    ["GET and HEAD", { methods: ["GET"] }, { methods: ["HEAD"] }],
    ["HEAD and GET", { methods: ["HEAD"] }, { methods: ["GET"] }],
    ["other headers", { headers: { a: "1" } }, { headers: { b: "1" } }],
  ])("%s", (_, a, b) => {
    expect(conflicts(a, b)).toEqual(["r0 r1"]);
  });

  it.each<[string, RouteSketch, RouteSketch]>([
    ["paths", { path: "/a" }, { path: "/b" }],
    ["a whole path and a prefix", { path: "/a" }, { pathPrefix: "/a" }],
    ["a last slash", { path: "/a" }, { path: "/a/" }],
    ["static and named", { path: "/a" }, { path: "/{x}" }],
    ["hosts", { host: "a.b" }, { host: "*.b" }],
    ["methods", { methods: ["GET"] }, { methods: ["POST"] }],
    ["methods and none", { methods: ["GET"] }, {}],
    ["values of a header", { headers: { a: "1" } }, { headers: { a: "2" } }],
    ["more headers", { headers: { a: "1" } }, { headers: { a: "1", b: "1" } }],
  ])("%s tell them apart", (_, a, b) => {
    expect(conflicts(a, b)).toEqual([]);
  });
});

describe("an open route covers a guarded one", () => {
  const open = (sketch: RouteSketch): RouteSketch => ({ ...sketch, open: true });

  it.each<[string, RouteSketch, RouteSketch]>([
    ["everything", {}, { path: "/admin" }],
    ["a shorter prefix", { pathPrefix: "/a" }, { pathPrefix: "/a/b" }],
    ["a prefix, of a whole path", { pathPrefix: "/a" }, { path: "/a" }],
    ["a name, of a static segment", { path: "/{x}" }, { pathPrefix: "/admin" }],
    ["a name, of a part", { path: "/{x}/public" }, { pathPrefix: "/admin/{y}" }],
    ["letter case", { path: "/Admin" }, { path: "/admin" }],
    ["letter case of a prefix", { pathPrefix: "/API/public" }, { pathPrefix: "/api" }],
    ["a last slash", { path: "/admin/" }, { path: "/admin" }],
    ["what a server may trim", { path: "/admin." }, { path: "/admin" }],
    ["an encoded blank", { path: "/admin%20" }, { path: "/admin" }],
    ["an exact host, of any", { host: "a.b" }, { path: "/admin" }],
    ["any host, of an exact one", {}, { host: "a.b" }],
    ["a wildcard, of a longer one", { host: "*.b" }, { host: "*.a.b" }],
    ["a wildcard, of an exact one", { host: "*.b" }, { host: "a.b" }],
    ["some methods", { methods: ["GET", "POST"], pathPrefix: "/" }, { path: "/a", methods: ["POST"] }],
    ["all methods of some", { path: "/a" }, { path: "/a", methods: ["POST"] }],
    ["fewer headers", { path: "/a" }, { path: "/a", headers: { v: "1" } }],
    ["as many", { path: "/a", headers: { v: "1" } }, { path: "/a", headers: { w: "1" } }],
  ])("%s", (_, a, b) => {
    expect(overlaps(open(a), b)).toEqual(["r0 r1"]);
    expect(overlaps(b, open(a))).toEqual(["r1 r0"]);
    expect(overlaps({ ...open(a), allowOverlap: true }, b)).toEqual([]);
    expect(overlaps({ ...open(a), upstream: "other" }, b)).toEqual([]);
    expect(overlaps(a, b)).toEqual([]);
  });

  it.each<[string, RouteSketch, RouteSketch]>([
    ["another path", { pathPrefix: "/a" }, { pathPrefix: "/b" }],
    ["another depth", { path: "/a" }, { path: "/a/b" }],
    ["a segment that only begins the same", { pathPrefix: "/a" }, { pathPrefix: "/ab" }],
    ["another host", { host: "a.b" }, { host: "c.b" }],
    ["another wildcard", { host: "*.b" }, { host: "*.c" }],
    ["a name at its root", { host: "*.b" }, { host: "b" }],
    ["other methods", { path: "/a", methods: ["GET"] }, { path: "/a", methods: ["POST"] }],
    ["another value of a header", { headers: { v: "1" } }, { headers: { v: "2" } }],
    ["an exception by path", { path: "/health" }, { pathPrefix: "/" }],
    ["an exception by name", { path: "/a/{x}" }, { pathPrefix: "/a" }],
    ["an exception by prefix", { pathPrefix: "/a/b" }, { pathPrefix: "/{x}" }],
    ["an exception by host", { host: "docs.b" }, { host: "*.b" }],
    ["an exception by wildcard", { host: "*.b" }, {}],
    ["an exception by method", { path: "/a", methods: ["GET"] }, { path: "/a" }],
    ["an exception by header", { path: "/a", headers: { v: "1" } }, { path: "/a" }],
    ["the root of a guarded prefix", { path: "/a" }, { pathPrefix: "/a" }],
  ])("but not %s", (_, a, b) => {
    expect(overlaps(open(a), b)).toEqual([]);
  });

  it("names each pair once, in the order of the configuration", () => {
    expect(overlaps(open({}), { path: "/b" }, { path: "/a" }, open({ pathPrefix: "/a" }))).toEqual([
      "r0 r1",
      "r0 r2",
      "r3 r2",
    ]);
  });

  it("is found among thousands without comparing each with each", () => {
    const guarded = Array.from({ length: 5_000 }, (_, i) => ({ path: `/g${i}/{id}` }));
    const opened = Array.from({ length: 5_000 }, (_, i) => open({ pathPrefix: `/o${i}` }));
    const ms = cpuMsOf(() =>
      expect(overlaps(...guarded, ...opened, open({ pathPrefix: "/G7" }))).toEqual(["r10000 r7"]),
    );
    expect(ms).toBeLessThan(4_000);
  });
});

describe("a rewrite that leads an open route to what another guards", () => {
  const open = (sketch: RouteSketch): RouteSketch => ({ ...sketch, open: true });
  const strip = (prefix: string) => ({ rewrite: { kind: "stripPrefix", prefix } as const });
  const add = (prefix: string) => ({ rewrite: { kind: "addPrefix", prefix } as const });

  it.each<[string, RouteSketch, RouteSketch]>([
    ["a prefix taken off", { pathPrefix: "/public", ...strip("/public") }, { pathPrefix: "/admin" }],
    ["both taken off", { pathPrefix: "/public", ...strip("/public") }, { pathPrefix: "/api", ...strip("/api") }],
    ["a prefix put in front", { pathPrefix: "/x", ...add("/admin") }, { pathPrefix: "/admin/x/y" }],
    ["the guarded one's own", { pathPrefix: "/v1" }, { pathPrefix: "/admin", ...add("/v1") }],
    ["a whole path", { path: "/public/admin", ...strip("/public/") }, { path: "/admin" }],
    ["the root", { path: "/public", ...strip("/public") }, { path: "/" }],
    ["a name that may be the prefix", { pathPrefix: "/{t}", ...strip("/public") }, { path: "/x/admin/y" }],
    ["more than the path says", { pathPrefix: "/a", ...strip("/a/b") }, { path: "/admin" }],
  ])("%s", (_, a, b) => {
    const found = [...overlaps(open(a), b), ...rewriteOverlaps(open(a), b)];
    expect(found).toEqual(["r0 r1"]);
  });

  it.each<[string, RouteSketch, RouteSketch]>([
    ["without a rewrite", { pathPrefix: "/public" }, { pathPrefix: "/admin" }],
    ["to another part", { pathPrefix: "/x", ...add("/public") }, { pathPrefix: "/admin" }],
    ["as an exception", { path: "/health" }, { pathPrefix: "/api", ...strip("/api") }],
    ["where the prefix never fits", { path: "/x", ...strip("/y") }, { path: "/" }],
    ["where the path is shorter", { path: "/x", ...strip("/x/y") }, { path: "/" }],
    ["on another host", { host: "a", pathPrefix: "/p", ...strip("/p") }, { host: "b", pathPrefix: "/admin" }],
  ])("but not %s", (_, a, b) => {
    expect(rewriteOverlaps(open(a), b)).toEqual([]);
  });

  it("is not told twice where the paths themselves overlap", () => {
    const routes = [open({ pathPrefix: "/", ...add("/v1") }), { pathPrefix: "/admin", ...add("/v1") }];
    expect(overlaps(...routes)).toEqual(["r0 r1"]);
    expect(rewriteOverlaps(...routes)).toEqual([]);
  });
});

describe("routes that can never match", () => {
  const reasons = (...sketches: RouteSketch[]) =>
    findUnreachable(buildRoutes(...sketches)).map(({ route, reason }) => `${route.name}: ${reason}`);

  it.each<[RouteSketch, string]>([
    [{ path: "/a%2Fb" }, "allowEncodedSlash"],
    [{ path: "/a;b" }, "allowSemicolon"],
    [{ path: "/a%3Bb" }, "allowSemicolon"],
    [{ headers: { v: " 1" } }, "no v field"],
    [{ headers: { v: "1\n" } }, "no v field"],
  ])("%j: %s", (sketch, why) => {
    expect(reasons(sketch)).toEqual([expect.stringContaining(why)]);
  });

  it("are none of these", () => {
    const allowed = { allowEncodedSlash: true, allowSemicolon: true };
    expect(reasons({}, { path: "/a%2Fb;c", ...allowed })).toEqual([]);
    expect(reasons({ headers: { v: "a\tb" } })).toEqual([]);
  });

  it("include an open one to which a guarded one never leaves anything", () => {
    const open: RouteSketch = { path: "/a", open: true, allowOverlap: true };
    const [route, ...others] = reasons(open, { name: "post", path: "/A", methods: ["POST"] });
    expect(route).toContain("post");
    expect(others).toEqual([]);
    expect(reasons({ ...open, path: "/a/{x}" }, { path: "/a/b" })).toEqual([]);
    expect(reasons(open, { path: "/a", headers: { v: "1" } })).toEqual([]);
    expect(reasons(open, { path: "/a", host: "gw" })).toEqual([]);
  });
});

describe("what the overlap check lets start can not be got round", () => {
  const names = ["a", "B", "c"];
  const parts = fc
    .array(fc.constantFrom(...names, "{x}"), { maxLength: 3 })
    .map((list) => list.map((p, i) => (p === "{x}" ? `{x${i}}` : p)));
  const sketch = fc.record({ parts, whole: fc.boolean(), open: fc.boolean(), allowOverlap: fc.boolean() });
  const requested = fc.array(fc.constantFrom(...names), { minLength: 1, maxLength: 4 });

  it("no forgiving spelling of a guarded path ends at an open route, but at one that is an exception there", () => {
    fc.assert(
      fc.property(fc.array(sketch, { minLength: 2, maxLength: 6 }), requested, fc.nat(), (sketches, segments, seed) => {
        const routes = buildRoutes(
          ...sketches.map(({ parts, whole, ...rest }) => ({
            ...rest,
            [whole ? "path" : "pathPrefix"]: `/${parts.join("/")}`,
          })),
        );
        fc.pre(findConflicts(routes).length === 0 && findOpenOverlaps(routes).length === 0);
        const table = compileRouteTable(routes);
        const plain = table.find("GET", null, `/${segments.join("/")}`, () => null);
        fc.pre(plain.kind === "found" && plain.route.access.kind === "rootKey");
        const spelled = `/${segments.map((s, i) => respell(s, seed >> (2 * i))).join("/")}`;
        const found = table.find("GET", null, spelled, () => null);
        if (found.kind !== "found" || found.route.access.kind !== "open") return;
        const alone = compileRouteTable(routes.filter((route) => route !== found.route));
        const without = alone.find("GET", null, spelled, () => null);
        expect(without.kind === "found" && without.route.access.kind).toBe("rootKey");
      }),
      { numRuns: 5_000 },
    );
  });
});

function respell(segment: string, seed: number): string {
  return [segment, segment.toUpperCase(), segment.toLowerCase(), `${segment}.`][seed & 3] as string;
}
