import { parseHostPattern } from "../../src/routes/host.ts";
import { ANY_PATH, type PathPattern, parsePathPattern, type TextProblem } from "../../src/routes/pattern.ts";
import type { Rewrite, Route, RouteMatch } from "../../src/routes/route.ts";

export interface RouteSketch {
  name?: string;
  host?: string;
  methods?: string[];
  path?: string;
  pathPrefix?: string;
  headers?: Record<string, string>;
  open?: boolean;
  upstream?: string;
  rewrite?: Rewrite;
  allowOverlap?: boolean;
  allowEncodedSlash?: boolean;
  allowSemicolon?: boolean;
}

/** Routes as the configuration would compile them; names are `r0`, `r1` ... unless given. */
export function buildRoutes(...sketches: RouteSketch[]): Route[] {
  return sketches.map((sketch, index) => ({
    name: sketch.name ?? `r${index}`,
    index,
    match: buildMatch(sketch),
    access: sketch.open ? { kind: "open" } : { kind: "rootKey", requires: null },
    upstream: sketch.upstream ?? "u",
    rewrite: sketch.rewrite ?? null,
    preserveHost: true,
    authorization: "preserve",
    websocket: false,
    timeouts: { connectMs: null, responseMs: null, idleMs: null },
    maxBodyBytes: 0,
    allowEncodedSlash: sketch.allowEncodedSlash ?? false,
    allowSemicolon: sketch.allowSemicolon ?? false,
    allowOverlap: sketch.allowOverlap ?? false,
  }));
}

function buildMatch({ host, methods, path, pathPrefix, headers = {} }: RouteSketch): RouteMatch {
  return {
    host: host === undefined ? { kind: "any" } : sound(parseHostPattern(host)),
    methods: methods ?? null,
    path: buildPath(path, pathPrefix),
    headers: Object.entries(headers),
  };
}

function buildPath(path: string | undefined, pathPrefix: string | undefined): PathPattern {
  if (path !== undefined) return sound(parsePathPattern(path, "whole"));
  return pathPrefix === undefined ? ANY_PATH : sound(parsePathPattern(pathPrefix, "prefix"));
}

function sound<T extends { kind: string }>(parsed: T | TextProblem): T {
  if ("message" in parsed) throw new Error(parsed.message);
  return parsed;
}
