import { formatHostPattern } from "./host.ts";
import { type PathPattern, type PathShape, shapeOf } from "./pattern.ts";
import type { Route, RouteMatch } from "./route.ts";

/**
 * Which of two routes goes first where both take a request (contract section 2.1). Routes that no request could match
 * both stand by host and path, so that a list of them reads well.
 */
export function compareRoutes(a: Route, b: Route): number {
  return (
    compareHosts(a.match.host, b.match.host) || comparePaths(a.match.path, b.match.path) || compareConditions(a, b)
  );
}

/** For two routes with one host and path: the one that names methods first, then more headers, then as configured. */
export function compareConditions(a: Route, b: Route): number {
  return rankConditions(a) - rankConditions(b) || a.index - b.index;
}

/** By what `compareConditions` goes before it looks at the order of the configuration: equal for two of one rank. */
export function rankConditions({ match: { methods, headers } }: Route): number {
  return (methods === null ? 1_000_000 : 0) - headers.length;
}

/** Equal for two routes with the same host and with paths that match the same. */
export function formatPlace({ host, path }: RouteMatch): string {
  return `${formatHostPattern(host)} ${formatShape(shapeOf(path))}`;
}

/** Names of parameters make no difference; a prefix ends in an asterisk. */
function formatShape({ kind, segments }: PathShape): string {
  const path = segments.map((segment) => (segment.kind === "literal" ? `/${segment.text}` : "/{}")).join("");
  return kind === "whole" ? path : `${path}/**`;
}

const HOST_RANK = { exact: 0, wildcard: 1, any: 2 } as const;

function compareHosts(a: RouteMatch["host"], b: RouteMatch["host"]): number {
  if (a.kind === "wildcard" && b.kind === "wildcard" && a.suffix.length !== b.suffix.length) {
    return b.suffix.length - a.suffix.length;
  }
  return HOST_RANK[a.kind] - HOST_RANK[b.kind] || compareTexts(formatHostPattern(a), formatHostPattern(b));
}

function comparePaths(a: PathPattern, b: PathPattern): number {
  const [first, second] = [shapeOf(a), shapeOf(b)];
  if (first.kind !== second.kind) return first.kind === "whole" ? -1 : 1;
  for (const [i, segment] of first.segments.entries()) {
    const other = second.segments[i];
    if (other === undefined) return -1;
    if (segment.kind !== other.kind) return segment.kind === "literal" ? -1 : 1;
  }
  return first.segments.length - second.segments.length || compareTexts(formatShape(first), formatShape(second));
}

function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
