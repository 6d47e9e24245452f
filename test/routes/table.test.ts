import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Route } from "../../src/routes/route.ts";
import { compileRouteTable, type RouteSearch } from "../../src/routes/table.ts";
import { cpuMsOf } from "../support/cpu-time.ts";
import { buildRoutes, type RouteSketch } from "./build-route.ts";

interface Asked {
  method?: string;
  host?: string | null;
  path: string;
  fields?: Record<string, string>;
}

function search(routes: readonly Route[], { method = "GET", host = "gw", path, fields = {} }: Asked): RouteSearch {
  return compileRouteTable(routes).find(method, host, path, (name) => fields[name] ?? null);
}

/** The route's name, the methods allowed, or `none`. */
function answer(sketches: RouteSketch[], asked: Asked): string {
  const result = search(buildRoutes(...sketches), asked);
  if (result.kind === "method") return result.allow.join(" ");
  return result.kind === "found" ? result.route.name : "none";
}

describe("what a route matches", () => {
  it.each([
    [{ path: "/a" }, "/a", true],
    [{ path: "/a" }, "/a/", false],
    [{ path: "/a" }, "/A", false],
    [{ path: "/a/" }, "/a", false],
    [{ path: "/" }, "/", true],
    [{ path: "/" }, "/a", false],
    [{ path: "/{x}" }, "/a", true],
    [{ path: "/{x}" }, "/", false],
    [{ path: "/{x}" }, "/a/", false],
    [{ path: "/a/{x}/c" }, "/a/b/c", true],
    [{ path: "/a/{x}/c" }, "/a/b/d", false],
    [{ pathPrefix: "/a" }, "/a", true],
    [{ pathPrefix: "/a" }, "/a/", true],
    [{ pathPrefix: "/a" }, "/a/b", true],
    [{ pathPrefix: "/a" }, "/ab", false],
    [{ pathPrefix: "/a/" }, "/a", true],
    [{ pathPrefix: "/a" }, "/a%2Fb", false],
    [{ pathPrefix: "/" }, "/x/y", true],
    [{ pathPrefix: "/a/{x}" }, "/a/b/c", true],
    [{ pathPrefix: "/a/{x}" }, "/a/", false],
    [{ pathPrefix: "/a/{x}" }, "/a", false],
    [{}, "/x", true],
  ])("%j: %s, %s", (sketch, path, matches) => {
    expect(answer([sketch], { path })).toBe(matches ? "r0" : "none");
  });

  it.each([
    ["api.example.com", "api.example.com", true],
    ["api.example.com", "x.api.example.com", false],
    ["*.example.com", "a.example.com", true],
    ["*.example.com", "a.b.example.com", true],
    ["*.example.com", "example.com", false],
    ["*.example.com", "badexample.com", false],
    ["api.example.com", null, false],
    ["*.example.com", null, false],
  ])("host %s: %s, %s", (host, asked, matches) => {
    expect(answer([{ host }], { host: asked, path: "/" })).toBe(matches ? "r0" : "none");
  });

  it("takes fields with exactly the value named", () => {
    const sketch = { headers: { "x-v": "2", "x-w": "" } };
    expect(answer([sketch], { path: "/", fields: { "x-v": "2", "x-w": "" } })).toBe("r0");
    expect(answer([sketch], { path: "/", fields: { "x-v": "2" } })).toBe("none");
    expect(answer([sketch], { path: "/", fields: { "x-v": "3", "x-w": "" } })).toBe("none");
  });

  it("gives the segments that stood for names, in their canonical form", () => {
    const routes = buildRoutes({ path: "/a/{x}/{y}" }, { pathPrefix: "/p/{z}" }, { path: "/plain" });
    const params = (path: string) => {
      const result = search(routes, { path });
      return result.kind === "found" ? Object.fromEntries(result.params) : null;
    };
    expect(params("/a/b%2Fc/*")).toEqual({ x: "b%2Fc", y: "*" });
    expect(params("/p/1/2/3")).toEqual({ z: "1" });
    expect(params("/plain")).toEqual({});
  });
});

describe("the most specific route wins", () => {
  it.each<[string, RouteSketch[], Asked, string]>([
    [
      "exact host over wildcard",
      [{ host: "*.b.c", path: "/x" }, { host: "a.b.c" }],
      { host: "a.b.c", path: "/x" },
      "r1",
    ],
    ["longer wildcard", [{ host: "*.c", path: "/x" }, { host: "*.b.c" }], { host: "a.b.c", path: "/x" }, "r1"],
    ["wildcard over any", [{ path: "/x" }, { host: "*.c" }], { host: "a.b.c", path: "/x" }, "r1"],
    ["a host that has no such path gives way", [{ path: "/x" }, { host: "gw", path: "/y" }], { path: "/x" }, "r0"],
    ["whole over prefix", [{ pathPrefix: "/a/b" }, { path: "/{x}/{y}" }], { path: "/a/b" }, "r1"],
    ["static over name", [{ path: "/{x}" }, { path: "/a" }], { path: "/a" }, "r1"],
    ["from the left", [{ path: "/{x}/b" }, { path: "/a/{y}" }], { path: "/a/b" }, "r1"],
    ["from the left, in prefixes too", [{ pathPrefix: "/{x}/b/c" }, { pathPrefix: "/a" }], { path: "/a/b/c" }, "r1"],
    ["longer prefix", [{ pathPrefix: "/a" }, { pathPrefix: "/a/b" }, {}], { path: "/a/b/c" }, "r1"],
    ["a name over nothing", [{ pathPrefix: "/a" }, { pathPrefix: "/a/{x}" }], { path: "/a/b" }, "r1"],
    ["back from a dead end", [{ path: "/a/b/c" }, { path: "/{x}/b/d" }], { path: "/a/b/d" }, "r1"],
    ["a prefix where the whole path ends dead", [{ path: "/a/b/c" }, { pathPrefix: "/a" }], { path: "/a/b" }, "r1"],
    ["methods over none", [{ path: "/a" }, { path: "/a", methods: ["GET"] }], { path: "/a" }, "r1"],
    [
      "more headers",
      [{ headers: { a: "1" } }, { headers: { a: "1", b: "2" } }],
      { path: "/", fields: { a: "1", b: "2" } },
      "r1",
    ],
    ["methods over headers", [{ headers: { a: "1" } }, { methods: ["GET"] }], { path: "/", fields: { a: "1" } }, "r1"],
    ["another where the method is not named", [{ path: "/a", methods: ["PUT"] }, {}], { path: "/a" }, "r1"],
    ["GET covers HEAD", [{ path: "/a", methods: ["GET"] }, {}], { method: "HEAD", path: "/a" }, "r0"],
  ])("%s", (_, sketches, asked, expected) => {
    expect(answer(sketches, asked)).toBe(expected);
    expect(answer([...sketches].map((sketch, i) => ({ name: `r${i}`, ...sketch })).reverse(), asked)).toBe(expected);
  });

  it("lists them in that order", () => {
    const table = compileRouteTable(
      buildRoutes(
        {},
        { pathPrefix: "/a" },
        { path: "/{x}" },
        { path: "/b" },
        { path: "/a" },
        { path: "/a", methods: ["GET"] },
        { path: "/a", headers: { x: "1" } },
        { pathPrefix: "/a/b" },
        { pathPrefix: "/{x}/b/c" },
        { host: "*.c" },
        { host: "*.b.c" },
        { host: "a.c" },
        { host: "b.c" },
      ),
    );
    expect(table.routes.map((route) => route.name).join(" ")).toBe("r11 r12 r10 r9 r5 r6 r4 r3 r2 r7 r1 r8 r0");
  });
});

describe("a path that matches with other methods only", () => {
  it.each<[string, RouteSketch[], Asked, string]>([
    [
      "names them all, sorted",
      [
        { path: "/a", methods: ["PUT"] },
        { pathPrefix: "/a", methods: ["GET"] },
      ],
      { method: "POST", path: "/a" },
      "GET HEAD PUT",
    ],
    [
      "over all hosts",
      [{ host: "gw", methods: ["PUT"] }, { host: "*.x", methods: ["GET"] }, { methods: ["POST"] }],
      { path: "/a" },
      "POST PUT",
    ],
    [
      "over wildcards",
      [
        { host: "*.b.c", methods: ["PUT"] },
        { host: "*.c", methods: ["POST"] },
      ],
      { host: "a.b.c", path: "/a" },
      "POST PUT",
    ],
    ["but where a header says otherwise", [{ methods: ["PUT"], headers: { a: "1" } }], { path: "/a" }, "none"],
    ["by name", [{ path: "/{x}/b", methods: ["PUT"] }], { path: "/a/b" }, "PUT"],
    ["without a host", [{ host: "gw", methods: ["PUT"] }], { host: null, path: "/a" }, "none"],
    ["in exact case", [{ methods: ["GET"] }], { method: "get", path: "/" }, "GET HEAD"],
  ])("%s", (_, sketches, asked, expected) => {
    expect(answer(sketches, asked)).toBe(expected);
  });
});

describe("an open route that covers a guarded one", () => {
  const OPEN: RouteSketch = { name: "open", pathPrefix: "/", open: true, allowOverlap: true };
  const ADMIN: RouteSketch = { name: "admin", pathPrefix: "/admin" };

  it.each([
    "/admin",
    "/ADMIN",
    "/Admin/x",
    "/admin/",
    "/admin.",
    "/admin...",
    "/admin%20",
    "/admin.%20.",
    "/admin%20/x",
    "/ADMIN./%20./x",
    "/.../admin",
    "/%20/admin",
    "/admin%23",
    "/admin%3Fx",
    "/admin%23/x",
    "/admin%25",
    "/admin%2Fx",
    "/admin;x",
    "/admin%3Bx/y",
    "/ADMIN.%2Fx;y%23z",
    "/adm%C4%B1n",
    "/%EF%BD%81dmin",
    "/admin%E3%80%80",
  ])("never takes %s", (path) => {
    expect(answer([OPEN, ADMIN], { path })).toBe("admin");
  });

  it.each(["/", "/administrator", "/admin-x", "/admin.x", "/x/admin", "/admin%26", "/adm%20in", "/%23/admin", "/%20"])(
    "takes %s",
    (path) => {
      expect(answer([OPEN, ADMIN], { path })).toBe("open");
    },
  );

  it("answers 405 for methods that the guarded route does not name, in any spelling", () => {
    const admin = { ...ADMIN, methods: ["GET"] };
    for (const path of ["/admin", "/ADMIN", "/admin./x"]) {
      expect(answer([OPEN, admin], { path })).toBe("admin");
      expect(answer([OPEN, admin], { method: "HEAD", path })).toBe("admin");
      expect(answer([OPEN, admin], { method: "POST", path })).toBe("GET HEAD");
    }
    expect(
      answer([OPEN, admin, { ...ADMIN, name: "post", methods: ["POST"] }], { method: "POST", path: "/ADMIN" }),
    ).toBe("post");
  });

  it("gives way for whole paths and names, whose values stay as they were sent", () => {
    const routes = buildRoutes(OPEN, { name: "whole", path: "/Keys/{id}/" });
    for (const [path, id] of [
      ["/KEYS/Ab", "Ab"],
      ["/keys/Ab.", "Ab."],
      ["/keys/a%2Fb/", "a%2Fb"],
    ] as const) {
      expect(search(routes, { path })).toMatchObject({
        kind: "found",
        route: { name: "whole" },
        params: new Map([["id", id]]),
      });
    }
    expect(answer([OPEN, { name: "root", path: "/", headers: {} }], { path: "/" })).toBe("root");
    expect(answer([OPEN, { name: "dots", pathPrefix: "/..." }], { path: "/x" })).toBe("open");
  });

  it("gives way where it would win by its host", () => {
    expect(answer([{ ...OPEN, host: "gw" }, ADMIN], { path: "/admin" })).toBe("admin");
    expect(answer([{ name: "open", path: "/{x}", open: true, allowOverlap: true }, ADMIN], { path: "/admin" })).toBe(
      "admin",
    );
  });

  it("gives way on its own upstream, within the guarded route's host and headers", () => {
    expect(answer([OPEN, { ...ADMIN, upstream: "other" }], { path: "/ADMIN" })).toBe("open");
    expect(answer([OPEN, { ...ADMIN, host: "a.b" }], { path: "/ADMIN" })).toBe("open");
    expect(answer([OPEN, { ...ADMIN, host: "*.b" }], { host: "a.b", path: "/ADMIN" })).toBe("admin");
    expect(answer([OPEN, { ...ADMIN, headers: { v: "1" } }], { path: "/ADMIN" })).toBe("open");
    expect(answer([OPEN, { ...ADMIN, headers: { v: "1" } }], { path: "/ADMIN", fields: { v: "1" } })).toBe("admin");
  });

  it("does not give way where it does not say allowOverlap, nor to a route that it is an exception to", () => {
    expect(answer([{ ...OPEN, allowOverlap: false }, ADMIN], { path: "/ADMIN" })).toBe("open");
    const health = { name: "health", path: "/health", open: true, allowOverlap: true };
    expect(answer([health, { name: "all", pathPrefix: "/" }], { path: "/health" })).toBe("health");
  });

  it("stays cheap for a path made to be read in many ways", () => {
    const table = compileRouteTable(buildRoutes(OPEN, ADMIN, { path: "/{a}/{b}/{c}" }));
    const path = "/x%2F;./%20%23%3F%C3%A4".repeat(350);
    const ms = cpuMsOf(() => expect(table.find("GET", "gw", path, () => null).kind).toBe("found"));
    expect(ms).toBeLessThan(1_000);
  });
});

describe("cost", () => {
  it("does not grow with a path of 2,000 segments", () => {
    const table = compileRouteTable(buildRoutes({ pathPrefix: "/a/{x}" }, { path: "/{p}/{q}/{r}" }, { path: "/a" }));
    const path = "/a".repeat(2_000);
    const ms = cpuMsOf(() => {
      for (let i = 0; i < 1_000; i++) table.find("GET", null, path, () => null);
    });
    expect(ms).toBeLessThan(2_000);
  });

  it("is flat from 10 to 10,000 routes", () => {
    const time = (count: number) => {
      const table = compileRouteTable(
        buildRoutes(...Array.from({ length: count }, (_, i) => ({ path: `/v2/things${i}/{id}`, host: `h${i % 7}.x` }))),
      );
      const best = [];
      for (let round = 0; round < 7; round++) {
        const started = performance.now();
        for (let i = 0; i < 20_000; i++) table.find("GET", "h3.x", "/v2/things3/abc", () => null);
        best.push(performance.now() - started);
      }
      return Math.min(...best);
    };
    const few = time(10);
    expect(time(10_000)).toBeLessThan(few * 50 + 50);
  });
});

describe("compared with a matcher that tries every route", () => {
  const segment = fc.constantFrom("a", "b", "{x}", "{y}");
  const path = fc.uniqueArray(segment, { maxLength: 3, selector: (text) => (text.startsWith("{") ? text : {}) });
  const kind = fc.constantFrom("path" as const, "pathPrefix" as const, null);
  const sketch = fc.record({
    host: fc.constantFrom(undefined, undefined, "a.b.c", "b.c", "*.b.c", "*.c"),
    methods: fc.constantFrom(undefined, ["GET"], ["POST"], ["PUT", "GET"]),
    headers: fc.constantFrom({}, { h: "1" }, { h: "2" }, { h: "1", i: "1" }),
    place: fc.tuple(kind, path, fc.boolean()),
  });
  const asked = fc.record({
    method: fc.constantFrom("GET", "POST", "HEAD", "DELETE"),
    host: fc.constantFrom("a.b.c", "b.c", "x.b.c", "x.c", "z", null),
    path: fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 4 }).map((parts) => `/${parts.join("/")}`),
    slash: fc.boolean(),
    fields: fc.constantFrom({}, { h: "1" }, { h: "1", i: "1" }, { h: "2" }),
  });

  it("finds the same", () => {
    fc.assert(
      fc.property(
        fc.array(sketch, { maxLength: 12 }),
        fc.array(asked, { minLength: 1, maxLength: 12 }),
        (sketches, all) => {
          const routes = buildRoutes(
            ...sketches.map(({ place: [key, parts, slash], host, methods, headers }) => ({
              ...(host !== undefined && { host }),
              ...(methods !== undefined && { methods: [...methods] }),
              headers: headers as Record<string, string>,
              ...(key !== null && { [key]: `/${parts.join("/")}${slash && parts.length > 0 ? "/" : ""}` }),
            })),
          );
          const table = compileRouteTable(routes);
          for (const { method, host, path, slash, fields } of all) {
            const text = slash && path !== "/" ? `${path}/` : path;
            const found = table.find(method, host, text, (name) => (fields as Record<string, string>)[name] ?? null);
            expect(found).toEqual(findNaively(routes, method, host, text, fields));
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

/** Contract section 2.1, said another way: every route is tried, and each criterion in turn leaves the best. */
function findNaively(
  routes: readonly Route[],
  method: string,
  host: string | null,
  path: string,
  fields: Record<string, string>,
): RouteSearch {
  const placed = routes.filter(
    ({ match }) =>
      (match.host.kind === "any" ||
        (host !== null &&
          (match.host.kind === "exact" ? match.host.name === host : host.endsWith(match.host.suffix)))) &&
      expressionOf(match.path).test(path) &&
      match.headers.every(([name, value]) => fields[name] === value),
  );
  const named = (route: Route) => {
    const { methods } = route.match;
    return methods?.includes("GET") ? [...methods, "HEAD"] : methods;
  };
  let left = placed.filter((route) => named(route)?.includes(method) ?? true);
  if (left.length === 0) {
    const allow = [...new Set(placed.flatMap((route) => named(route) ?? []))].sort();
    return allow.length > 0 ? { kind: "method", allow } : { kind: "none" };
  }
  const keep = (score: (route: Route) => number | string) => {
    const scores = left.map(score);
    const best = [...scores].sort((a, b) => (a < b ? 1 : -1))[0];
    left = left.filter((_, i) => scores[i] === best);
  };
  keep(({ match: { host: h } }) => (h.kind === "exact" ? 1000 : h.kind === "wildcard" ? h.suffix.length : 0));
  keep(({ match }) => (match.path.kind === "whole" ? 1 : 0));
  keep(({ match }) => match.path.segments.map(({ kind }) => (kind === "literal" ? "2" : "1")).join(""));
  keep(({ match }) => (match.methods === null ? 0 : 1));
  keep(({ match }) => match.headers.length);
  const route = left[0] as Route;
  const values = path.split("/").slice(1);
  const params = new Map<string, string>();
  for (const [i, part] of route.match.path.segments.entries()) {
    if (part.kind === "parameter") params.set(part.name, values[i] as string);
  }
  return { kind: "found", route, params };
}

function expressionOf({ kind, segments }: Route["match"]["path"]): RegExp {
  const text = segments.map((part) => `/${part.kind === "literal" ? part.text : "[^/]+"}`).join("");
  return new RegExp(kind === "whole" ? `^${text}$` : `^${text}(/|$)`);
}
