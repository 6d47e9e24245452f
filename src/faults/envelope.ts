import { inOnePiece } from "../one-piece.ts";
import { CATALOGUE, type FaultCode, formatFaultCode } from "./catalogue.ts";
import type { Fault } from "./fault.ts";

/** How faults are presented: `errors:` of the configuration. */
export interface EnvelopeSettings {
  /** What `type` begins with, without a trailing slash. */
  readonly typeBase: string;
  /** Keyed by the whole code (`err:unkey:authentication:missing`). */
  readonly overrides: Readonly<Record<string, EnvelopeOverride>>;
}

export interface EnvelopeOverride {
  readonly status?: number;
  readonly title?: string;
  readonly detail?: string;
  /** Taken as it stands; `typeBase` is not put in front. */
  readonly type?: string;
}

/** An answer made by the gateway itself: what goes on the wire, minus the framing of the connection. */
export interface Envelope {
  readonly status: number;
  /** Name, value, name, value ...: Content-Type to X-Request-Id; without Date and Connection. */
  readonly headers: string[];
  /** The whole JSON body. For HEAD the headers are sent alone; Content-Length still states this length. */
  readonly body: string;
  /** Its length. */
  readonly bytes: number;
}

/**
 * The JSON envelope of a fault, members in the contract's order and without white space (contract section 5; Unkey's
 * documented error pages). `requestId` is of our making: letters, digits and `_`.
 */
export function formatEnvelope(fault: Fault, requestId: string, settings: EnvelopeSettings): Envelope {
  const { status, detail, usualDetail, usualDetailJson, rest } = presentationOf(fault, settings);
  const errors = status === 400 ? `,"errors":${JSON.stringify(fault.errors)}` : "";
  const said = detail ?? (fault.detail === usualDetail ? usualDetailJson : JSON.stringify(fault.detail));
  const body = `{"meta":{"requestId":"${requestId}"},"error":{"detail":${said}${rest}${errors}}}`;
  const bytes = Buffer.byteLength(body);
  return { status, headers: envelopeHeaders(fault, status, bytes, requestId), body, bytes };
}

/** What is the same in every envelope of a code, as JSON text. A flood of refused requests is when its price matters. */
interface Presentation {
  readonly status: number;
  /** Null: the fault's own. */
  readonly detail: string | null;
  /** What the first fault of this code said, which the next one mostly says too, and the same as JSON. */
  readonly usualDetail: string;
  readonly usualDetailJson: string;
  /** Status, title and type. */
  readonly rest: string;
}

const presentations = new WeakMap<EnvelopeSettings, Map<FaultCode, Presentation>>();

function presentationOf({ code, detail }: Fault, settings: EnvelopeSettings): Presentation {
  let known = presentations.get(settings);
  if (known === undefined) {
    known = new Map();
    presentations.set(settings, known);
  }
  let presentation = known.get(code);
  if (presentation === undefined) {
    presentation = present(code, detail, settings);
    known.set(code, presentation);
  }
  return presentation;
}

function present(code: FaultCode, usualDetail: string, { overrides, typeBase }: EnvelopeSettings): Presentation {
  const row = CATALOGUE[code];
  const override = overrides[formatFaultCode(code)];
  const status = override?.status ?? row.status;
  const title = JSON.stringify(override?.title ?? row.title);
  const type = JSON.stringify(override?.type ?? `${typeBase}/${code.replaceAll(":", "/")}`);
  const detail = override?.detail === undefined ? null : JSON.stringify(override.detail);
  const usualDetailJson = JSON.stringify(usualDetail);
  const rest = inOnePiece(`,"status":${status},"title":${title},"type":${type}`);
  return { status, detail, usualDetail, usualDetailJson, rest };
}

function envelopeHeaders(fault: Fault, status: number, bytes: number, requestId: string): string[] {
  const headers = [
    "Content-Type",
    status === 429 ? "application/problem+json" : "application/json",
    "Content-Length",
    String(bytes),
    "Cache-Control",
    "no-store",
    "X-Unkey-Error-Source",
    "sentinel",
    "X-Request-Id",
    requestId,
  ];
  if (status === 401) headers.push("WWW-Authenticate", challenge(fault.code));
  if (status === 405 && fault.allow !== undefined) headers.push("Allow", fault.allow.join(", "));
  if (status === 429 || status === 503) headers.push("Retry-After", String(fault.retryAfterSeconds ?? 1));
  return headers;
}

/** RFC 6750 section 3.1: no `error` where no credentials were sent. */
function challenge(code: FaultCode): string {
  if (code === "unkey:authentication:key_not_found") return 'Bearer realm="sentinel", error="invalid_token"';
  if (code === "unkey:authentication:malformed") return 'Bearer realm="sentinel", error="invalid_request"';
  return 'Bearer realm="sentinel"';
}
