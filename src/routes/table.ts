import { foldShape, readPath } from "./fold.ts";
import { HostIndex } from "./host-index.ts";
import { findCoveredRoutes } from "./overlap.ts";
import { type ReadField, takesFields } from "./path-index.ts";
import { type PathPattern, shapeOf } from "./pattern.ts";
import { compareRoutes } from "./precedence.ts";
import type { Route } from "./route.ts";

/** All routes, compiled for look-up: the most specific one wins (contract section 2.1). */
export interface RouteTable {
  /** In matching order. */
  readonly routes: readonly Route[];
  /**
   * `host` is lower case, without port, null when the request has none. `path` is canonical. `header` gives the value
   * of a field that is there exactly once (lower-case name), else null.
   */
  find(method: string, host: string | null, path: string, header: (name: string) => string | null): RouteSearch;
}

export type RouteSearch =
  | { readonly kind: "found"; readonly route: Route; readonly params: PathParams }
  /** The path matches, with other methods only. */
  | { readonly kind: "method"; readonly allow: readonly string[] }
  | { readonly kind: "none" };

/** The segments that stood for `{name}`, canonical (still percent-encoded where that is canonical). */
export type PathParams = ReadonlyMap<string, string>;

/**
 * Compiles the routes. Their order makes no difference, but for two that can not be told apart (`findConflicts`), of
 * which the first is taken.
 */
export function compileRouteTable(routes: readonly Route[]): RouteTable {
  const index = new HostIndex();
  for (const route of routes) index.add(shapeOf(route.match.path), route);
  const guards = compileGuards(routes);
  return {
    routes: [...routes].sort(compareRoutes),
    find(method, host, path, header) {
      const route = index.find(host, path, method, header);
      if (route === null) return otherMethods(index.matching(host, path), header) ?? NONE;
      const guard = route.allowOverlap ? guards.get(route) : undefined;
      const guarded = guard === undefined ? null : findGuarded(guard, method, host, path, header);
      return guarded ?? { kind: "found", route, params: readParams(route.match.path, path) };
    },
  };
}

const NONE: RouteSearch = { kind: "none" };
const NO_PARAMS: PathParams = new Map();

/** For each open route that says `allowOverlap`: the guarded routes it covers, by folded path. */
function compileGuards(routes: readonly Route[]): ReadonlyMap<Route, HostIndex> {
  const guards = new Map<Route, HostIndex>();
  for (const [open, covered] of findCoveredRoutes(routes)) {
    if (!open.allowOverlap) continue;
    const guard = new HostIndex();
    for (const route of covered) guard.add(foldShape(shapeOf(route.match.path)), route);
    guards.set(open, guard);
  }
  return guards;
}

/**
 * Before an open route takes a request: is it one for a guarded route, spelled in a way that the upstream may forgive?
 * Then it is that route's, or 405 where that route does not name the method; never the open one's.
 */
function findGuarded(
  guard: HostIndex,
  method: string,
  host: string | null,
  path: string,
  header: ReadField,
): RouteSearch | null {
  const matching: Route[] = [];
  for (const reading of readPath(path)) {
    const route = guard.find(host, reading.path, method, header);
    if (route !== null) return { kind: "found", route, params: readParams(route.match.path, reading.text) };
    matching.push(...guard.matching(host, reading.path));
  }
  return otherMethods(matching, header);
}

/** What answers a request that none of the routes on its path takes; null where its headers fit none either. */
function otherMethods(routes: readonly Route[], header: ReadField): RouteSearch | null {
  const allow = new Set<string>();
  for (const route of routes) {
    if (!takesFields(route, header)) continue;
    for (const method of route.match.methods ?? []) allow.add(method);
  }
  if (allow.has("GET")) allow.add("HEAD");
  return allow.size === 0 ? null : { kind: "method", allow: [...allow].sort() };
}

function readParams({ segments }: PathPattern, path: string): PathParams {
  let params: Map<string, string> | null = null;
  let at = 0;
  for (const segment of segments) {
    const slash = path.indexOf("/", at + 1);
    const end = slash === -1 ? path.length : slash;
    if (segment.kind === "parameter") {
      params ??= new Map();
      params.set(segment.name, path.slice(at + 1, end));
    }
    at = end;
  }
  return params ?? NO_PARAMS;
}
