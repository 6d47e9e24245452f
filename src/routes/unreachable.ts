import { foldShape } from "./fold.ts";
import { findCoveredRoutes, hostWithin, pathWithin } from "./overlap.ts";
import { shapeOf } from "./pattern.ts";
import type { Route } from "./route.ts";

/** A route that no request is ever answered by, and why, for whoever wrote it. */
export interface UnreachableRoute {
  readonly route: Route;
  readonly reason: string;
}

/** Routes that can never take a request: worth a warning. Conflicts are `findConflicts`'. */
export function findUnreachable(routes: readonly Route[]): UnreachableRoute[] {
  const covered = findCoveredRoutes(routes);
  return routes.flatMap((route) => {
    const reason = reasonOf(route) ?? overruled(route, covered.get(route) ?? []);
    return reason === null ? [] : [{ route, reason }];
  });
}

function reasonOf({ match, allowEncodedSlash, allowSemicolon }: Route): string | null {
  const texts = match.path.segments.map((segment) => (segment.kind === "literal" ? segment.text : ""));
  if (!allowEncodedSlash && texts.some((text) => text.includes("%2F"))) {
    return "its path holds %2F, which is refused unless the route says allowEncodedSlash: true";
  }
  if (!allowSemicolon && texts.some((text) => /;|%3B/.test(text))) {
    return "its path holds a semicolon, which is refused unless the route says allowSemicolon: true";
  }
  const field = match.headers.find(([, value]) => value !== value.trim() || /[\0-\x08\x0a-\x1f\x7f]/.test(value));
  return field === undefined ? null : `no ${field[0]} field can have the value that it asks for`;
}

/** An open route with `allowOverlap` gives way to the guarded ones it covers: perhaps always. */
function overruled(open: Route, covered: readonly Route[]): string | null {
  const winner = covered.find(
    (guarded) =>
      guarded.match.headers.length === 0 &&
      hostWithin(open.match.host, guarded.match.host) &&
      pathWithin(foldShape(shapeOf(open.match.path)), foldShape(shapeOf(guarded.match.path))),
  );
  return winner === undefined ? null : `the guarded route ${winner.name} covers the same paths and always wins`;
}
