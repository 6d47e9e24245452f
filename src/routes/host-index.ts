import { PathIndex, type ReadField } from "./path-index.ts";
import type { PathShape } from "./pattern.ts";
import type { Route } from "./route.ts";

/** Routes by host, then by path. A more specific host comes first, whatever the path: exact, wildcard, any. */
export class HostIndex {
  readonly #exact = new Map<string, PathIndex>();
  /** By suffix, as in `.example.com`. */
  readonly #wildcard = new Map<string, PathIndex>();
  readonly #any = new PathIndex();

  /** `shape` is where the route is found: its own, or a folded form of it. */
  add(shape: PathShape, route: Route): void {
    const { host } = route.match;
    if (host.kind === "any") this.#any.add(shape, route);
    else if (host.kind === "exact") indexAt(this.#exact, host.name).add(shape, route);
    else indexAt(this.#wildcard, host.suffix).add(shape, route);
  }

  find(host: string | null, path: string, method: string, readField: ReadField): Route | null {
    if (host !== null) {
      const exact = this.#exact.get(host)?.find(path, method, readField);
      if (exact) return exact;
      if (this.#wildcard.size > 0) {
        for (let dot = host.indexOf("."); dot !== -1; dot = host.indexOf(".", dot + 1)) {
          const route = this.#wildcard.get(host.slice(dot))?.find(path, method, readField);
          if (route) return route;
        }
      }
    }
    return this.#any.find(path, method, readField);
  }

  /** Every route whose host and path match, whatever its methods and headers. */
  matching(host: string | null, path: string): Route[] {
    const found = this.#any.matching(path);
    if (host === null) return found;
    found.push(...(this.#exact.get(host)?.matching(path) ?? []));
    for (let dot = host.indexOf("."); dot !== -1; dot = host.indexOf(".", dot + 1)) {
      found.push(...(this.#wildcard.get(host.slice(dot))?.matching(path) ?? []));
    }
    return found;
  }
}

function indexAt(indexes: Map<string, PathIndex>, name: string): PathIndex {
  const index = indexes.get(name) ?? new PathIndex();
  indexes.set(name, index);
  return index;
}
