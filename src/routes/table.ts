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
