import type { BodyFraming, RequestHead } from "../head.ts";
import { normalizeFieldName } from "../head.ts";
import { PROXY_FIELDS } from "./proxy-fields.ts";

/** What the upstream's request head is built from, beside the client's own. */
export interface RequestHeadersContext {
  readonly requestId: string;
  /** This instance's entry for `Via`. */
  readonly via: string;
  /** The address that the client is known by where its peer is not trusted: the socket's. */
  readonly clientIp: string;
  /** The peer is in `trustedProxies`; `peerAddress` is then what extends its X-Forwarded-For. */
  readonly trustedPeer: boolean;
  readonly peerAddress: string;
  /** How and where the client connected. */
  readonly scheme: "http" | "https";
  readonly port: number;
  /** The target's authority: sent as Host where `preserveHost` is false, or the client (HTTP/1.0) sent none. */
  readonly authority: string;
  readonly preserveHost: boolean;
  readonly authorization: "preserve" | "strip";
  /** `X-Unkey-Principal` on guarded routes, null on open ones. */
  readonly principal: string | null;
  /** How the body goes on: the client's framing, or the length of a body that was read. */
  readonly body: BodyFraming;
  /** A WebSocket handshake: Connection and Upgrade are made anew. */
  readonly upgrade: boolean;
}

/**
 * The complete raw header list for the upstream, built from scratch out of the client's raw list: end-to-end fields in
 * their order and case, then ours (contract section 6). Framing is decided here and never copied (section 7).
 *
 * A name that reads like one of ours or like a framing field once every mark counts as `-` never goes on, whoever sent
 * it: CGI-like upstreams fold `X_Unkey_Principal` and `X-Unkey-Principal` into one variable.
 */
export function buildRequestHeaders(head: RequestHead, context: RequestHeadersContext): string[] {
  const { rawHeaders, nominated } = head;
  const { body, trustedPeer } = context;
  const headers: string[] = [];
  let hostDue = true;
  let lengthDue = body.kind === "length";
  let forwardedFor = "";
  /** Bits of the X-Forwarded-* fields that a trusted peer sent. */
  let forwarded = 0;

  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!;
    const value = rawHeaders[at + 1]!;
    switch (roleOf(name, trustedPeer)) {
      case DROPPED:
        continue;
      case HOST:
        if (hostDue) headers.push(name, hostValue(head, context));
        hostDue = false;
        continue;
      case CONTENT_LENGTH:
        if (lengthDue && body.kind === "length") headers.push(name, String(body.bytes));
        lengthDue = false;
        continue;
      case AUTHORIZATION:
        // A client may list Authorization in Connection to make us drop it (RFC 9110 section 7.6.1); it is never
        // dropped for that: such a request was refused, and this branch does not look at what was nominated.
        if (context.authorization === "preserve") headers.push(name, value);
        continue;
      case CONTENT_TYPE:
        headers.push(name, value);
        continue;
      case MAX_FORWARDS:
        if (nominated === null || !nominated.has("max-forwards")) headers.push(name, maxForwards(head.method, value));
        continue;
      case FORWARDED_FOR:
        if (value !== "") forwardedFor += forwardedFor === "" ? value : `, ${value}`;
        continue;
      case FORWARDED_PROTO:
        forwarded |= 1;
        break;
      case FORWARDED_HOST:
        forwarded |= 2;
        break;
      case FORWARDED_PORT:
        forwarded |= 4;
        break;
    }
    if (nominated === null || !nominated.has(name.toLowerCase())) headers.push(name, value);
  }

  if (hostDue) headers.push("Host", hostValue(head, context));
  if (lengthDue && body.kind === "length") headers.push("Content-Length", String(body.bytes));
  else if (body.kind === "chunked") headers.push("Transfer-Encoding", "chunked");
  else if (body.kind === "none" && expectsBody(head.method)) headers.push("Content-Length", "0");
  if (context.upgrade) headers.push("Connection", "Upgrade", "Upgrade", "websocket");
  pushForwarded(headers, head, context, forwardedFor, forwarded);
  if (context.principal !== null) headers.push("X-Unkey-Principal", context.principal);
  headers.push("X-Request-Id", context.requestId, "Via", context.via);
  return headers;
}

const COPIED = 0;
const DROPPED = 1;
const HOST = 2;
const CONTENT_LENGTH = 3;
const AUTHORIZATION = 4;
const CONTENT_TYPE = 5;
const MAX_FORWARDS = 6;
const FORWARDED_FOR = 7;
const FORWARDED_PROTO = 8;
const FORWARDED_HOST = 9;
const FORWARDED_PORT = 10;

/**
 * What becomes of a field, by its name. Runs for every field of every request: the first letter and the length settle
 * most names before anything is put in lower case.
 */
function roleOf(name: string, trustedPeer: boolean): number {
  const { length } = name;
  switch (name.charCodeAt(0) | 0x20) {
    case 0x61: // a
      return length === 13 && name.toLowerCase() === "authorization" ? AUTHORIZATION : COPIED;
    case 0x63: // c
      if (length === 10) return name.toLowerCase() === "connection" ? DROPPED : COPIED;
      if (length === 12) return exactly(name, "content-type", CONTENT_TYPE);
      if (length === 14) return exactly(name, "content-length", CONTENT_LENGTH);
      return COPIED;
    case 0x65: // e
      return length === 6 && name.toLowerCase() === "expect" ? DROPPED : COPIED;
    case 0x66: // f
      return length === 9 && !trustedPeer && name.toLowerCase() === "forwarded" ? DROPPED : COPIED;
    case 0x68: // h
      if (length === 4) return name.toLowerCase() === "host" ? HOST : COPIED;
      return length === 14 ? exactly(name, "http2-settings", DROPPED) : COPIED;
    case 0x6b: // k
      return length === 10 ? exactly(name, "keep-alive", DROPPED) : COPIED;
    case 0x6d: // m
      return length === 12 && name.toLowerCase() === "max-forwards" ? MAX_FORWARDS : COPIED;
    case 0x70: // p
      return length >= 16 && PROXY_FIELDS.has(normalizeFieldName(name)) ? DROPPED : COPIED;
    case 0x74: // t
      if (length === 2) return name.toLowerCase() === "te" ? DROPPED : COPIED;
      if (length === 7) return name.toLowerCase() === "trailer" ? DROPPED : COPIED;
      return length === 17 ? exactly(name, "transfer-encoding", DROPPED) : COPIED;
    case 0x75: // u
      return length === 7 && name.toLowerCase() === "upgrade" ? DROPPED : COPIED;
    case 0x78: // x
      return roleOfExtension(name, trustedPeer);
    default:
      return COPIED;
  }
}

/** `role` for `wanted` itself in any case; other spellings of it are dropped, other names copied. */
function exactly(name: string, wanted: string, role: number): number {
  const lower = name.toLowerCase();
  if (lower === wanted) return role;
  return normalizeFieldName(lower) === wanted ? DROPPED : COPIED;
}

/** Names with an `x` in front: ours, what proxies say of a client, and what some upstreams let override a request. */
function roleOfExtension(name: string, trustedPeer: boolean): number {
  if (name.length < "x-unkey-".length) return COPIED;
  const lower = name.toLowerCase();
  const normal = normalizeFieldName(lower);
  if (isOursToSay(normal)) return DROPPED;
  if (!isAboutTheClient(normal)) return COPIED;
  if (!trustedPeer || normal !== lower) return DROPPED;
  switch (normal) {
    case "x-forwarded-for":
      return FORWARDED_FOR;
    case "x-forwarded-proto":
      return FORWARDED_PROTO;
    case "x-forwarded-host":
      return FORWARDED_HOST;
    case "x-forwarded-port":
      return FORWARDED_PORT;
    default:
      return COPIED;
  }
}

/** A field that nobody but the gateway may send on, by its name as `normalizeFieldName` gives it. */
export function isOursToSay(normal: string): boolean {
  return normal.startsWith("x-unkey-") || normal === "x-request-id";
}

/** Believed of trusted proxies only. */
function isAboutTheClient(normal: string): boolean {
  return (
    normal.startsWith("x-forwarded-") ||
    normal.startsWith("x-original-") ||
    normal.startsWith("x-http-method") ||
    normal === "x-real-ip" ||
    normal === "x-rewrite-url" ||
    normal === "x-method-override"
  );
}

/**
 * Each anew from the socket; from a trusted peer `-For` is extended, and of the others only what it did not say is
 * added.
 */
function pushForwarded(
  headers: string[],
  head: RequestHead,
  context: RequestHeadersContext,
  forwardedFor: string,
  sent: number,
): void {
  if (!context.trustedPeer) headers.push("X-Forwarded-For", context.clientIp);
  else headers.push("X-Forwarded-For", `${forwardedFor}${forwardedFor === "" ? "" : ", "}${context.peerAddress}`);
  if ((sent & 1) === 0) headers.push("X-Forwarded-Proto", context.scheme);
  if ((sent & 2) === 0 && head.hostField !== null) headers.push("X-Forwarded-Host", head.hostField);
  // Where the proxy in front told the scheme or host that the client saw, our own port would contradict it.
  if (sent === 0) headers.push("X-Forwarded-Port", String(context.port));
}

function hostValue(head: RequestHead, context: RequestHeadersContext): string {
  return context.preserveHost && head.hostField !== null ? head.hostField : context.authority;
}

/** RFC 9110 section 7.6.2: one less, for OPTIONS, where what is no number was refused (and 0 answered) before. */
function maxForwards(method: string, value: string): string {
  return method === "OPTIONS" && /^\d*[1-9]\d*$/.test(value) ? String(Number(value) - 1) : value;
}

/** Methods whose request means something by its body say so when there is none (RFC 9110 section 8.6). */
function expectsBody(method: string): boolean {
  return method !== "GET" && method !== "HEAD" && method !== "DELETE" && method !== "OPTIONS";
}
