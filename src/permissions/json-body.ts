import { isToken } from "../octets.ts";

/**
 * Reads a JSON body for `{body...}` placeholders (contract section 2.3). The gateway decides on what it reads here and
 * sends on the very same bytes, so a body that another parser could read differently is refused: a member that appears
 * twice (the first wins in some, the last in others), bytes that are not UTF-8, another charset, a byte order mark,
 * a content coding.
 */
export type JsonBody =
  | { readonly kind: "object"; readonly members: Readonly<Record<string, unknown>> }
  /** `expected` completes "The request body ...". It never repeats what the client sent. */
  | { readonly kind: "refused"; readonly expected: string };

export const MAX_JSON_DEPTH = 64;

/** `coded`: it comes with a Content-Encoding, so that its reader reads something else than these bytes. */
export function parseJsonBody(bytes: Uint8Array, contentType: string | null, coded = false): JsonBody {
  const ruledOut = unreadRefusal(contentType, coded);
  if (ruledOut !== null) return ruledOut;
  const text = decodeUtf8(bytes);
  if (text === null) return refused("must be valid UTF-8 without a byte order mark");
  const scan = scanJson(text);
  if (scan !== null) return refused(SCAN_REFUSALS[scan]);
  const value = parseJson(text);
  // The scan knows the nesting and the names; JSON.parse has the last word on what is JSON.
  if (value === undefined) return refused(SCAN_REFUSALS.syntax);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return refused("must be a JSON object");
  return { kind: "object", members: value as Readonly<Record<string, unknown>> };
}

/** What the head alone rules out, whatever the body holds; null where it has to be read. */
export function unreadRefusal(contentType: string | null, coded: boolean): JsonBody | null {
  if (coded) return refused("must come without a Content-Encoding");
  if (contentType === null) return refused("must come with Content-Type: application/json");
  const problem = contentTypeProblem(contentType);
  return problem === null ? null : refused(problem);
}

/** What a `{body...}` placeholder finds. `ambiguous`: a lenient parser could read another member in its place. */
export type MemberReading =
  | { readonly kind: "value"; readonly value: unknown }
  | { readonly kind: "absent" }
  | { readonly kind: "ambiguous" };

/** Follows `path` from the root inwards, through objects only and their own members only (`__proto__` is a name like any other). */
export function readMember(root: Readonly<Record<string, unknown>>, path: readonly string[]): MemberReading {
  let value: unknown = root;
  for (const name of path) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return { kind: "absent" };
    if (hasRival(value, name)) return { kind: "ambiguous" };
    if (!Object.hasOwn(value, name)) return { kind: "absent" };
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return { kind: "value", value };
}

/**
 * A second member that some parser takes for `name`: Go's encoding/json and .NET's web defaults match names in any case,
 * and the last one wins there. To Protocol Buffers' JSON (and whatever turns JSON into gRPC) `apiId` and `api_id` are one
 * field. A parser that ends strings at a NUL sees the same name twice too.
 */
function hasRival(value: object, name: string): boolean {
  const folded = foldName(name);
  for (const other of Object.keys(value)) if (other !== name && foldName(other) === folded) return true;
  return false;
}

/**
 * Without `_` and `-` within it, and in lower, then upper case: the long s and the Kelvin sign fold to S and K, as they
 * do in Go.
 */
export function foldName(name: string): string {
  const nul = name.indexOf("\0");
  const text = nul < 0 ? name : name.slice(0, nul);
  return text
    .replace(/(?<=[^_-])[_-](?=[^_-])/g, "")
    .toLowerCase()
    .toUpperCase();
}

function refused(expected: string): JsonBody {
  return { kind: "refused", expected };
}

const WANTED_TYPE = "must be JSON: its Content-Type has to be application/json or end in +json";

/** RFC 9110 section 8.3.1. A media type that is JSON, with no charset or with utf-8. */
function contentTypeProblem(field: string): string | null {
  const [media = "", ...parameters] = field.split(";");
  const [type = "", subtype = "", ...rest] = media.trim().toLowerCase().split("/");
  if (rest.length > 0 || !isToken(type) || !isToken(subtype)) return WANTED_TYPE;
  const isJson = (type === "application" && subtype === "json") || /.\+json$/.test(subtype);
  if (!isJson) return WANTED_TYPE;
  let charsets = 0;
  for (const parameter of parameters) {
    const trimmed = parameter.trim();
    if (trimmed === "") continue;
    const equals = trimmed.indexOf("=");
    const name = trimmed.slice(0, Math.max(equals, 0)).toLowerCase();
    const value = unquote(trimmed.slice(equals + 1));
    if (!isToken(name) || value === null) return "must come with a well-formed Content-Type";
    if (name !== "charset") continue;
    charsets += 1;
    if (charsets > 1 || value.toLowerCase() !== "utf-8") return "must be in UTF-8: its charset has to be utf-8";
  }
  return null;
}

/** A parameter's value: a token, or a quoted string. A `;` or an escape inside quotes is not taken. */
function unquote(text: string): string | null {
  if (isToken(text)) return text;
  const inside = /^"([^"\\]*)"$/.exec(text);
  return inside?.[1] ?? null;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    const text = utf8.decode(bytes);
    return text.charCodeAt(0) === 0xfeff ? null : text;
  } catch {
    // The caller refuses the body: this is what "not UTF-8" looks like here.
    return null;
  }
}

/** Undefined when the text is not JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // The caller refuses the body; the parser's message would quote it.
    return undefined;
  }
}

export type ScanProblem = "syntax" | "duplicate" | "depth";

const SCAN_REFUSALS = {
  syntax: "must be JSON",
  duplicate: "must not have a member twice",
  depth: `must not be nested deeper than ${MAX_JSON_DEPTH}`,
} as const satisfies Record<ScanProblem, string>;

/**
 * Looks for what JSON.parse keeps to itself: members that appear twice in one object (by their decoded names) and the
 * depth. One pass, no recursion. Null: neither; whether the text is JSON is then JSON.parse's to say.
 */
export function scanJson(text: string): ScanProblem | null {
  /** The names seen in each open object; null for an array. */
  const open: (Set<string> | null)[] = [];
  /** In an object: the next string is a member's name. */
  let expectsName = false;
  let i = 0;
  while (i < text.length) {
    const code = text.charCodeAt(i);
    switch (code) {
      case BRACE_OPEN:
      case BRACKET_OPEN:
        if (open.length === MAX_JSON_DEPTH) return "depth";
        open.push(code === BRACE_OPEN ? new Set() : null);
        expectsName = code === BRACE_OPEN;
        break;
      case BRACE_CLOSE:
      case BRACKET_CLOSE:
        open.pop();
        expectsName = false;
        break;
      case COMMA:
        expectsName = open.at(-1) instanceof Set;
        break;
      case QUOTE: {
        const end = stringEnd(text, i);
        if (end < 0) return "syntax";
        if (expectsName) {
          const literal = text.slice(i, end + 1);
          const name = literal.includes("\\") ? parseJson(literal) : literal.slice(1, -1);
          if (typeof name !== "string") return "syntax";
          const names = open.at(-1);
          if (names?.has(name)) return "duplicate";
          names?.add(name);
          expectsName = false;
        }
        i = end;
        break;
      }
    }
    i += 1;
  }
  return null;
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const BRACE_OPEN = 0x7b;
const BRACE_CLOSE = 0x7d;
const BRACKET_OPEN = 0x5b;
const BRACKET_CLOSE = 0x5d;

/** The index of the quote that ends the string which begins at `start`; -1 when none does. */
function stringEnd(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) return i;
    if (code === BACKSLASH) i += 1;
  }
  return -1;
}
