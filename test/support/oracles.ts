import type { GatewayRecord } from "./gateway.ts";
import { PARSER_NAMES, type SeenRequest, valuesOf } from "./http-parsers.ts";
import { fieldOf, type RawAnswer } from "./raw-client.ts";
import type { RecordingUpstream } from "./recording-upstream.ts";

/**
 * What must hold after every check, whatever was sent. Each finding has a kind, so that a run against a gateway that
 * words its errors differently can still tell a smuggled request from an unpolished envelope.
 */
export interface Finding {
  readonly kind:
    | "smuggled" // the upstream saw a request that nobody decided on, or its bytes can be read in two ways
    | "path" // a request went up with another method or path than was decided on
    | "unmarked" // a request that was decided on went up without what the gateway adds to each
    | "unsent" // allowed, and never seen upstream
    | "unauthorised" // something reached the upstream, or not, against the expectation
    | "credential" // a request arrived without the credential or the identity that was decided on
    | "status"
    | "envelope"
    | "open" // the connection should have been closed
    | "hang"
    | "leak" // key bytes where they must not be
    | "crash"
    | "claim"; // the check's own assertion
  readonly what: string;
}

/** The access records of requests that were let through. */
export function allowedRecords(records: readonly GatewayRecord[]): GatewayRecord[] {
  return records.filter((record) => record.verdict === "allowed" || record.verdict === "open");
}

/**
 * O1: the three parsers see the same requests on every connection, and they are the allowed decisions, one for one.
 * A request is told by the requestId that the gateway gave it: nothing smuggled has one.
 */
export function compareWithAudit(
  upstream: RecordingUpstream,
  records: readonly GatewayRecord[],
  mayRepeat = false,
): Finding[] {
  const findings: Finding[] = [];
  for (const connection of upstream.connections) {
    if (connection.silent && connection.invalid("strict") === null) continue;
    for (const parser of PARSER_NAMES) {
      const reason = connection.invalid(parser);
      if (reason !== null) findings.push(smuggled(`the ${parser} parser refuses what was sent upstream: ${reason}`));
      const rest = connection.remainder(parser);
      if (rest.length > 0 && !connection.closed) {
        findings.push(smuggled(`the ${parser} parser has ${rest.length} bytes left over: ${preview(rest)}`));
      }
    }
    const [strict = "", ...others] = PARSER_NAMES.map((parser) => connection.seen(parser).map(summary).join(" | "));
    if (others.some((other) => other !== strict)) {
      findings.push(smuggled(`the parsers disagree:\n  ${[strict, ...others].join("\n  ")}`));
    }
  }
  const decided = new Map(allowedRecords(records).map((record) => [String(record.requestId), record]));
  const seen = new Map<string, SeenRequest>();
  const nameless: SeenRequest[] = [];
  for (const request of upstream.requests()) {
    const ids = valuesOf(request, "x-request-id");
    const record = ids.length === 1 ? decided.get(ids[0] ?? "") : undefined;
    if (record === undefined) nameless.push(request);
    else if (seen.has(ids[0] ?? "") && !mayRepeat) findings.push(smuggled(`sent twice: ${summary(request)}`));
    else findings.push(...compareRequest(request, record));
    if (record !== undefined) seen.set(ids[0] ?? "", request);
  }
  for (const [requestId, record] of decided) {
    if (seen.has(requestId)) continue;
    const at = nameless.findIndex((request) => request.method === record.method && pathOf(request) === record.path);
    const [unmarked] = at === -1 ? [] : nameless.splice(at, 1);
    // An OPTIONS that may go no further is allowed, and answered by the gateway itself.
    const answeredHere = record.method === "OPTIONS" && record.status === 204;
    if (unmarked !== undefined) {
      findings.push({ kind: "unmarked", what: `sent without its request id: ${summary(unmarked)}` });
    } else if (record.status !== 499 && (record.code ?? null) === null && !answeredHere) {
      findings.push({ kind: "unsent", what: `allowed but never sent: ${record.method} ${record.path}` });
    }
  }
  for (const request of nameless) findings.push(smuggled(`no allowed decision for ${summary(request)}`));
  return findings;
}

function pathOf(request: SeenRequest): string {
  return request.target.split("?")[0] ?? "";
}

/** O2: the upstream got the method and the path of the audit line, less what the route's rewrite takes off. */
function compareRequest(request: SeenRequest, record: GatewayRecord): Finding[] {
  const path = pathOf(request);
  const logged = String(record.path);
  const expected = record.route === "strip" ? logged.replace(/^\/strip\/?/, "/") : logged;
  if (request.method !== record.method || path !== expected) {
    return [{ kind: "path", what: `logged ${record.method} ${record.path}, sent ${request.method} ${path}` }];
  }
  return [];
}

/** O4: an answer of 400 and more that is not the upstream's is a whole envelope (contract section 5). */
export function checkEnvelope(answer: RawAnswer, method: string): Finding[] {
  if (answer.status < 400 || fieldOf(answer, "x-recorder") !== null) return [];
  const wrong: string[] = [];
  const expectField = (name: string, value: string | RegExp) => {
    const got = fieldOf(answer, name);
    const holds = typeof value === "string" ? got === value : got !== null && value.test(got);
    if (!holds) wrong.push(`${name}: ${got}`);
  };
  expectField("X-Unkey-Error-Source", "sentinel");
  expectField("Cache-Control", "no-store");
  expectField("Content-Type", answer.status === 429 ? "application/problem+json" : "application/json");
  expectField("X-Request-Id", /^req_[0-9a-z]{15}$/);
  expectField("Content-Length", method === "HEAD" ? /^\d+$/ : String(answer.body.length));
  if (answer.status === 401)
    expectField("WWW-Authenticate", /^Bearer realm="sentinel"(, error="invalid_(token|request)")?$/);
  if (answer.status === 405) expectField("Allow", /^[A-Z]+(, [A-Z]+)*$|^$/);
  if (answer.status === 429 || answer.status === 503) expectField("Retry-After", /^\d+$/);
  if (method !== "HEAD") wrong.push(...checkEnvelopeBody(answer));
  return wrong.map((what) => ({ kind: "envelope", what: `${answer.status}: ${what}` }));
}

function checkEnvelopeBody(answer: RawAnswer): string[] {
  const text = answer.body.toString("utf8");
  const { meta, error } = parseEnvelope(text);
  if (meta === null || error === null) return [`not an envelope: ${JSON.stringify(text.slice(0, 200))}`];
  const errors = error.errors as readonly { location: unknown; message: unknown; fix?: unknown }[] | undefined;
  const canonical = JSON.stringify({
    meta: { requestId: meta.requestId },
    error: {
      detail: error.detail,
      status: error.status,
      title: error.title,
      type: error.type,
      ...(answer.status === 400 && {
        errors: errors?.map(({ location, message, fix }) =>
          fix === undefined ? { location, message } : fixOrder(location, message, fix),
        ),
      }),
    },
  });
  const wrong: string[] = [];
  if (canonical !== text) wrong.push(`members: ${text}`);
  if (error.status !== answer.status) wrong.push(`status member ${error.status}`);
  if (meta.requestId !== fieldOf(answer, "x-request-id")) wrong.push(`requestId ${meta.requestId}`);
  if (typeof error.detail !== "string" || error.detail === "") wrong.push("no detail");
  if (answer.status === 400 && (errors === undefined || errors.length === 0)) wrong.push("a 400 without errors");
  return wrong;
}

function fixOrder(location: unknown, message: unknown, fix: unknown): object {
  return { location, message, fix };
}

function parseEnvelope(text: string): { meta: Record<string, unknown> | null; error: Record<string, unknown> | null } {
  try {
    const { meta, error } = JSON.parse(text) as Record<string, Record<string, unknown>>;
    return { meta: meta ?? null, error: error ?? null };
  } catch {
    return { meta: null, error: null };
  }
}

/** The last three parts of an envelope's type, as a code: `err:unkey:authentication:missing`; null when there is none. */
export function codeOf(answer: RawAnswer): string | null {
  const { error } = parseEnvelope(answer.body.toString("utf8"));
  const type = typeof error?.type === "string" ? error.type.split("/").slice(-3) : [];
  return type.length === 3 ? `err:${type.join(":")}` : null;
}

/** O3: finds eight or more bytes of a secret (after the prefix) in a text. */
export function findSecret(text: string, secrets: readonly string[]): Finding[] {
  for (const secret of secrets) {
    const body = secret.replace(/^unkey_/, "");
    for (let at = 0; at + 8 <= body.length; at += 1) {
      const run = body.slice(at, at + 8);
      const found = text.indexOf(run);
      if (found !== -1) {
        const place = text.slice(Math.max(0, found - 60), found + 60);
        return [{ kind: "leak", what: `${run} of a key, in: ${place}` }];
      }
    }
  }
  return [];
}

export function summary(request: SeenRequest): string {
  const ids = valuesOf(request, "x-request-id").join(",");
  return `${request.method} ${request.target} [${ids}] +${request.body.length}${request.complete ? "" : " (unfinished)"}`;
}

function smuggled(what: string): Finding {
  return { kind: "smuggled", what };
}

function preview(bytes: Buffer): string {
  return JSON.stringify(bytes.toString("latin1", 0, 120));
}
