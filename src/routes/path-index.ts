import type { PathShape } from "./pattern.ts";
import { compareConditions } from "./precedence.ts";
import type { Route } from "./route.ts";

/** Gives the value of a field that is there exactly once, by lower-case name, else null. */
export type ReadField = (name: string) => string | null;

/**
 * Routes by their path: a trie of segments. The cost of a look-up depends on the depth of the patterns, not on how many
 * there are; the path is split no deeper than the patterns go.
 */
export class PathIndex {
  readonly #root: PathNode = createNode();
  /** Whole paths without parameters: more specific than anything else, and one look-up away. */
  readonly #literal = new Map<string, Route[]>();

  /** `shape` is where the route is found: its own, or a folded form of it. */
  add(shape: PathShape, route: Route): void {
    const literal = literalPath(shape);
    if (literal === null) {
      insert(leafOf(this.#root, shape), route);
      return;
    }
    const routes = this.#literal.get(literal) ?? [];
    this.#literal.set(literal, routes);
    insert(routes, route);
  }

  /**
   * The most specific route that takes the request: whole path over prefix, then, segment by segment from the left,
   * static over parameter, then longer prefix over shorter; then routes that name methods, then more headers.
   */
  find(path: string, method: string, readField: ReadField): Route | null {
    const literal = this.#literal.get(path);
    if (literal !== undefined) {
      const route = pick(literal, method, readField);
      if (route !== null) return route;
    }
    return walk(this.#root, path, 0, method, readField);
  }

  /** Every route whose path matches, whatever its methods and headers. */
  matching(path: string): Route[] {
    const found = [...(this.#literal.get(path) ?? [])];
    collectMatching(this.#root, path, 0, found);
    return found;
  }
}

interface PathNode {
  readonly children: Map<string, PathNode>;
  parameter: PathNode | null;
  /** Routes whose pattern ends here; the most specific first. */
  readonly whole: Route[];
  readonly prefix: Route[];
}

function createNode(): PathNode {
  return { children: new Map(), parameter: null, whole: [], prefix: [] };
}

function literalPath({ kind, segments }: PathShape): string | null {
  let path = "";
  for (const segment of segments) {
    if (segment.kind === "parameter") return null;
    path += `/${segment.text}`;
  }
  return kind === "whole" ? path : null;
}

function leafOf(root: PathNode, { kind, segments }: PathShape): Route[] {
  let node = root;
  for (const segment of segments) {
    if (segment.kind === "parameter") {
      node.parameter ??= createNode();
      node = node.parameter;
    } else {
      const child = node.children.get(segment.text) ?? createNode();
      node.children.set(segment.text, child);
      node = child;
    }
  }
  return node[kind];
}

/** Keeps the routes of one pattern in order: those that name methods first, then more headers, then as configured. */
function insert(routes: Route[], route: Route): void {
  routes.push(route);
  routes.sort(compareConditions);
}

/** Whether a route answers a method. GET covers HEAD. */
export function takesMethod({ match: { methods } }: Route, method: string): boolean {
  return methods === null || methods.includes(method) || (method === "HEAD" && methods.includes("GET"));
}

export function takesFields({ match: { headers } }: Route, readField: ReadField): boolean {
  return headers.every(([name, value]) => readField(name) === value);
}

function pick(routes: readonly Route[], method: string, readField: ReadField): Route | null {
  for (const route of routes) {
    if (takesMethod(route, method) && (route.match.headers.length === 0 || takesFields(route, readField))) return route;
  }
  return null;
}

/**
 * `at` is where the next segment's slash stands, or the end of the path. A node is reached by one way only, so none is
 * visited twice, whatever the path.
 */
function walk(node: PathNode, path: string, at: number, method: string, readField: ReadField): Route | null {
  if (at === path.length) return pick(node.whole, method, readField) ?? pick(node.prefix, method, readField);
  let best: Route | null = null;
  if (node.parameter !== null || node.children.size > 0) {
    const slash = path.indexOf("/", at + 1);
    const end = slash === -1 ? path.length : slash;
    const child = node.children.get(path.slice(at + 1, end));
    if (child !== undefined) best = walk(child, path, end, method, readField);
    if (best?.match.path.kind === "whole") return best;
    if (node.parameter !== null && end > at + 1) {
      const other = walk(node.parameter, path, end, method, readField);
      if (best === null || other?.match.path.kind === "whole") best = other ?? best;
    }
  }
  return best ?? pick(node.prefix, method, readField);
}

function collectMatching(node: PathNode, path: string, at: number, found: Route[]): void {
  found.push(...node.prefix);
  if (at === path.length) {
    found.push(...node.whole);
    return;
  }
  const slash = path.indexOf("/", at + 1);
  const end = slash === -1 ? path.length : slash;
  const child = node.children.get(path.slice(at + 1, end));
  if (child !== undefined) collectMatching(child, path, end, found);
  if (node.parameter !== null && end > at + 1) collectMatching(node.parameter, path, end, found);
}
