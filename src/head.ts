import { type Fault, fault, isFault } from "./faults/fault.ts";
import { fieldsTooLarge, targetTooLong, tooManyFields } from "./faults/too-much.ts";
import { isAlphanumeric, isToken, trimBlanks } from "./octets.ts";
import { type HostAndPort, parseHost } from "./routes/host.ts";
import { parseTarget, type Target } from "./routes/target.ts";

/**
 * The head of one request, read once off the raw header list: what was clean, and where each field that matters to
 * the decision stands. Everything after this works on it; nothing goes back to `req.headers`, which hides repeats.
 */
export interface RequestHead {
  readonly method: string;
  readonly version: "1.0" | "1.1";
  readonly target: Target;
  /** Name, value, name, value ... as they came. */
  readonly rawHeaders: readonly string[];
  /** The Host field as it came, port included; null only on HTTP/1.0. For an absolute-form target: its authority. */
  readonly hostField: string | null;
  /** For matching: lower case, without port and without a trailing dot. */
  readonly host: string | null;
  /** The first Authorization value; null when there is no such field. */
  readonly authorization: string | null;
  /** How many Authorization fields there are. */
  readonly authorizationCount: number;
  /** Lower-case names that Connection lists beyond close, keep-alive and upgrade; null when none. */
  readonly nominated: ReadonlySet<string> | null;
  /** How the body is framed. `length: 0` is "no body, said so"; `none` is neither field. */
  readonly body: BodyFraming;
  readonly contentType: string | null;
  /** `Expect: 100-continue` is asked for (HTTP/1.1 only). */
  readonly expectContinue: boolean;
  /** `Connection: upgrade` with `Upgrade: websocket` alone, on an HTTP/1.1 GET without a body. */
  readonly upgradeWebSocket: boolean;
  /** The client asked for the connection to end after this exchange (or is HTTP/1.0 without keep-alive). */
  readonly closeAfter: boolean;
}

export type BodyFraming =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "chunked" };

export interface HeadLimits {
  readonly headerLines: number;
  /** Of all field lines together, as `Name: value` and a line end each. */
  readonly headerBytes: number;
  readonly targetBytes: number;
  /** This instance's token in `Via`: a request that carries it already went through here (508). */
  readonly viaToken: string;
}

/**
 * Reads a request's head. The fault is the answer; after it the connection closes. Checks, in order: number of header
 * lines, version, CONNECT and TRACE, framing and repeated fields, Host, Connection, Expect, loop, Max-Forwards, the target.
 * `OPTIONS *` is the gateway's and never comes here.
 */
export function readHead(
  method: string,
  rawTarget: string,
  httpVersion: string,
  rawHeaders: readonly string[],
  limits: HeadLimits,
): RequestHead | Fault {
  if (rawHeaders.length > 2 * limits.headerLines) return tooManyFields(limits.headerLines);
  if (httpVersion !== "1.1" && httpVersion !== "1.0") return fault("user:bad_request:http_version_not_supported");
  if (method === "CONNECT" || method === "TRACE") return methodNotAllowed();

  const fields = readFields(rawHeaders);
  if (isFault(fields)) return fields;
  if (fields.bytes > limits.headerBytes) return fieldsTooLarge(limits.headerBytes);
  const body = readBodyFraming(fields, httpVersion);
  if (isFault(body)) return body;
  const host = readHost(fields.host, httpVersion);
  if (isFault(host)) return host;
  const connection = fields.connection === null ? NO_OPTIONS : readConnection(fields.connection);
  if (isFault(connection)) return connection;
  // RFC 9110 section 10.1.1: an expectation in HTTP/1.0 is to be ignored.
  const expectation = httpVersion === "1.1" ? fields.expect : null;
  if (expectation !== null && !/^100-continue$/i.test(expectation)) {
    return fault("user:bad_request:expectation_failed");
  }
  if (fields.via?.includes(limits.viaToken)) return fault("sentinel:routing:loop_detected");
  if (method === "OPTIONS" && !countsHops(rawHeaders)) {
    return invalid("Max-Forwards must be one number, in digits", "headers.max-forwards");
  }

  const target = readTarget(rawTarget, limits.targetBytes);
  if (isFault(target)) return target;
  const authority = target.authority === null ? host : agreeOnHost(target.authority, host);
  if (isFault(authority)) return authority;
  return {
    method,
    version: httpVersion,
    target,
    rawHeaders,
    hostField: target.authority ?? fields.host,
    host: authority === null ? null : authority.name,
    authorization: fields.authorization,
    authorizationCount: fields.authorizationCount,
    nominated: connection.nominated,
    body,
    contentType: fields.contentType,
    expectContinue: expectation !== null,
    upgradeWebSocket: method === "GET" && httpVersion === "1.1" && connection.upgrade && asksWebSocket(fields, body),
    closeAfter: connection.close || (httpVersion === "1.0" && !connection.keepAlive),
  };
}

/**
 * The value of a field that is there exactly once, by lower-case name; null when absent, repeated (with another
 * mark for a `-` too, which CGI-like upstreams take for the same), or named in Connection: such a field goes no further, so
 * that nothing may be decided by it.
 */
export function headerValue(head: RequestHead, name: string): string | null {
  if (head.nominated?.has(name)) return null;
  const { rawHeaders } = head;
  let value: string | null = null;
  let count = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const likeness = compareName(rawHeaders[i]!, name);
    if (likeness === OTHER) continue;
    count += 1;
    if (likeness === SAME) value = rawHeaders[i + 1]!;
  }
  return count === 1 ? value : null;
}

/** How often a field is there, by lower-case name, counted as `headerValue` does. */
export function headerCount(head: RequestHead, name: string): number {
  if (head.nominated?.has(name)) return 0;
  const { rawHeaders } = head;
  let count = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) if (compareName(rawHeaders[i]!, name) !== OTHER) count++;
  return count;
}

/**
 * A field name as CGI-like servers see it: in lower case, and whatever is no letter or digit as `-` (all of them fold
 * `-` and `_`; lighttpd, and Apache before 2.4, every other mark too). Names that belong to a protected family are
 * recognised by it, since such servers can not tell the spellings apart.
 */
export function normalizeFieldName(name: string): string {
  const lower = name.toLowerCase();
  return /[^a-z0-9-]/.test(lower) ? lower.replace(/[^a-z0-9-]/g, "-") : lower;
}

/** Whether a `Connection` field may make an intermediary drop the field: never one we set, judge by, or frame with. */
function isProtectedField(normalizedName: string): boolean {
  return (
    PROTECTED_FIELDS.has(normalizedName) ||
    normalizedName.startsWith("x-unkey-") ||
    normalizedName.startsWith("x-forwarded-") ||
    normalizedName.startsWith("content-")
  );
}

const PROTECTED_FIELDS: ReadonlySet<string> = new Set([
  "authorization",
  "host",
  "transfer-encoding",
  "forwarded",
  "via",
  "x-real-ip",
  "x-request-id",
]);

/** The fields that matter to the decision, each as it came. `connection` and `via` are lists and may be repeated. */
interface Fields {
  /** Of all field lines. */
  bytes: number;
  host: string | null;
  contentLength: string | null;
  transferEncoding: string | null;
  contentType: string | null;
  expect: string | null;
  upgrade: string | null;
  connection: string | null;
  via: string | null;
  authorization: string | null;
  authorizationCount: number;
}

/** The one pass over the fields. Lengths of names come first: most fields are told apart by that alone. */
function readFields(rawHeaders: readonly string[]): Fields | Fault {
  const fields: Fields = {
    bytes: 0,
    host: null,
    contentLength: null,
    transferEncoding: null,
    contentType: null,
    expect: null,
    upgrade: null,
    connection: null,
    via: null,
    authorization: null,
    authorizationCount: 0,
  };
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    const value = rawHeaders[i + 1]!;
    fields.bytes += name.length + value.length + LINE_OVERHEAD;
    switch (name.length) {
      case 3:
        if (compareName(name, "via") === SAME) fields.via = joinList(fields.via, value);
        break;
      case 4:
        if (compareName(name, "host") !== SAME) break;
        if (fields.host !== null) return repeated("Host");
        fields.host = value;
        break;
      case 6:
        if (compareName(name, "expect") !== SAME) break;
        if (fields.expect !== null) return repeated("Expect");
        fields.expect = value;
        break;
      case 7:
        if (compareName(name, "upgrade") !== SAME) break;
        if (fields.upgrade !== null) return repeated("Upgrade");
        fields.upgrade = value;
        break;
      case 10:
        if (compareName(name, "connection") === SAME) fields.connection = joinList(fields.connection, value);
        break;
      case 12: {
        const likeness = compareName(name, "content-type");
        if (likeness === OTHER) break;
        if (likeness === VARIANT) return misspelt("Content-Type");
        if (fields.contentType !== null) return repeated("Content-Type");
        fields.contentType = value;
        break;
      }
      case 13:
        if (compareName(name, "authorization") !== SAME) break;
        fields.authorization ??= value;
        fields.authorizationCount++;
        break;
      case 14: {
        const likeness = compareName(name, "content-length");
        if (likeness === OTHER) break;
        if (likeness === VARIANT) return misspelt("Content-Length");
        if (fields.contentLength !== null) return repeated("Content-Length");
        fields.contentLength = value;
        break;
      }
      case 17: {
        const likeness = compareName(name, "transfer-encoding");
        if (likeness === OTHER) break;
        if (likeness === VARIANT) return misspelt("Transfer-Encoding");
        if (fields.transferEncoding !== null) return repeated("Transfer-Encoding");
        fields.transferEncoding = value;
        break;
      }
    }
  }
  return fields;
}

/** A colon, a space and a line end. */
const LINE_OVERHEAD = 4;

const OTHER = 0;
const SAME = 1;
/** The same but for another mark (`_`, `.`, `~` ...) in place of `-`. */
const VARIANT = 2;

const HYPHEN = 0x2d;

/** How `name` compares to a name in lower case. */
function compareName(name: string, lower: string): typeof OTHER | typeof SAME | typeof VARIANT {
  if (name.length !== lower.length) return OTHER;
  let likeness: typeof SAME | typeof VARIANT = SAME;
  for (let i = 0; i < lower.length; i++) {
    const code = name.charCodeAt(i);
    const wanted = lower.charCodeAt(i);
    if (code === wanted || (code >= 0x41 && code <= 0x5a && code + 0x20 === wanted)) continue;
    if (wanted !== HYPHEN || isAlphanumeric(code)) return OTHER;
    likeness = VARIANT;
  }
  return likeness;
}

function joinList(list: string | null, value: string): string {
  return list === null ? value : `${list}, ${value}`;
}

/**
 * RFC 9112 section 6, without its leniency: servers that differ on any of this can be made to differ on where a request
 * ends. The length is given on as a number; its spelling goes no further.
 */
function readBodyFraming({ contentLength, transferEncoding }: Fields, httpVersion: string): BodyFraming | Fault {
  if (transferEncoding !== null) {
    if (contentLength !== null) {
      return invalid("The request has both Content-Length and Transfer-Encoding", "headers.transfer-encoding");
    }
    if (httpVersion === "1.0") return invalid("HTTP/1.0 has no Transfer-Encoding", "headers.transfer-encoding");
    if (!/^chunked$/i.test(transferEncoding)) {
      return invalid("The only transfer coding is chunked, by itself", "headers.transfer-encoding");
    }
    return CHUNKED;
  }
  if (contentLength === null) return NO_BODY;
  const bytes = /^[0-9]+$/.test(contentLength) ? Number(contentLength) : Number.NaN;
  if (Number.isSafeInteger(bytes)) return { kind: "length", bytes };
  return invalid("Content-Length must be one number of bytes, in digits", "headers.content-length");
}

const NO_BODY: BodyFraming = { kind: "none" };
const CHUNKED: BodyFraming = { kind: "chunked" };

function readHost(field: string | null, httpVersion: string): HostAndPort | null | Fault {
  if (field === null) {
    return httpVersion === "1.0" ? null : invalid("The request has no Host field", "headers.host");
  }
  return parseHost(field) ?? invalid("The Host field must be one host with an optional port", "headers.host");
}

interface ConnectionOptions {
  readonly close: boolean;
  readonly keepAlive: boolean;
  readonly upgrade: boolean;
  readonly nominated: ReadonlySet<string> | null;
}

const NO_OPTIONS: ConnectionOptions = { close: false, keepAlive: false, upgrade: false, nominated: null };
const KEEP_ALIVE: ConnectionOptions = { ...NO_OPTIONS, keepAlive: true };
const CLOSE: ConnectionOptions = { ...NO_OPTIONS, close: true };

/** RFC 9110 section 7.6.1: options, and names of fields that go no further than the next hop. */
function readConnection(list: string): ConnectionOptions | Fault {
  if (list === "keep-alive" || list === "Keep-Alive") return KEEP_ALIVE;
  if (list === "close") return CLOSE;
  const options = new Set<string>();
  for (const element of list.split(",")) {
    const text = trimBlanks(element);
    if (text === "") continue;
    const option = text.toLowerCase();
    if (!isToken(text)) return invalid("Connection must list names of fields alone", "headers.connection");
    // A client may list a field to make us drop what was judged or what tells the upstream who is asking.
    if (isProtectedField(normalizeFieldName(option))) {
      return invalid("Connection must not name a field that the gateway sets or protects", "headers.connection");
    }
    options.add(option);
  }
  const close = options.delete("close");
  const keepAlive = options.delete("keep-alive");
  const upgrade = options.delete("upgrade");
  return { close, keepAlive, upgrade, nominated: options.size === 0 ? null : options };
}

function readTarget(rawTarget: string, maxBytes: number): Target | Fault {
  if (rawTarget.length > maxBytes) {
    return targetTooLong(maxBytes);
  }
  if (rawTarget === "*") return invalid("The target * is for OPTIONS alone", "path");
  return parseTarget(rawTarget);
}

/** An absolute-form target names the host a second time; a server may go by either, so both have to be one. */
function agreeOnHost(authority: string, host: HostAndPort | null): HostAndPort | Fault {
  const named = parseHost(authority);
  if (named !== null && (host === null || (named.name === host.name && isSamePort(named.port, host.port))))
    return named;
  return invalid("The target's authority must agree with the Host field", "headers.host");
}

/** No port is the scheme's; TLS may end in front of us, so that either scheme's will do. */
function isSamePort(a: number | null, b: number | null): boolean {
  return a === b || (a === null && isDefaultPort(b)) || (b === null && isDefaultPort(a));
}

function isDefaultPort(port: number | null): boolean {
  return port === 80 || port === 443;
}

function asksWebSocket({ upgrade }: Fields, body: BodyFraming): boolean {
  if (body.kind === "chunked" || (body.kind === "length" && body.bytes > 0)) return false;
  return upgrade !== null && /^websocket$/i.test(upgrade);
}

/** RFC 9110 section 7.6.2: an OPTIONS with no hop left is answered by whoever holds it. */
export function hasNoHopLeft(head: RequestHead): boolean {
  return head.method === "OPTIONS" && /^0+$/.test(headerValue(head, "max-forwards") ?? "");
}

/** RFC 9110 section 7.6.2: a hop that can not count it down could not stop at the last one. True where there is none. */
function countsHops(rawHeaders: readonly string[]): boolean {
  const values = rawHeaders.filter(
    (_, i) => i % 2 === 1 && compareName(rawHeaders[i - 1] as string, "max-forwards") !== OTHER,
  );
  return values.length === 0 || (values.length === 1 && /^\d{1,9}$/.test(values[0] as string));
}

const COMMON_METHODS: readonly string[] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

function methodNotAllowed(): Fault {
  return fault("sentinel:routing:method_not_allowed", {
    detail: `This method is not allowed. Allowed methods: ${COMMON_METHODS.join(", ")}`,
    allow: COMMON_METHODS,
  });
}

function repeated(name: string): Fault {
  return invalid(`The request has more than one ${name} field`, `headers.${name.toLowerCase()}`);
}

function misspelt(name: string): Fault {
  return invalid(`The request has a field that some servers take for ${name}`, `headers.${name.toLowerCase()}`);
}

function invalid(detail: string, location: string): Fault {
  return fault("user:bad_request:invalid_request", { detail, location });
}
