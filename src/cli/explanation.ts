import { METHODS, STATUS_CODES } from "node:http";
import { type Deciding, openDeciding } from "../assembly/deciding.ts";
import { resolveConfigPath } from "../config/load.ts";
import { decide, type Verdict } from "../decide.ts";
import { formatFaultCode } from "../faults/catalogue.ts";
import { type EnvelopeSettings, formatEnvelope } from "../faults/envelope.ts";
import { type Fault, isFault } from "../faults/fault.ts";
import { malformedField } from "../faults/malformed-field.ts";
import { bodyTooLarge } from "../faults/too-much.ts";
import { buildRequestHeaders } from "../forward/request-headers.ts";
import { hasNoHopLeft, type RequestHead, readHead } from "../head.ts";
import { explainMalformed } from "../keys/malformed-bearer.ts";
import type { KeyRecord } from "../keys/root-key.ts";
import { SourceUnavailable, type Tier } from "../keys/source.ts";
import { isFieldValue, isToken } from "../octets.ts";
import { createPermission, formatPermission, grantFor, type Permission } from "../permissions/permission.ts";
import type { PermissionQuery } from "../permissions/query.ts";
import { formatPlaceholder } from "../permissions/resource-id.ts";
import type { Route } from "../routes/route.ts";
import { CommandFailure, type CommandIo, EXIT } from "./exit.ts";
import { invalidFiles } from "./invalid-files.ts";

/** A request as the command line describes it. */
export interface DescribedRequest {
  readonly method: string;
  /** `http://host/path?query`, or origin-form. Taken as it stands: nothing is normalised before the gateway's own parser. */
  readonly url: string;
  /** `Name: value`. */
  readonly headers: readonly string[];
  readonly body: string | null;
  /** Path of the configuration; undefined takes the usual places. */
  readonly config: string | undefined;
}

/** What would happen to a request: the data behind `sentinel explain`, and its `--json`. Never holds a secret. */
export interface Explanation {
  readonly request: {
    readonly method: string;
    readonly host: string | null;
    readonly path: string | null;
    readonly query: string;
  };
  readonly notes: readonly string[];
  readonly route: ExplainedRoute | null;
  readonly key: ExplainedKey | null;
  /** The expression that was asked for, as the configuration spells it; null where any valid key will do. */
  readonly permissions: string | null;
  readonly placeholders: readonly { readonly placeholder: string; readonly value: string }[];
  readonly required: readonly ExplainedTuple[];
  readonly verdict: {
    readonly admitted: boolean;
    /** As the metric and the log spell it: `allowed`, `missing`, ...; null for refusals that are not for the key. */
    readonly outcome: Verdict["label"];
    readonly code: string | null;
    readonly detail: string | null;
  };
  /** What the upstream would get. */
  readonly upstream: {
    readonly name: string;
    readonly method: string;
    readonly target: string;
    readonly headers: readonly Field[];
  } | null;
  /** What the client would get instead. */
  readonly answer: {
    readonly status: number;
    readonly reason: string;
    readonly headers: readonly Field[];
    readonly body: string;
  } | null;
}

export type Field = readonly [name: string, value: string];

export interface ExplainedRoute {
  readonly name: string;
  readonly auth: "root key" | "none";
  readonly upstream: string;
}

export interface ExplainedKey {
  readonly foundIn: Tier;
  readonly id: string;
  readonly name: string | null;
  readonly start: string | null;
  readonly enabled: boolean;
  readonly expiresAt: string | null;
  readonly workspaceId: string | null;
  readonly workspaceEnabled: boolean;
  readonly roles: readonly string[];
  readonly permissions: readonly string[];
}

export interface ExplainedTuple {
  readonly permission: string;
  /** The key's grant that satisfies it, or null. */
  readonly satisfiedBy: string | null;
  /** The grants that would. */
  readonly wouldSatisfy: readonly string[];
}

/** Walks one request through the gateway's own reading and deciding. */
export async function explain(described: DescribedRequest, io: CommandIo): Promise<Explanation> {
  const { rawHeaders, target, notes } = describe(described);
  const opened = await openDeciding(resolveConfigPath(described.config, io.env, io.cwd), io.env);
  if (!opened.ok) throw invalidFiles(opened.problems, io);
  const { deciding } = opened;
  try {
    const asksGateway = described.method === "OPTIONS" && target === "*";
    const head = isReadable(rawHeaders)
      ? readHead(described.method, asksGateway ? "/" : target, "1.1", rawHeaders, deciding.head)
      : malformedField();
    if (isFault(head)) return explainRefusal(null, { ...UNCLEAN, fault: head }, deciding, described, notes);
    if (asksGateway) return explainOptions(head, described, notes);
    const verdict = await decide(head, deciding, async (maxBytes) => bodyOf(head, described, maxBytes));
    if (verdict.kind === "admit") return explainAdmission(head, verdict, described, notes, deciding);
    const more = [...notes, ...notesOn(verdict, head, deciding)];
    return explainRefusal(head, verdict, deciding, described, more);
  } finally {
    await deciding.close();
  }
}

type Refusal = Extract<Verdict, { kind: "refuse" }>;
type Admission = Extract<Verdict, { kind: "admit" }>;

type Judged = Pick<Verdict, "evidence" | "record" | "route">;

/** Of a request for which no route was looked for. */
const UNROUTED = {
  route: null,
  record: null,
  evidence: { lookup: null, required: null, filled: [] },
} as const satisfies Judged;

const UNCLEAN = { kind: "refuse", label: null, ...UNROUTED } as const satisfies Omit<Refusal, "fault">;

/** Whether fields are such as Node's parser hands on; nothing else gets to be a head. */
function isReadable(rawHeaders: readonly string[]): boolean {
  return rawHeaders.every((text, index) => (index % 2 === 0 ? isToken(text) : isFieldValue(text)));
}

/** Stands where an id of the exchange would be made. */
const REQUEST_ID = "req_000000000000000";

/** What clients are not told. The cause of an outage holds nothing of a record or a key; the log has it too. */
function notesOn({ label, fault: { cause } }: Refusal, head: RequestHead, { keyPrefix }: Deciding): string[] {
  if (label === "source_unavailable" && cause instanceof SourceUnavailable)
    return [`Nobody can tell about the key: ${cause.message}.`];
  if (label !== "malformed") return [];
  const why = explainMalformed(head.authorization, head.authorizationCount, keyPrefix);
  return why === null ? [] : [`Authorization is malformed: ${why}.`];
}

/** `OPTIONS *` is about the gateway itself, whatever the routes are. */
function explainOptions(head: RequestHead, described: DescribedRequest, notes: readonly string[]): Explanation {
  return {
    ...common(head, UNROUTED, described, notes),
    request: { method: described.method, host: head.hostField, path: "*", query: "" },
    ...answeredHere(null, "OPTIONS * asks about the gateway itself"),
  };
}

function answeredHere(outcome: Verdict["label"], detail: string): Pick<Explanation, "verdict" | "upstream" | "answer"> {
  return {
    verdict: { admitted: true, outcome, code: null, detail },
    upstream: null,
    answer: {
      status: 204,
      reason: STATUS_CODES[204] ?? "",
      headers: [
        ["X-Request-Id", REQUEST_ID],
        ["Cache-Control", "no-store"],
      ],
      body: "",
    },
  };
}

function explainAdmission(
  head: RequestHead,
  verdict: Admission,
  described: DescribedRequest,
  notes: readonly string[],
  deciding: Deciding,
): Explanation {
  if (hasNoHopLeft(head)) {
    const here = answeredHere(verdict.label, "Max-Forwards allows no further hop: the gateway answers itself");
    return { ...common(head, verdict, described, notes), ...here };
  }
  const { maxBodyBytes } = verdict.route;
  if (bodyBytes(head, described) > maxBodyBytes) {
    const refusal: Refusal = { ...verdict, kind: "refuse", label: null, fault: bodyTooLarge(maxBodyBytes) };
    return explainRefusal(head, refusal, deciding, described, notes);
  }
  const headers = buildRequestHeaders(head, deciding.headersContext(head, verdict, REQUEST_ID));
  return {
    ...common(head, verdict, described, notes),
    verdict: { admitted: true, outcome: verdict.label, code: null, detail: null },
    upstream: {
      name: verdict.route.upstream,
      method: head.method,
      target: verdict.target.path + verdict.target.query,
      headers: fields(headers).map(hideAuthorization),
    },
    answer: null,
  };
}

function explainRefusal(
  head: RequestHead | null,
  verdict: Refusal,
  { errors }: { readonly errors: EnvelopeSettings },
  described: DescribedRequest,
  notes: readonly string[],
): Explanation {
  const envelope = formatEnvelope(verdict.fault, REQUEST_ID, errors);
  return {
    ...common(head, verdict, described, notes),
    verdict: {
      admitted: false,
      outcome: verdict.label,
      code: formatFaultCode(verdict.fault.code),
      detail: verdict.fault.detail,
    },
    upstream: null,
    answer: {
      status: envelope.status,
      reason: STATUS_CODES[envelope.status] ?? "",
      headers: fields(envelope.headers),
      body: described.method === "HEAD" ? "" : envelope.body,
    },
  };
}

function common(head: RequestHead | null, verdict: Judged, described: DescribedRequest, notes: readonly string[]) {
  const { evidence, record, route } = verdict;
  return {
    request: {
      method: described.method,
      host: head?.hostField ?? null,
      path: head?.target.path ?? null,
      query: head?.target.query ?? "",
    },
    notes,
    route: route === null ? null : explainRoute(route),
    key: record === null ? null : explainKey(record, evidence.lookup?.tier ?? "memory"),
    permissions: route?.access.kind === "rootKey" ? (route.access.requires?.text ?? null) : null,
    placeholders: evidence.filled.map(({ placeholder, value }) => ({
      placeholder: formatPlaceholder(placeholder),
      value,
    })),
    required: evidence.required === null || record === null ? [] : explainTuples(evidence.required, record),
  };
}

function explainRoute(route: Route): ExplainedRoute {
  return { name: route.name, auth: route.access.kind === "open" ? "none" : "root key", upstream: route.upstream };
}

function explainKey(record: KeyRecord, foundIn: Tier): ExplainedKey {
  return {
    foundIn,
    id: record.id,
    name: record.name,
    start: record.start,
    enabled: record.enabled,
    expiresAt: record.expiresAt === null ? null : new Date(record.expiresAt).toISOString(),
    workspaceId: record.workspaceId,
    workspaceEnabled: record.workspaceEnabled,
    roles: record.roles,
    permissions: [...record.grants].sort(),
  };
}

function explainTuples(query: PermissionQuery, record: KeyRecord): ExplainedTuple[] {
  if (query.kind !== "permission") return query.parts.flatMap((part) => explainTuples(part, record));
  const { permission } = query;
  return [
    {
      permission: formatPermission(permission),
      satisfiedBy: grantFor(record.grants, permission),
      wouldSatisfy: grantsFor(permission),
    },
  ];
}

function grantsFor(permission: Permission): string[] {
  const every = formatPermission(createPermission(permission.resourceType, "*", permission.action));
  return [...new Set([formatPermission(permission), every])];
}

function describe({ method, url, headers, body }: DescribedRequest): {
  readonly rawHeaders: string[];
  readonly target: string;
  readonly notes: string[];
} {
  if (!METHODS.includes(method)) throw notAMethod(method);
  const [, authority, rest] = /^https?:\/\/([^/?#]*)(.*)$/is.exec(url) ?? [null, null, url];
  const target = rest === undefined || rest === "" ? "/" : rest;
  const rawHeaders = headers.flatMap(splitField);
  const names = new Set(rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase()));
  const notes: string[] = [];
  if (!names.has("host")) rawHeaders.unshift("Host", authority || "localhost");
  if (body !== null && !names.has("content-type")) {
    rawHeaders.push("Content-Type", "application/json");
    notes.push("No Content-Type was given: application/json is assumed (curl -d would send a form's).");
  }
  if (body !== null && !names.has("content-length") && !names.has("transfer-encoding")) {
    rawHeaders.push("Content-Length", String(Buffer.byteLength(body)));
  }
  // Node hands header values and targets on as one character per byte.
  return { rawHeaders, target: Buffer.from(target, "utf8").toString("latin1"), notes };
}

/** Node's parser knows the methods by name; of any other there is no request to explain. */
function notAMethod(method: string): CommandFailure {
  const upper = method.toUpperCase();
  const right = METHODS.includes(upper) ? `: write ${upper}` : "";
  return new CommandFailure(EXIT.usage, `'${method}' is not a method that requests can have${right}.`);
}

function splitField(field: string): [string, string] {
  const colon = field.indexOf(":");
  if (colon < 1) throw new CommandFailure(EXIT.usage, "A header is written 'Name: value'.");
  return [field.slice(0, colon), Buffer.from(field.slice(colon + 1).trim(), "utf8").toString("latin1")];
}

function bodyOf(head: RequestHead, described: DescribedRequest, maxBytes: number): Buffer | Fault {
  if (bodyBytes(head, described) > maxBytes) return bodyTooLarge(maxBytes);
  return Buffer.from(described.body ?? "", "utf8");
}

/** A length that is announced is believed: the gateway refuses by it, before it has seen the body. */
function bodyBytes({ body }: RequestHead, described: DescribedRequest): number {
  return body.kind === "length" ? body.bytes : Buffer.byteLength(described.body ?? "");
}

function fields(flat: readonly string[]): Field[] {
  const pairs: Field[] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) pairs.push([flat[i] as string, flat[i + 1] as string]);
  return pairs;
}

function hideAuthorization([name, value]: Field): Field {
  return name.toLowerCase() === "authorization" ? [name, "(as it came; not shown)"] : [name, value];
}
