import { beforeAll, describe, expect, it } from "vitest";
import { isFault } from "../../src/faults/fault.ts";
import { readHead } from "../../src/head.ts";
import { compileRouteTable, type RouteTable } from "../../src/routes/table.ts";
import { checkRouteAllows } from "../../src/routes/target.ts";
import { buildRoutes, type RouteSketch } from "./build-route.ts";
import { type DispatchedSpelling, dispatchedSpellings, HOST } from "./dispatching-servers.ts";
import { generateSpellings } from "./spellings.ts";

/**
 * The upstream decides what a path means, and upstreams differ. Real ones say here which spellings they would hand to
 * their `/admin`; in front of them, with everything else open to anyone, each of those needs a key or is refused.
 */

const LIMITS = { headerLines: 100, headerBytes: 16_384, targetBytes: 8192, viaToken: "x" };
const ADMIN: RouteSketch = { name: "admin", pathPrefix: "/admin" };
const OPEN: RouteSketch = { name: "open", pathPrefix: "/", open: true, allowOverlap: true };

/** What becomes of a spelling without a key: `refused`, `guarded` or `open`. */
function decide(target: string, table: RouteTable): string {
  const head = readHead("GET", target, "1.1", ["Host", HOST], LIMITS);
  if (isFault(head)) return "refused";
  const found = table.find("GET", head.host, head.target.path, () => null);
  if (found.kind !== "found" || checkRouteAllows(head.target, found.route) !== null) return "refused";
  return found.route.access.kind === "open" ? "open" : "guarded";
}

let dispatched: readonly DispatchedSpelling[];

beforeAll(async () => {
  dispatched = await dispatchedSpellings();
});

describe("a spelling that a server hands to its guarded part", () => {
  it("is among thousands, and every server knows some that others do not", () => {
    expect(generateSpellings(HOST).length).toBeGreaterThanOrEqual(5_000);
    const known = new Map<string, number>();
    for (const { servers } of dispatched) for (const name of servers) known.set(name, (known.get(name) ?? 0) + 1);
    const names = ["express 4", "express 5", "fastify", "fastify, forgiving", "hono"];
    for (const name of names) expect(known.get(name), name).toBeGreaterThan(20);
    expect(new Set(dispatched.map(({ servers }) => servers.join())).size).toBeGreaterThan(10);
    const serversOf = (target: string) => dispatched.find((spelling) => spelling.target === target)?.servers ?? [];
    expect(serversOf("/ADMIN")).toEqual(expect.arrayContaining(["express 4", "express 5"]));
    expect(serversOf("/ADMIN")).not.toContain("fastify");
    expect(serversOf("/%61dmin")).toEqual(expect.arrayContaining(["fastify", "hono"]));
    expect(serversOf("/public/admin")).toEqual([]);
  });

  it.each<[string, RouteSketch]>([
    ["where everything else is open", OPEN],
    ["where the open route lets %2F and ; through", { ...OPEN, allowEncodedSlash: true, allowSemicolon: true }],
    ["where the open route is for this host", { ...OPEN, host: HOST }],
  ])("does not pass without a key %s", (_, open) => {
    const table = compileRouteTable(buildRoutes(ADMIN, open));
    const passed = dispatched.filter(({ target }) => decide(target, table) === "open");
    expect(passed).toEqual([]);
  });

  it("is not kept out by refusing or guarding everything", () => {
    const table = compileRouteTable(buildRoutes(ADMIN, OPEN));
    for (const target of ["/", "/x", "/public/x?y", "/administrator", "/admin-x", `http://${HOST}/x`]) {
      expect(decide(target, table), target).toBe("open");
    }
    const outcomes = dispatched.map(({ target }) => decide(target, table));
    expect(outcomes.filter((outcome) => outcome === "guarded").length).toBeGreaterThan(100);
  });

  it("would pass if the open route did not give way", () => {
    const careless = compileRouteTable(buildRoutes(ADMIN, { ...OPEN, allowOverlap: false }));
    expect(dispatched.some(({ target }) => decide(target, careless) === "open")).toBe(true);
  });
});
