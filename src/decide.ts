import type { Fault } from "./faults/fault.ts";
import type { KeyRecord } from "./keys/root-key.ts";
import type { Clock, KeySource, Lookup } from "./keys/source.ts";
import type { PermissionQuery } from "./permissions/query.ts";
import type { FilledPlaceholder } from "./permissions/requirement.ts";
import type { Route } from "./routes/route.ts";
import type { RouteTable } from "./routes/table.ts";
import type { Target } from "./routes/target.ts";

/** The outcome of identifying and authorising one request. A refusal still knows whose key it was. */
export type Verdict =
  | {
      readonly kind: "admit";
      readonly label: "allowed" | "open";
      readonly route: Route;
      readonly record: KeyRecord | null;
      /** What the upstream is asked for: the canonical target, rewritten where the route says so. */
      readonly target: Target;
      /** The whole body where `{body...}` needed it read, else null: it streams. */
      readonly body: Buffer | null;
      readonly evidence: Evidence;
    }
  | {
      readonly kind: "refuse";
      /** Null: refused before there was a verdict on a key (no route, not clean). */
      readonly label: RefusalLabel | null;
      readonly fault: Fault;
      readonly route: Route | null;
      readonly record: KeyRecord | null;
      readonly evidence: Evidence;
    };

/** How the verdict came about: what `explain` shows. */
export interface Evidence {
  readonly lookup: Lookup | null;
  /** What was required of the key, its ids filled in; null where nothing was, or it never came to that. */
  readonly required: PermissionQuery | null;
  readonly filled: readonly FilledPlaceholder[];
}

/** The metric label `verdict` of a refusal. */
export type RefusalLabel =
  | "missing"
  | "malformed"
  | "key_not_found"
  | "key_expired"
  | "key_disabled"
  | "workspace_disabled"
  | "insufficient_permissions"
  | "invalid_resource_id"
  | "source_unavailable";

/** What decisions are made with. One per configuration generation; a reload makes a new one. */
export interface DecideContext {
  readonly table: RouteTable;
  readonly keys: KeySource;
  /** What a root key starts with; "" accepts any. */
  readonly keyPrefix: string;
  readonly now: Clock;
}

/** Reads the request's body, at most `maxBytes`; a Fault is 413, 408 or a client that left. Called at most once. */
export type ReadBody = (maxBytes: number) => Promise<Buffer | Fault>;
