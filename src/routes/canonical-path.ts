import { hexDigit, isAlphanumeric } from "../octets.ts";

/** A path in the one spelling that is matched, authorised, logged and forwarded. */
export interface CanonicalPath {
  readonly kind: "path";
  readonly path: string;
  readonly hasEncodedSlash: boolean;
  readonly hasSemicolon: boolean;
}

/** Why different servers would read a path differently. */
export interface PathProblem {
  readonly kind: "problem";
  /** What the path holds and must not, in words that never repeat what was sent: `a backslash`. */
  readonly what: string;
  readonly fix?: string;
  /** Where in the text it was seen, from 0. */
  readonly offset: number;
}

/**
 * Puts a path that begins with a slash in its canonical form: escapes of unreserved characters decoded, the others in upper case. What is left
 * to interpretation is a problem (contract section 2.2). The result is a fixed point.
 *
 * `%2F` and `;` are passed on, flagged, but not what hides behind them: a server that decodes before it splits, or that
 * cuts a segment at `;`, sees dot segments and empty segments where others see a name.
 */
export function canonicalPath(text: string): CanonicalPath | PathProblem {
  let path = "";
  let copied = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code !== PERCENT) {
      const what = refusedByte(code);
      if (what !== null) return problem(i, what, ENCODE_IT);
      continue;
    }
    const value = escapeAt(text, i);
    if (value === -1) return problem(i, "a percent sign that two hexadecimal digits do not follow");
    if (value < 0x20 || value === 0x7f) return problem(i, "an encoded control character");
    if (value === BACKSLASH) return problem(i, "an encoded backslash");
    const escapes = value < 0x80 ? 1 : sequenceLength(text, i, value);
    if (escapes === 0) return problem(i, "escapes that are not UTF-8");
    const end = i + 3 * escapes;
    const escaped = text.slice(i, end);
    path += text.slice(copied, i) + (isUnreserved(value) ? String.fromCharCode(value) : escaped.toUpperCase());
    copied = end;
    i = end - 1;
  }
  path += text.slice(copied);
  return judgeResult(path);
}

const PERCENT = 0x25;
const BACKSLASH = 0x5c;
const ENCODE_IT = "Percent-encode it";

/** The rules that only show once escapes are decoded. */
function judgeResult(path: string): CanonicalPath | PathProblem {
  const doubled = path.search(/%25[0-9A-Fa-f]{2}/);
  if (doubled !== -1) return problem(doubled, "an escape of an escape");
  const hasEncodedSlash = path.includes("%2F");
  const hasSemicolon = path.includes(";") || path.includes("%3B");
  return judgeSegments(path) ?? { kind: "path", path, hasEncodedSlash, hasSemicolon };
}

/** Splits at `/` and `%2F` alike, and looks at each segment up to its first `;` or `%3B`. */
function judgeSegments(path: string): PathProblem | null {
  const separator = /\/|%2F/g;
  separator.lastIndex = 1;
  for (let start = 1; start <= path.length; ) {
    const found = separator.exec(path);
    const end = found?.index ?? path.length;
    const name = path.slice(start, end).replace(/(?:;|%3B).*/, "");
    if (name === "" && found !== null) return problem(start, "an empty segment");
    // Servers on Windows drop blanks from a segment's end before they look at it.
    if (/^\.\.?(?:%20)*$/.test(name)) return problem(start, "a dot segment", "Resolve it");
    start = found === null ? path.length + 1 : separator.lastIndex;
  }
  return null;
}

function problem(offset: number, what: string, fix?: string): PathProblem {
  return fix === undefined ? { kind: "problem", what, offset } : { kind: "problem", what, fix, offset };
}

/** Why a byte that is not part of an escape can not stand in a path; null where it can. */
function refusedByte(code: number): string | null {
  if (code <= 0x20 || code === 0x7f) return "a space or a control character";
  if (code > 0x7f) return "a byte beyond ASCII";
  if (code === BACKSLASH) return "a backslash";
  if (code === 0x23) return "a number sign";
  if (code === 0x3f) return "a question mark";
  return '"<>^{|}`'.includes(String.fromCharCode(code)) ? 'one of the characters "<>^{|} or a backtick' : null;
}

/** RFC 3986 section 2.3. */
function isUnreserved(code: number): boolean {
  return isAlphanumeric(code) || code === 0x2d || code === 0x2e || code === 0x5f || code === 0x7e;
}

/** The byte that `%XX` at `at` stands for, -1 where that is no escape. */
function escapeAt(text: string, at: number): number {
  const high = hexDigit(text.charCodeAt(at + 1));
  const low = hexDigit(text.charCodeAt(at + 2));
  return high === -1 || low === -1 ? -1 : high * 16 + low;
}

/** How many escapes make up the UTF-8 sequence that begins with byte `lead` at `at`; 0 where it is not well-formed. */
function sequenceLength(text: string, at: number, lead: number): number {
  const length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  for (let i = 1; i < length; i++) {
    const byte = text.charCodeAt(at + 3 * i) === PERCENT ? escapeAt(text, at + 3 * i) : -1;
    const [low, high] = i === 1 ? secondByteRange(lead) : CONTINUATION;
    if (byte < low || byte > high) return 0;
  }
  return length;
}

const CONTINUATION: readonly [number, number] = [0x80, 0xbf];

/** Unicode, table 3-7: leaves out overlong forms, surrogates and what is beyond U+10FFFF. */
function secondByteRange(lead: number): readonly [number, number] {
  if (lead === 0xe0) return [0xa0, 0xbf];
  if (lead === 0xed) return [0x80, 0x9f];
  if (lead === 0xf0) return [0x90, 0xbf];
  if (lead === 0xf4) return [0x80, 0x8f];
  return CONTINUATION;
}
