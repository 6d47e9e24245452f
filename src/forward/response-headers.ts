import { normalizeFieldName } from "../head.ts";
import { answerProblem, isCleanText, isFieldName } from "./answer-framing.ts";

export interface ResponseHeadersContext {
  readonly requestId: string;
  /** This instance's entry for `Via`. */
  readonly via: string;
  /** 204 and 101 have no length; HEAD and 304 keep the one they talk about. */
  readonly status: number;
  /** The client can be sent chunks: HTTP/1.1, and the answer has a body. */
  readonly canChunk: boolean;
}

export type ResponseHeaders =
  | {
      readonly kind: "clean";
      /**
       * For `response.writeHead`, which adds Connection, chunked where there is no length, and Date where there is
       * none.
       */
      readonly headers: string[];
    }
  /** The answer is not to be relayed: 502. */
  | { readonly kind: "unclean"; readonly problem: string };

/**
 * The raw header list for the client, out of the upstream's: end-to-end fields in their order and case; hop-by-hop ones
 * and those that the upstream's Connection names removed; our request id in the place of the upstream's. Framing is
 * decided here: a single clean length is kept, anything else ends in chunks or with the connection.
 *
 * Characters are not looked at: engines refuse what is not clean, and `writeHead` throws for the same set.
 */
export function buildResponseHeaders(raw: readonly string[], context: ResponseHeadersContext): ResponseHeaders {
  const problem = answerProblem(raw);
  if (problem !== null) return { kind: "unclean", problem };

  const nominated = nominatedBy(raw);
  const chunks = context.canChunk && !hasLength(raw);
  const headers: string[] = [];
  let idDue = true;
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at]!;
    const value = raw[at + 1]!;
    switch (roleOf(name)) {
      case DROPPED:
        continue;
      case LENGTH:
        if (context.status !== 204 && context.status !== 101) headers.push(name, String(Number(value)));
        continue;
      case TRAILER:
        // Announces what will come behind the last chunk: true only where there are chunks.
        if (chunks) headers.push(name, value);
        continue;
      case REQUEST_ID:
        if (idDue) headers.push(name, context.requestId);
        idDue = false;
        continue;
    }
    if (nominated === null || !nominated.has(name.toLowerCase())) headers.push(name, value);
  }
  if (idDue) headers.push("X-Request-Id", context.requestId);
  headers.push("Via", context.via);
  return { kind: "clean", headers };
}

/**
 * Trailers for the client, as pairs for `response.addTrailers`; null when none is left. Fields that frame, route or
 * authenticate do not belong in trailers (RFC 9110 section 6.5.1), and ours are said in the head.
 */
export function buildTrailers(raw: readonly string[]): [name: string, value: string][] | null {
  const trailers: [string, string][] = [];
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at]!;
    const value = raw[at + 1]!;
    if (!isFieldName(name) || !isCleanText(value)) continue;
    if (roleOf(name) === COPIED && !NEVER_TRAILERS.has(name.toLowerCase())) trailers.push([name, value]);
  }
  return trailers.length === 0 ? null : trailers;
}

const COPIED = 0;
const DROPPED = 1;
const LENGTH = 2;
const TRAILER = 3;
const REQUEST_ID = 4;

function roleOf(name: string): number {
  const { length } = name;
  switch (name.charCodeAt(0) | 0x20) {
    case 0x63: // c
      if (length === 14) return name.toLowerCase() === "content-length" ? LENGTH : COPIED;
      return length === 10 && name.toLowerCase() === "connection" ? DROPPED : COPIED;
    case 0x68: // h
      return length === 14 && name.toLowerCase() === "http2-settings" ? DROPPED : COPIED;
    case 0x6b: // k
      return length === 10 && name.toLowerCase() === "keep-alive" ? DROPPED : COPIED;
    case 0x70: // p
      return length >= 16 && PROXY_FIELDS.has(name.toLowerCase()) ? DROPPED : COPIED;
    case 0x74: // t
      if (length === 2) return name.toLowerCase() === "te" ? DROPPED : COPIED;
      if (length === 7) return name.toLowerCase() === "trailer" ? TRAILER : COPIED;
      return length === 17 && name.toLowerCase() === "transfer-encoding" ? DROPPED : COPIED;
    case 0x75: // u
      return length === 7 && name.toLowerCase() === "upgrade" ? DROPPED : COPIED;
    case 0x78: // x
      if (length === 12) return name.toLowerCase() === "x-request-id" ? REQUEST_ID : COPIED;
      // An upstream can not pose as us: this field tells our errors from its own.
      return length === 20 && normalizeFieldName(name) === "x-unkey-error-source" ? DROPPED : COPIED;
    default:
      return COPIED;
  }
}

const PROXY_FIELDS: ReadonlySet<string> = new Set([
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-authorization",
]);

const NEVER_TRAILERS: ReadonlySet<string> = new Set([
  "authorization",
  "content-encoding",
  "content-range",
  "content-type",
  "host",
  "set-cookie",
  "via",
]);

/** Lower-case names that the upstream's Connection lists; null when none, the common case. */
function nominatedBy(raw: readonly string[]): ReadonlySet<string> | null {
  let names: Set<string> | null = null;
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at]!;
    if (name.length !== 10 || name.toLowerCase() !== "connection") continue;
    const value = raw[at + 1]!.toLowerCase();
    if (value === "keep-alive" || value === "close") continue;
    names ??= new Set();
    for (const option of value.split(",")) names.add(option.trim());
  }
  return names;
}

function hasLength(raw: readonly string[]): boolean {
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at]!;
    if (name.length === 14 && name.toLowerCase() === "content-length") return true;
  }
  return false;
}

/** What is not clean about names and values, or null: for who writes them without `writeHead`. */
export function fieldProblem(raw: readonly string[]): string | null {
  for (let at = 0; at < raw.length; at += 2) {
    if (!isFieldName(raw[at]!)) return "a field name that is not clean";
    if (!isCleanText(raw[at + 1]!)) return "a field value that is not clean";
  }
  return null;
}
