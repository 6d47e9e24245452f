import type { PathShape } from "./pattern.ts";

/**
 * Folding: what a forgiving upstream may take a path for. Where an open route covers a guarded one, a path that such a
 * server would hand to the guarded part has to be found under it, however it is spelled (contract section 2.1).
 */

/** A path as one such server reads it. */
export interface PathReading {
  /** Folded: no letter case, nothing forgivable at a segment's end, no slash at the path's. */
  readonly path: string;
  /** The same before folding: its segments are those of `path`, in their own spelling. */
  readonly text: string;
}

/**
 * The readings of a canonical path, the most literal first. One, mostly; twice as many for each of: `%23` or `%3F` (the
 * end of the path to a server that decodes first) and `%25` (anything, to one that decodes twice), `%2F` (a slash to
 * it), `;` (what follows is dropped), a segment of nothing but dots and spaces.
 */
export function readPath(path: string): PathReading[] {
  if (!UNUSUAL.test(path)) return [{ path: trimSlash(path.toLowerCase()), text: path }];
  let texts = [path];
  for (const read of OTHER_READINGS) {
    texts = texts.flatMap((text) => {
      const other = read(text);
      return other === text ? [text] : [text, other];
    });
  }
  return texts.map(foldPath);
}

/** The shape under which `readPath` finds what the pattern covers. */
export function foldShape({ kind, segments }: PathShape): PathShape {
  const folded = segments.map((segment) =>
    segment.kind === "literal" ? { kind: segment.kind, text: foldSegment(segment.text) } : segment,
  );
  const last = folded.at(-1);
  if (last?.kind === "literal" && last.text === "") folded.pop();
  return { kind, segments: folded };
}

const OTHER_READINGS: readonly ((path: string) => string)[] = [
  (path) => path.replace(/%(?:23|25|3F).*/, ""),
  (path) => path.replaceAll("%2F", "/"),
  (path) => path.replace(/(?:;|%3B)[^/]*/g, ""),
  (path) => path.replace(/\/(?:\.|%20)+(?=\/|$)/g, ""),
];

/** Anything that makes more of a path than lower case does. */
const UNUSUAL = /[%;]|\.(?:\/|$)/;

function foldPath(text: string): PathReading {
  return { path: trimSlash(text.split("/").map(foldSegment).join("/")), text };
}

function trimSlash(path: string): string {
  return path.endsWith("/") ? path.slice(0, -1) : path;
}

/** A segment of nothing but dots and spaces keeps them: empty, it would be a prefix of everything. */
function foldSegment(segment: string): string {
  const text = segment.includes("%") ? decode(segment) : segment.toLowerCase();
  let end = text.length;
  while (end > 0 && (text[end - 1] === "." || text[end - 1] === " ")) end--;
  return end === 0 ? text : text.slice(0, end);
}

/**
 * Letters are compared as Unicode compares them without regard to case and width, since an upstream may: U+212A is `k`
 * to it, U+FF41 is `a`. What delimits stays escaped, for the other readings have dealt with it.
 */
function decode(segment: string): string {
  return segment
    .replace(/(?:%(?!2F|3B|23|3F|25)[0-9A-F]{2})+/g, decodeURIComponent)
    .normalize("NFKC")
    .toUpperCase()
    .toLowerCase()
    .replaceAll("/", "%2f");
}
