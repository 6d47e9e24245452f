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
  const nameEnd = field.charCodeAt(0) === OPENING_BRACKET ? field.indexOf("]") + 1 : nameLength(field);
  const name = field.slice(0, nameEnd);
  const port = nameEnd === field.length ? null : parsePort(field, nameEnd);
  if (port === -1) return null;
  if (name.charCodeAt(0) === OPENING_BRACKET)
    return isIpv6(name.slice(1, -1)) ? { name: name.toLowerCase(), port } : null;
  const end = name.endsWith(".") ? name.length - 1 : name.length;
  if (end === 0 || end > 253 || name.charCodeAt(0) === DOT || name.charCodeAt(end - 1) === DOT) return null;
  if (name.includes("..")) return null;
  return { name: (end === name.length ? name : name.slice(0, end)).toLowerCase(), port };
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

const HOST_EXPECTED = "must be a host name, an address, or *. and a name, as in *.example.com";

const OPENING_BRACKET = 0x5b;
const DOT = 0x2e;
const COLON = 0x3a;

/** How many characters of a name the text begins with. */
function nameLength(field: string): number {
  for (let i = 0; i < field.length; i++) {
    const code = field.charCodeAt(i);
    const lower = code | 0x20;
    if (lower >= 0x61 && lower <= 0x7a && code < 0x80) continue;
    if (!((code >= 0x30 && code <= 0x39) || code === 0x2d || code === DOT || code === 0x5f)) return i;
  }
  return field.length;
}

/** The number after the colon at `at`; -1 where what stands there is no port. */
function parsePort(field: string, at: number): number {
  if (field.charCodeAt(at) !== COLON) return -1;
  const digits = field.slice(at + 1);
  if (!/^[0-9]{1,5}$/.test(digits)) return -1;
  const port = Number(digits);
  return port <= 65535 ? port : -1;
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
