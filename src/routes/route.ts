import type { Requirement } from "../permissions/requirement.ts";
import type { PathPattern } from "./pattern.ts";

/** A compiled route. Immutable; `index` is its slot in tables of counters. */
export interface Route {
  readonly name: string;
  /** Position in the configuration, from 0. */
  readonly index: number;
  readonly match: RouteMatch;
  readonly access: Access;
  /** The upstream's name. */
  readonly upstream: string;
  readonly rewrite: Rewrite | null;
  readonly preserveHost: boolean;
  readonly authorization: "preserve" | "strip";
  readonly websocket: boolean;
  /** Null: the upstream's own. Milliseconds. */
  readonly timeouts: RouteTimeouts;
  /** Bytes of a request body that are let through; more is 413. */
  readonly maxBodyBytes: number;
  readonly allowEncodedSlash: boolean;
  readonly allowSemicolon: boolean;
  /** On an open route: it covers a guarded one and says so (section 2.1). */
  readonly allowOverlap: boolean;
}

export interface RouteMatch {
  /** `kind: any` where the configuration names no host. Names in lower case. */
  readonly host:
    | { readonly kind: "any" }
    | { readonly kind: "exact"; readonly name: string }
    /** `*.example.com`: `suffix` is `.example.com`. */
    | { readonly kind: "wildcard"; readonly suffix: string };
  /** Null: any method. HEAD is included where GET is. */
  readonly methods: readonly string[] | null;
  readonly path: PathPattern;
  /** Lower-case name and exact value; all must match. */
  readonly headers: readonly (readonly [name: string, value: string])[];
}

/** Who may pass. Absent in YAML means `rootKey`; a route is open only where `auth: none` is said. */
export type Access =
  | { readonly kind: "open" }
  /** `requires: null`: any valid key. */
  | { readonly kind: "rootKey"; readonly requires: Requirement | null };

export type Rewrite =
  | { readonly kind: "stripPrefix"; readonly prefix: string }
  | { readonly kind: "addPrefix"; readonly prefix: string };

/** Milliseconds; null takes the upstream's. */
export interface RouteTimeouts {
  readonly connectMs: number | null;
  readonly responseMs: number | null;
  readonly idleMs: number | null;
}
