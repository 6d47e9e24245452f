import { isAlphanumeric } from "../octets.ts";
import type { TextProblem } from "./pattern.ts";
import type { RouteMatch } from "./route.ts";

/** A Host field or an authority, taken apart. */
export interface HostAndPort {
  /** Lower case, without port and without a trailing dot. An IPv6 address keeps its brackets. */
  readonly name: string;
  /** 0 to 65535; null where none is said. */
  readonly port: number | null;
}

/**
 * Reads `name[:port]` or `[IPv6][:port]`, null where it is neither: user info, a list, spaces, escapes and empty labels
 * are no host. Names are letters, digits, `-`, `_` and `.`, at most 253 long.
 */
export function parseHost(field: string): HostAndPort | null {
  if (field.charCodeAt(0) === OPENING_BRACKET) return parseAddress(field);
  let end = 0;
  let afterDot = true;
  let inLowerCase = true;
  for (; end < field.length; end++) {
    const code = field.charCodeAt(end);
    if (code === COLON) break;
    if (code === DOT) {
      if (afterDot) return null;
      afterDot = true;
      continue;
    }
    if (!isNameCharacter(code)) return null;
    if (code >= 0x41 && code <= 0x5a) inLowerCase = false;
    afterDot = false;
  }
  const port = parsePort(field, end);
  const length = afterDot ? end - 1 : end;
  if (port === NO_PORT_NUMBER || length < 1 || length > 253) return null;
  const name = field.slice(0, length);
  return { name: inLowerCase ? name : name.toLowerCase(), port };
}

/** Reads `match.host`: exact, or `*.example.com`. Letter case and one trailing dot do not matter; a port is a problem. */
export function parseHostPattern(text: string): RouteMatch["host"] | TextProblem {
  const wildcard = text.startsWith("*.");
  const host = parseHost(wildcard ? text.slice(2) : text);
  if (host === null) return { kind: "problem", column: 1, message: HOST_EXPECTED };
  if (host.port !== null) {
    const column = text.lastIndexOf(":") + 1;
    return { kind: "problem", column, message: "must not name a port: the port of a Host field is ignored" };
  }
  if (!wildcard) return { kind: "exact", name: host.name };
  if (host.name.startsWith("[")) return { kind: "problem", column: 3, message: HOST_EXPECTED };
  return { kind: "wildcard", suffix: `.${host.name}` };
}

/** The way back: `*` where any host will do. */
export function formatHostPattern(host: RouteMatch["host"]): string {
  if (host.kind === "any") return "*";
  return host.kind === "exact" ? host.name : `*${host.suffix}`;
}

const HOST_EXPECTED = "must be a host name, an address, or *. and a name, as in *.example.com";

const OPENING_BRACKET = 0x5b;
const DOT = 0x2e;
const COLON = 0x3a;

const NO_PORT_NUMBER = -1;

function isNameCharacter(code: number): boolean {
  return isAlphanumeric(code) || code === 0x2d || code === 0x5f;
}

/** The number after the colon at `at`, null at the end of the field; `NO_PORT_NUMBER` where neither stands there. */
function parsePort(field: string, at: number): number | null {
  if (at === field.length) return null;
  const digits = field.length - at - 1;
  if (field.charCodeAt(at) !== COLON || digits < 1 || digits > 5) return NO_PORT_NUMBER;
  let port = 0;
  for (let i = at + 1; i < field.length; i++) {
    const digit = field.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return NO_PORT_NUMBER;
    port = port * 10 + digit;
  }
  return port <= 65535 ? port : NO_PORT_NUMBER;
}

function parseAddress(field: string): HostAndPort | null {
  const end = field.indexOf("]") + 1;
  const port = parsePort(field, end);
  if (end === 0 || port === NO_PORT_NUMBER || !isIpv6(field.slice(1, end - 1))) return null;
  return { name: field.slice(0, end).toLowerCase(), port };
}

/** RFC 4291 section 2.2: eight groups, `::` for one or more of zero, the last two perhaps as IPv4. No zone. */
function isIpv6(text: string): boolean {
  const halves = text.split("::");
  if (halves.length > 2) return false;
  const groups = halves.flatMap((half) => (half === "" ? [] : half.split(":")));
  const ipv4 = groups.at(-1)?.includes(".") === true && !text.endsWith("::") ? groups.pop() : undefined;
  if (ipv4 !== undefined && !isIpv4(ipv4)) return false;
  if (!groups.every((group) => /^[0-9A-Fa-f]{1,4}$/.test(group))) return false;
  const count = groups.length + (ipv4 === undefined ? 0 : 2);
  return halves.length === 2 ? count <= 7 : count === 8;
}

function isIpv4(text: string): boolean {
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(?:0|[1-9][0-9]{0,2})$/.test(part) && Number(part) <= 255);
}
