import { type Fault, fault } from "../faults/fault.ts";
import { canonicalPath, type PathProblem } from "./canonical-path.ts";
import type { Rewrite, Route } from "./route.ts";

/**
 * The request target, parsed once from the raw bytes. What was matched and authorised is what is logged and what the
 * upstream gets (contract section 2.2).
 */
export interface Target {
  /** Canonical: begins with `/`, unreserved escapes decoded, the others in upper case. */
  readonly path: string;
  /** As it came, with its `?`; empty where there was none. */
  readonly query: string;
  /** `%2F` is in a segment: refused unless the route has `allowEncodedSlash`. */
  readonly hasEncodedSlash: boolean;
  /** `;` (or `%3B`) is in a segment: refused unless the route has `allowSemicolon`. */
  readonly hasSemicolon: boolean;
  /** The authority of an absolute-form target, as sent, to be compared with Host; null for origin-form. */
  readonly authority: string | null;
}

/**
 * Reads a target other than `*`, in origin-form or absolute-form. Ends in `ambiguous_path`. Never throws, whatever the
 * string; takes time linear in its length.
 */
export function parseTarget(raw: string): Target | Fault {
  if (raw.charCodeAt(0) !== SLASH) return parseAbsoluteForm(raw);
  const queryStart = plainPathEnd(raw);
  if (queryStart === raw.length) return plainTarget(raw, "");
  if (queryStart === NOT_PLAIN) return parseOriginForm(raw, null);
  const query = raw.slice(queryStart);
  return isPlainQuery(query) ? plainTarget(raw.slice(0, queryStart), query) : ambiguous(QUERY_BYTES);
}

/**
 * The target as the upstream is asked for it. A path that does not have `stripPrefix`, on a segment's end, stays as it
 * is. The result is judged by the same rules as a target that a client sends: ends in `ambiguous_path`.
 */
export function rewriteTarget(target: Target, rewrite: Rewrite): Target | Fault {
  const path = rewritePath(target.path, rewrite);
  if (path === target.path) return target;
  const canonical = canonicalPath(path);
  if (canonical.kind === "problem") return ambiguousPath(canonical);
  return { ...canonicalTarget(canonical), query: target.query, authority: target.authority };
}

/** What `rewrite` makes of a path, not yet judged: for a path that a target or a route's pattern has. */
export function rewritePath(path: string, rewrite: Rewrite): string {
  const prefix = rewrite.prefix.endsWith("/") ? rewrite.prefix.slice(0, -1) : rewrite.prefix;
  if (rewrite.kind === "addPrefix") return prefix + path;
  if (!path.startsWith(prefix)) return path;
  if (path.length === prefix.length) return "/";
  return path.charCodeAt(prefix.length) === SLASH ? path.slice(prefix.length) : path;
}

/** `%2F` and `;` are data inside a segment only where the route says so; elsewhere they end in `ambiguous_path`. */
export function checkRouteAllows(
  target: Target,
  route: Pick<Route, "allowEncodedSlash" | "allowSemicolon">,
): Fault | null {
  if (target.hasEncodedSlash && !route.allowEncodedSlash) return ambiguous(ENCODED_SLASH);
  if (target.hasSemicolon && !route.allowSemicolon) return ambiguous(SEMICOLON);
  return null;
}

const SLASH = 0x2f;
const QUESTION_MARK = 0x3f;
const NOT_PLAIN = -1;

const ABSOLUTE_FORM = /^https?:\/\/([^/?#]*)/i;

const NO_LEADING_SLASH: Reason = { detail: "The request target must begin with a slash" };
const USER_INFO: Reason = { detail: "The authority of the request target must be a host and an optional port alone" };
const QUERY_BYTES: Reason = {
  detail: "The query must not hold a number sign, spaces, control characters or bytes beyond ASCII",
  fix: "Percent-encode them",
};
const ENCODED_SLASH: Reason = { detail: "The path must not hold an encoded slash here" };
const SEMICOLON: Reason = { detail: "The path must not hold a semicolon here" };

interface Reason {
  readonly detail: string;
  readonly fix?: string;
}

function ambiguous(reason: Reason): Fault {
  return fault("user:bad_request:ambiguous_path", { ...reason, location: "path" });
}

function ambiguousPath({ what, fix }: PathProblem): Fault {
  return ambiguous({ detail: `The path must not hold ${what}`, ...(fix !== undefined && { fix }) });
}

/**
 * Where the path ends: at the first `?` or at the end of the text. `NOT_PLAIN` where it holds anything that needs a
 * closer look: an escape, a semicolon, a segment that is empty or begins with a dot, or a byte that is refused.
 */
function plainPathEnd(raw: string): number {
  let afterSlash = true;
  for (let i = 1; i < raw.length; i++) {
    const code = raw.charCodeAt(i);
    const kind = code < 0x80 ? PLAIN[code] : REFUSED;
    if (kind === ORDINARY) afterSlash = false;
    else if (kind === SEPARATOR || kind === DOT) {
      if (afterSlash) return NOT_PLAIN;
      afterSlash = kind === SEPARATOR;
    } else return code === QUESTION_MARK ? i : NOT_PLAIN;
  }
  return raw.length;
}

const REFUSED = 0;
const ORDINARY = 1;
const SEPARATOR = 2;
const DOT = 3;

const PLAIN: Uint8Array = plainTable();

function plainTable(): Uint8Array {
  const table = new Uint8Array(0x80);
  for (let code = 0x21; code < 0x7f; code++) {
    if (!'"<>^{|}`\\#%;?'.includes(String.fromCharCode(code))) table[code] = ORDINARY;
  }
  table[SLASH] = SEPARATOR;
  table[0x2e] = DOT;
  return table;
}

function isPlainQuery(query: string): boolean {
  for (let i = 0; i < query.length; i++) {
    const code = query.charCodeAt(i);
    if (code <= 0x20 || code >= 0x7f || code === 0x23) return false;
  }
  return true;
}

function plainTarget(path: string, query: string): Target {
  return { path, query, hasEncodedSlash: false, hasSemicolon: false, authority: null };
}

function canonicalTarget({ path, hasEncodedSlash, hasSemicolon }: Omit<Target, "query" | "authority">): Target {
  return { path, query: "", hasEncodedSlash, hasSemicolon, authority: null };
}

function parseOriginForm(raw: string, authority: string | null): Target | Fault {
  const queryStart = raw.indexOf("?");
  const query = queryStart === -1 ? "" : raw.slice(queryStart);
  const canonical = canonicalPath(queryStart === -1 ? raw : raw.slice(0, queryStart));
  if (canonical.kind === "problem") return ambiguousPath(canonical);
  if (!isPlainQuery(query)) return ambiguous(QUERY_BYTES);
  return { ...canonicalTarget(canonical), query, authority };
}

/** RFC 9112 section 3.2.2: a server has to accept it. An empty path is `/`. */
function parseAbsoluteForm(raw: string): Target | Fault {
  const match = ABSOLUTE_FORM.exec(raw);
  if (match === null) return ambiguous(NO_LEADING_SLASH);
  const authority = match[1] ?? "";
  if (authority === "" || authority.includes("@")) return ambiguous(USER_INFO);
  const rest = raw.slice(match[0].length);
  return parseOriginForm(rest.charCodeAt(0) === SLASH ? rest : `/${rest}`, authority);
}
