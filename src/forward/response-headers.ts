import { formatFields } from "../answer.ts";
import { normalizeFieldName } from "../head.ts";
import { isFieldValue, isToken, trimBlanks } from "../octets.ts";
import { inOnePiece } from "../one-piece.ts";
import { answerProblem } from "./answer-framing.ts";
import { PROXY_FIELDS } from "./proxy-fields.ts";

export interface ResponseHeadersContext {
  /** This instance's entry for `Via`. */
  readonly via: string;
  /** 204 and 101 have no length; HEAD and 304 keep the one they talk about. */
  readonly status: number;
  /** The client can be sent chunks: HTTP/1.1, and the answer has a body. */
  readonly canChunk: boolean;
}

/**
 * The fields of an answer for the client, without its request id: what an upstream says in each of its answers is
 * worked out once.
 */
export class ResponseHeaders {
  /** The body's length is among them. */
  readonly sized: boolean;
  /** A Date is among them. */
  readonly dated: boolean;
  readonly #headers: readonly string[];
  readonly #idAt: number;
  /** The field lines in front of the request id and behind it; null until they are asked for. */
  #before: string | null = null;
  #after = "";

  /** `headers`: for `idAt`, the place of the request id's value, whatever is there counts for nothing. */
  constructor(headers: readonly string[], idAt: number, sized: boolean, dated: boolean) {
    this.#headers = headers;
    this.#idAt = idAt;
    this.sized = sized;
    this.dated = dated;
  }

  /**
   * For `response.writeHead`, which adds Connection, chunked where there is no length, and Date where there is none; and
   * throws for what is not clean.
   */
  list(requestId: string): string[] {
    const headers = this.#headers.slice();
    headers[this.#idAt] = requestId;
    return headers;
  }

  /** As field lines, each with its line end. Throws for what is not clean, as `writeHead` does. */
  lines(requestId: string): string {
    if (this.#before === null) {
      const problem = fieldProblem(this.#headers);
      if (problem !== null) throw new TypeError(problem);
      const at = this.#idAt;
      this.#before = inOnePiece(`${formatFields(this.#headers.slice(0, at - 1))}${this.#headers[at - 1]}: `);
      this.#after = inOnePiece(`\r\n${formatFields(this.#headers.slice(at + 1))}`);
    }
    return this.#before + requestId + this.#after;
  }
}

/**
 * The fields for the client, out of the upstream's: end-to-end fields in their order and case; hop-by-hop ones and those
 * that the upstream's Connection names removed; our request id in the place of the upstream's. Framing is decided here:
 * a single clean length is kept, anything else ends in chunks or with the connection. A text says why the answer is not
 * to be relayed: 502.
 */
export function buildResponseHeaders(
  raw: readonly string[],
  context: ResponseHeadersContext,
): ResponseHeaders | string {
  const problem = answerProblem(raw);
  if (problem !== null) return problem;

  const nominated = nominatedBy(raw);
  const chunks = context.canChunk && !hasLength(raw);
  const headers: string[] = [];
  let idAt = 0;
  let sized = false;
  let dated = false;
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at]!;
    const value = raw[at + 1]!;
    const role = roleOf(name);
    switch (role) {
      case DROPPED:
        continue;
      case LENGTH:
        if (context.status === 204 || context.status === 101) continue;
        headers.push(name, String(Number(value)));
        sized = true;
        continue;
      case TRAILER:
        // Announces what will come behind the last chunk: true only where there are chunks.
        if (chunks) headers.push(name, value);
        continue;
      case REQUEST_ID:
        if (idAt === 0) idAt = headers.push(name, "") - 1;
        continue;
    }
    if (nominated?.has(name.toLowerCase())) continue;
    if (role === DATE) dated = true;
    headers.push(name, value);
  }
  if (idAt === 0) idAt = headers.push("X-Request-Id", "") - 1;
  headers.push("Via", context.via);
  return new ResponseHeaders(headers, idAt, sized, dated);
}

/** What was built of the last lists, each known by being the very same list: engines give one again for an equal head. */
export class ResponseHeadersMemo {
  readonly #via: string;
  readonly #slots: (Built | undefined)[] = new Array(SLOTS).fill(undefined);

  constructor(via: string) {
    this.#via = via;
  }

  /** As `buildResponseHeaders`. */
  of(raw: readonly string[], status: number, canChunk: boolean): ResponseHeaders | string {
    const slot = raw.length % SLOTS;
    const known = this.#slots[slot];
    if (known !== undefined && known.raw === raw && known.status === status && known.canChunk === canChunk) {
      return known.built;
    }
    const built = buildResponseHeaders(raw, { via: this.#via, status, canChunk });
    this.#slots[slot] = { raw, status, canChunk, built };
    return built;
  }
}

interface Built {
  readonly raw: readonly string[];
  readonly status: number;
  readonly canChunk: boolean;
  readonly built: ResponseHeaders | string;
}

/** Lists are of even length. */
const SLOTS = 31;

/**
 * Trailers for the client, as pairs for `response.addTrailers`; null when none is left. Fields that frame, route or
 * authenticate do not belong in trailers (RFC 9110 section 6.5.1), and ours are said in the head.
 */
export function buildTrailers(raw: readonly string[]): [name: string, value: string][] | null {
  const trailers: [string, string][] = [];
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at]!;
    const value = raw[at + 1]!;
    if (!isToken(name) || !isFieldValue(value)) continue;
    if (roleOf(name) === COPIED && !NEVER_TRAILERS.has(name.toLowerCase())) trailers.push([name, value]);
  }
  return trailers.length === 0 ? null : trailers;
}

const COPIED = 0;
const DROPPED = 1;
const LENGTH = 2;
const TRAILER = 3;
const REQUEST_ID = 4;
const DATE = 5;

function roleOf(name: string): number {
  const { length } = name;
  switch (name.charCodeAt(0) | 0x20) {
    case 0x63: // c
      if (length === 14) return name.toLowerCase() === "content-length" ? LENGTH : COPIED;
      return length === 10 && name.toLowerCase() === "connection" ? DROPPED : COPIED;
    case 0x64: // d
      return length === 4 && name.toLowerCase() === "date" ? DATE : COPIED;
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
    for (const option of value.split(",")) names.add(trimBlanks(option));
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
    if (!isToken(raw[at]!)) return "a field name that is not clean";
    if (!isFieldValue(raw[at + 1]!)) return "a field value that is not clean";
  }
  return null;
}
