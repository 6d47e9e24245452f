import { conditionsMeet } from "./overlap.ts";
import { formatPlace, rankConditions } from "./precedence.ts";
import type { Route } from "./route.ts";

/** Two routes of which neither is more specific, though one request can match both. */
export interface RouteConflict {
  /** The one that comes first in the configuration. */
  readonly first: Route;
  readonly second: Route;
}

/** Routes that can not be told apart: mistakes of the configuration (contract section 2.1). */
export function findConflicts(routes: readonly Route[]): RouteConflict[] {
  const conflicts: RouteConflict[] = [];
  const byPlace = new Map<string, Route[]>();
  for (const second of routes) {
    const place = `${formatPlace(second.match)} ${rankConditions(second)}`;
    const others = byPlace.get(place) ?? [];
    byPlace.set(place, others);
    for (const first of others) if (conditionsMeet(first, second)) conflicts.push({ first, second });
    others.push(second);
  }
  return conflicts;
}
