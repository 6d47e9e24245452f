import { type Fault, fault } from "./faults/fault.ts";
import { headerCount, headerValue, type RequestHead } from "./head.ts";
import { hashKey, readBearer } from "./keys/bearer.ts";
import { type KeyHash, type KeyRecord, type Standing, standing } from "./keys/root-key.ts";
import { type Clock, type KeySource, type Lookup, SourceUnavailable } from "./keys/source.ts";
import { type JsonBody, parseJsonBody, unreadRefusal } from "./permissions/json-body.ts";
import { formatUnmet, type PermissionQuery, unmet } from "./permissions/query.ts";
import { faultBeforeBody, type PlaceholderInputs, readResourceIds } from "./permissions/read-resource-ids.ts";
import { type FilledPlaceholder, fillRequirement, type Requirement } from "./permissions/requirement.ts";
import type { Route } from "./routes/route.ts";
import type { PathParams, RouteSearch, RouteTable } from "./routes/table.ts";
import { checkRouteAllows, rewriteTarget, type Target } from "./routes/target.ts";

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

/**
 * Matches, authenticates and authorises one request. The answer is there at once unless the key has to be looked up
 * beyond memory or the body has to be read. Rejects only for a defect: every refusal is a verdict.
 */
export function decide(head: RequestHead, context: DecideContext, readBody: ReadBody): Verdict | Promise<Verdict> {
  const search = context.table.find(head.method, head.host, head.target.path, (name) => headerValue(head, name));
  if (search.kind !== "found") {
    // Nothing allows `%2F` or `;` where there is no route to allow it.
    const reason = checkRouteAllows(head.target, NO_ROUTE) ?? routingFault(search);
    return refuse(null, reason, null, null, NOTHING_SEEN);
  }
  const { route } = search;
  const target = upstreamTarget(head.target, route);
  if (target.kind === "fault") return refuse(null, target, route, null, NOTHING_SEEN);

  if (route.access.kind === "open") {
    return head.authorizationCount > 1
      ? refuse(null, doubledAuthorization(), route, null, NOTHING_SEEN)
      : { kind: "admit", label: "open", route, record: null, target, body: null, evidence: NOTHING_SEEN };
  }

  const bearer = readBearer(head.authorization, head.authorizationCount, context.keyPrefix);
  if (bearer.kind !== "secret") {
    return refuse(bearer.kind, fault(`unkey:authentication:${bearer.kind}`), route, null, NOTHING_SEEN);
  }
  const hash = hashKey(bearer.secret);
  const candidate: Candidate = { head, route, params: search.params, target, requires: route.access.requires, hash };
  let lookup: Lookup | Promise<Lookup>;
  try {
    lookup = context.keys.find(hash);
  } catch (error) {
    return sourceUnavailable(route, error);
  }
  if (!(lookup instanceof Promise)) return authorise(candidate, lookup, context, readBody);
  return lookup.then(
    (found) => authorise(candidate, found, context, readBody),
    (error: unknown) => sourceUnavailable(route, error),
  );
}

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
      /** Null where it was not for the key: no route, a target or a body that is not clean. */
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

/** A request whose route is known and whose key is being judged. */
interface Candidate {
  readonly head: RequestHead;
  readonly route: Route;
  readonly params: PathParams;
  readonly target: Target;
  readonly requires: Requirement | null;
  readonly hash: KeyHash;
}

const NO_ROUTE = { allowEncodedSlash: false, allowSemicolon: false };

const NOTHING_SEEN: Evidence = { lookup: null, required: null, filled: [] };

/** Everything that depends on the record is judged here, on every request, by the clock: no verdict is ever cached. */
function authorise(
  candidate: Candidate,
  lookup: Lookup,
  context: DecideContext,
  body: ReadBody | Buffer,
): Verdict | Promise<Verdict> {
  const { head, route, requires } = candidate;
  const { record } = lookup;
  const seen: Evidence = { lookup, required: null, filled: [] };
  if (record === null) return refuse("key_not_found", fault("unkey:authentication:key_not_found"), route, null, seen);
  const stands = standing(record, context.now());
  if (stands !== "valid") return refuseStanding(stands, route, record, seen);

  if (requires === null) return admit(candidate, record, null, seen);
  if (requires.fixed !== null) return permit(candidate, record, requires.fixed, [], null, lookup);
  if (!requires.needsBody) return permitWithIds(candidate, requires, record, null, lookup);
  if (Buffer.isBuffer(body)) return permitWithIds(candidate, requires, record, body, lookup);
  const certain = faultBeforeBody(
    requires,
    placeholderInputs(candidate, unreadRefusal(head.contentType, isCoded(head))),
  );
  if (certain !== null) return refuseIds(candidate, record, certain, lookup);
  return body(route.maxBodyBytes).then((read) =>
    Buffer.isBuffer(read) ? authoriseAgain(candidate, lookup, context, read) : refuse(null, read, route, record, seen),
  );
}

/**
 * A client may take a minute over its body, and until it is here nothing goes upstream: the key is worth what it is worth
 * then. `before` is the look-up that found it good.
 */
async function authoriseAgain(
  candidate: Candidate,
  before: Lookup,
  context: DecideContext,
  body: Buffer,
): Promise<Verdict> {
  let again: Lookup;
  try {
    again = await context.keys.find(candidate.hash);
  } catch (error) {
    return sourceUnavailable(candidate.route, error);
  }
  // A record that has not changed was found where it was found first: that is what `explain` shows.
  return authorise(candidate, again.record === before.record ? before : again, context, body);
}

function permitWithIds(
  candidate: Candidate,
  requires: Requirement,
  record: KeyRecord,
  body: Buffer | null,
  lookup: Lookup,
): Verdict {
  const { head } = candidate;
  const json = body === null ? null : parseJsonBody(body, head.contentType, isCoded(head));
  const values = readResourceIds(requires, placeholderInputs(candidate, json));
  if ("kind" in values) return refuseIds(candidate, record, values, lookup);
  const filled = requires.placeholders.map((placeholder, index) => ({ placeholder, value: values[index] ?? "" }));
  return permit(candidate, record, fillRequirement(requires, values), filled, body, lookup);
}

function placeholderInputs({ head, params }: Candidate, body: JsonBody | null): PlaceholderInputs {
  return {
    params,
    query: head.target.query,
    headerCount: (name) => headerCount(head, name),
    headerValue: (name) => headerValue(head, name),
    body,
  };
}

/** A body that can not be read says nothing about the key: it is no verdict. */
function refuseIds(candidate: Candidate, record: KeyRecord, reason: Fault, lookup: Lookup): Verdict {
  const label = reason.code === "user:bad_request:invalid_resource_id" ? "invalid_resource_id" : null;
  return refuse(label, reason, candidate.route, record, { lookup, required: null, filled: [] });
}

function permit(
  candidate: Candidate,
  record: KeyRecord,
  required: PermissionQuery,
  filled: readonly FilledPlaceholder[],
  body: Buffer | null,
  lookup: Lookup,
): Verdict {
  const seen: Evidence = { lookup, required, filled };
  const missing = unmet(required, record.grants);
  if (missing === null) return admit(candidate, record, body, seen);
  const lacking = fault("unkey:authorization:insufficient_permissions", { detail: formatUnmet(missing) });
  return refuse("insufficient_permissions", lacking, candidate.route, record, seen);
}

function admit(candidate: Candidate, record: KeyRecord, body: Buffer | null, evidence: Evidence): Verdict {
  const { route, target } = candidate;
  return { kind: "admit", label: "allowed", route, record, target, body, evidence };
}

function refuse(
  label: RefusalLabel | null,
  reason: Fault,
  route: Route | null,
  record: KeyRecord | null,
  evidence: Evidence,
): Verdict {
  return { kind: "refuse", label, fault: reason, route, record, evidence };
}

/** RFC 9110 section 8.4.1: `identity` says that there is no coding. */
function isCoded(head: RequestHead): boolean {
  if (headerCount(head, "content-encoding") === 0) return false;
  return headerValue(head, "content-encoding")?.toLowerCase() !== "identity";
}

/** An expired key is no key (contract section 4); only the metric and `explain` tell the two apart. */
function refuseStanding(
  stands: Exclude<Standing, "valid">,
  route: Route,
  record: KeyRecord,
  evidence: Evidence,
): Verdict {
  switch (stands) {
    case "expired":
      return refuse("key_expired", fault("unkey:authentication:key_not_found"), route, record, evidence);
    case "disabled":
      return refuse("key_disabled", fault("unkey:authorization:key_disabled"), route, record, evidence);
    case "workspace_disabled":
      return refuse("workspace_disabled", fault("unkey:authorization:workspace_disabled"), route, record, evidence);
  }
}

/** Only `SourceUnavailable` is an outage; anything else is a defect and goes on to the gateway as one. */
function sourceUnavailable(route: Route, error: unknown): Verdict {
  if (!(error instanceof SourceUnavailable)) throw error;
  const unavailable = fault("unkey:application:service_unavailable", { cause: error });
  return refuse("source_unavailable", unavailable, route, null, NOTHING_SEEN);
}

function routingFault(search: Exclude<RouteSearch, { kind: "found" }>): Fault {
  if (search.kind === "none") return fault("sentinel:routing:route_not_found");
  const detail = `This path allows only ${search.allow.join(", ")}`;
  return fault("sentinel:routing:method_not_allowed", { detail, allow: search.allow });
}

function upstreamTarget(target: Target, route: Route): (Target & { readonly kind?: never }) | Fault {
  return checkRouteAllows(target, route) ?? (route.rewrite === null ? target : rewriteTarget(target, route.rewrite));
}

function doubledAuthorization(): Fault {
  return fault("user:bad_request:invalid_request", {
    detail: "The request has more than one Authorization field",
    location: "headers.authorization",
    fix: "Send one Authorization field",
  });
}
