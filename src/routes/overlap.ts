import { foldShape } from "./fold.ts";
import { takesMethod } from "./path-index.ts";
import { type PathShape, type PatternSegment, shapeOf } from "./pattern.ts";
import { formatPlace, rankConditions } from "./precedence.ts";
import type { Rewrite, Route, RouteMatch } from "./route.ts";

/** An open route that would take some spelling of a guarded one's path, both on one upstream. */
export interface RouteOverlap {
  readonly open: Route;
  readonly guarded: Route;
}

/**
 * Open routes that cover a guarded one and do not say `allowOverlap`: mistakes of the configuration. An upstream that
 * reads `/ADMIN` or `/admin.` as `/admin` would let anyone in through the open route.
 *
 * An open route covers a guarded one where their hosts, methods and headers can meet, and their paths too once letter
 * case and the like are ignored; unless it is an exception to the guarded one, that is takes nothing that would not be
 * the guarded route's without it (an open `/health` in a guarded `/`).
 */
export function findOpenOverlaps(routes: readonly Route[]): RouteOverlap[] {
  return listOverlaps(findCoveredRoutes(routes)).filter(({ open }) => !open.allowOverlap);
}

/**
 * Open routes whose `rewrite` takes requests to what a guarded route leads to, though their own paths do not cover it:
 * an open `/public` that strips `/public` reaches the `/admin` of its upstream as `/public/admin`. Worth a warning.
 */
export function findRewriteOverlaps(routes: readonly Route[]): RouteOverlap[] {
  const covered = findCoveredRoutes(routes);
  return listOverlaps(matchUp(routes, upstreamShapes)).filter(
    ({ open, guarded }) => (open.rewrite ?? guarded.rewrite) !== null && !covered.get(open)?.includes(guarded),
  );
}

/** The guarded routes that each open one covers, whether it may or not. */
export function findCoveredRoutes(routes: readonly Route[]): ReadonlyMap<Route, readonly Route[]> {
  return matchUp(routes, (route) => [shapeOf(route.match.path)]);
}

/** Whether every request of `inner` has a host that `outer` takes. */
export function hostWithin(inner: RouteMatch["host"], outer: RouteMatch["host"]): boolean {
  if (outer.kind === "any") return true;
  if (outer.kind === "exact") return inner.kind === "exact" && inner.name === outer.name;
  if (inner.kind === "any") return false;
  return (inner.kind === "exact" ? inner.name : inner.suffix).endsWith(outer.suffix);
}

/** Whether every path that `inner` matches is one that `outer` matches. */
export function pathWithin(inner: PathShape, outer: PathShape): boolean {
  if (inner.segments.length < outer.segments.length) return false;
  if (outer.kind === "whole" && (inner.kind !== "whole" || inner.segments.length > outer.segments.length)) return false;
  return outer.segments.every((segment, i) => segmentWithin(inner.segments[i], segment));
}

function segmentWithin(inner: PatternSegment | undefined, outer: PatternSegment): boolean {
  if (outer.kind === "parameter") return inner?.kind === "parameter" || (inner?.text ?? "") !== "";
  return inner?.kind === "literal" && inner.text === outer.text;
}

/** Whether one request can have the methods and headers that both ask for. */
export function conditionsMeet(a: Route, b: Route): boolean {
  return (
    methodsMeet(a, b) && !a.match.headers.some((field) => b.match.headers.some((other) => contradict(field, other)))
  );
}

function methodsMeet(a: Route, b: Route): boolean {
  if (a.match.methods === null || b.match.methods === null) return true;
  return a.match.methods.some((method) => takesMethod(b, method)) || b.match.methods.some((m) => takesMethod(a, m));
}

function contradict([name, value]: readonly [string, string], [otherName, otherValue]: readonly [string, string]) {
  return name === otherName && value !== otherValue;
}

type Shapes = (route: Route) => readonly PathShape[];

/** A guarded route, and one of the paths it takes or leads to. */
interface GuardedPath {
  readonly route: Route;
  readonly shapes: readonly PathShape[];
}

function listOverlaps(covered: ReadonlyMap<Route, readonly Route[]>): RouteOverlap[] {
  return [...covered].flatMap(([open, routes]) => routes.map((guarded) => ({ open, guarded })));
}

function matchUp(routes: readonly Route[], shapes: Shapes): Map<Route, Route[]> {
  const guardedPaths = new Map<string, ShapeIndex<GuardedPath>>();
  for (const route of routes) {
    if (route.access.kind === "open") continue;
    const guarded: GuardedPath = { route, shapes: shapes(route) };
    const index = guardedPaths.get(route.upstream) ?? new ShapeIndex();
    guardedPaths.set(route.upstream, index);
    for (const shape of guarded.shapes) index.add(foldShape(shape), guarded);
  }
  const covered = new Map<Route, Route[]>();
  for (const open of routes) {
    const index = open.access.kind === "open" ? guardedPaths.get(open.upstream) : undefined;
    const found = new Set<Route>();
    for (const shape of index === undefined ? [] : shapes(open)) {
      for (const guarded of index?.meeting(foldShape(shape)) ?? []) {
        if (covers(open, shape, guarded)) found.add(guarded.route);
      }
    }
    if (found.size > 0)
      covered.set(
        open,
        [...found].sort((a, b) => a.index - b.index),
      );
  }
  return covered;
}

/** Their paths meet; does everything else, and is the open route no exception? */
function covers(open: Route, shape: PathShape, { route, shapes }: GuardedPath): boolean {
  const [ours, theirs] = [open.match.host, route.match.host];
  if (!hostWithin(ours, theirs) && !hostWithin(theirs, ours)) return false;
  if (!conditionsMeet(open, route)) return false;
  const outer = shapes.find((candidate) => pathWithin(shape, candidate));
  if (outer === undefined || !hostWithin(ours, theirs)) return true;
  if (!pathWithin(outer, shape) || !hostWithin(theirs, ours)) return false;
  return formatPlace(open.match) !== formatPlace(route.match) || rankConditions(open) >= rankConditions(route);
}

/** The paths that the upstream may be asked for: at least those, where a parameter leaves it open. */
function upstreamShapes({ match, rewrite }: Route): readonly PathShape[] {
  const shape = shapeOf(match.path);
  if (rewrite === null) return [shape];
  const prefix = prefixSegments(rewrite);
  if (rewrite.kind === "addPrefix") return [{ kind: shape.kind, segments: [...prefix, ...shape.segments] }];
  return strippedShapes(shape, prefix);
}

function prefixSegments({ prefix }: Rewrite): PatternSegment[] {
  return prefix.split("/").flatMap((text) => (text === "" ? [] : [{ kind: "literal" as const, text }]));
}

function strippedShapes(shape: PathShape, prefix: readonly PatternSegment[]): PathShape[] {
  const common = shape.segments.slice(0, prefix.length);
  if (!common.every((segment, i) => segmentWithin(prefix[i], segment))) return [shape];
  if (common.length < prefix.length) return shape.kind === "whole" ? [shape] : [shape, ROOT_PREFIX];
  const rest = shape.segments.slice(prefix.length);
  const stripped: PathShape = shape.kind === "whole" && rest.length === 0 ? ROOT : { kind: shape.kind, segments: rest };
  return common.every((segment) => segment.kind === "literal") ? [stripped] : [shape, stripped];
}

const ROOT: PathShape = { kind: "whole", segments: [{ kind: "literal", text: "" }] };
const ROOT_PREFIX: PathShape = { kind: "prefix", segments: [] };

/** Values by shape, to find those whose paths meet another shape's without comparing each with each. */
class ShapeIndex<T> {
  readonly #children = new Map<string, ShapeIndex<T>>();
  #parameter: ShapeIndex<T> | null = null;
  readonly #whole: T[] = [];
  readonly #prefix: T[] = [];

  add(shape: PathShape, value: T, depth = 0): void {
    const segment = shape.segments[depth];
    if (segment === undefined) {
      (shape.kind === "whole" ? this.#whole : this.#prefix).push(value);
    } else if (segment.kind === "parameter") {
      this.#parameter ??= new ShapeIndex();
      this.#parameter.add(shape, value, depth + 1);
    } else {
      const child = this.#children.get(segment.text) ?? new ShapeIndex<T>();
      this.#children.set(segment.text, child);
      child.add(shape, value, depth + 1);
    }
  }

  meeting(shape: PathShape, depth = 0): T[] {
    const segment = shape.segments[depth];
    if (segment === undefined) return shape.kind === "prefix" ? this.#all() : [...this.#whole, ...this.#prefix];
    const next = segment.kind === "parameter" ? this.#next() : [this.#children.get(segment.text), this.#parameter];
    return [...this.#prefix, ...next.flatMap((index) => (index ? index.meeting(shape, depth + 1) : []))];
  }

  #all(): T[] {
    const below = this.#next().flatMap((index) => (index === null ? [] : index.#all()));
    return [...this.#whole, ...this.#prefix, ...below];
  }

  #next(): (ShapeIndex<T> | null)[] {
    return [...this.#children.values(), this.#parameter];
  }
}
