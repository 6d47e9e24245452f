import { canonicalPath } from "./canonical-path.ts";

/** A route's path, compiled: literal segments and `{name}` parameters. */
export interface PathPattern {
  /** `whole`: the entire path; `prefix`: ends on a segment; `any`: the configuration names no path. */
  readonly kind: "whole" | "prefix" | "any";
  /** The text of the configuration; empty for `any`. */
  readonly text: string;
  /**
   * What stands between the slashes. A whole path that ends in a slash has an empty literal last (`/` is that alone);
   * a prefix has not, for it ends on a segment whether it says so or not (`/` has no segments).
   */
  readonly segments: readonly PatternSegment[];
}

export type PatternSegment =
  | { readonly kind: "literal"; readonly text: string }
  | { readonly kind: "parameter"; readonly name: string };

/** A pattern as far as matching goes: what stands between the slashes, and whether more may follow. */
export interface PathShape {
  readonly kind: "whole" | "prefix";
  readonly segments: readonly PatternSegment[];
}

/** What is wrong with a text of the configuration, and what is right. */
export interface TextProblem {
  readonly kind: "problem";
  /** Position in the text, from 1. */
  readonly column: number;
  readonly message: string;
}

/** The pattern of a route that names no path: it matches every one. */
export const ANY_PATH: PathPattern = { kind: "any", text: "", segments: [] };

/** For people: `/a/{id}`, `/a/**` for a prefix, `*` for any path. */
export function formatPathPattern({ kind, text }: PathPattern): string {
  if (kind === "any") return "*";
  return kind === "whole" ? text : `${text.replace(/\/$/, "")}/**`;
}

/** Without a path, everything is below the root. */
export function shapeOf({ kind, segments }: PathPattern): PathShape {
  return { kind: kind === "whole" ? "whole" : "prefix", segments };
}

/**
 * Reads `match.path` (`whole`) or `match.pathPrefix` (`prefix`). `{name}` stands for exactly one non-empty segment. The
 * text is held against the rules for request targets: a pattern that no canonical path could match is a problem.
 */
export function parsePathPattern(text: string, kind: "whole" | "prefix"): PathPattern | TextProblem {
  if (!text.startsWith("/")) return problem(1, `must begin with a slash: /${text}`);
  const segments: PatternSegment[] = [];
  const names = new Set<string>();
  const parts = text.slice(1).split("/");
  let column = 2;
  for (const [i, part] of parts.entries()) {
    const last = i === parts.length - 1;
    if (part === "" && !last)
      return problem(column, "must not hold an empty segment: no request with // is let through");
    if (part !== "" || kind === "whole") {
      const segment = parseSegment(part, column, last);
      if (segment.kind === "problem") return segment;
      if (segment.kind === "parameter" && names.has(segment.name)) {
        return problem(column, `must not name {${segment.name}} twice`);
      }
      if (segment.kind === "parameter") names.add(segment.name);
      segments.push(segment);
    }
    column += part.length + 1;
  }
  return { kind, text, segments };
}

/** Reads `rewrite.stripPrefix` or `rewrite.addPrefix`: a prefix of literal segments, given back without a last slash. */
export function parseRewritePrefix(text: string): { readonly kind: "prefix"; readonly prefix: string } | TextProblem {
  const pattern = parsePathPattern(text, "prefix");
  if (pattern.kind === "problem") return pattern;
  if (pattern.segments.length === 0) return problem(1, "must name at least one segment, as in /v1");
  const braces = text.indexOf("{");
  if (braces !== -1) return problem(braces + 1, "must not hold a {name}: a rewrite's prefix is literal");
  return { kind: "prefix", prefix: text.endsWith("/") ? text.slice(0, -1) : text };
}

const PARAMETER = /^\{([A-Za-z_][A-Za-z0-9_-]*)\}$/;

function parseSegment(part: string, column: number, last: boolean): PatternSegment | TextProblem {
  const parameter = PARAMETER.exec(part);
  if (parameter?.[1] !== undefined) return { kind: "parameter", name: parameter[1] };
  const brace = part.search(/[{}]/);
  if (brace !== -1) {
    return problem(
      column + brace,
      "must hold braces only around the whole of a segment, as in /{name}: a letter or _, then letters, digits, _ or -",
    );
  }
  return parseLiteral(part, column, last);
}

/** A segment has to be spelled the one way in which a canonical path spells it. */
function parseLiteral(part: string, column: number, last: boolean): PatternSegment | TextProblem {
  const beyondAscii = part.search(/[^\0-\x7f]/);
  if (beyondAscii !== -1) return problem(column + beyondAscii, notCanonical(encodeBeyondAscii(part)));
  const canonical = canonicalPath(last ? `/${part}` : `/${part}/`);
  if (canonical.kind === "path") {
    const text = last ? canonical.path.slice(1) : canonical.path.slice(1, -1);
    return text === part ? { kind: "literal", text } : problem(column, notCanonical(text));
  }
  const { what, offset } = canonical;
  return problem(column + offset - 1, `must not hold ${what}: no request with it is let through`);
}

function notCanonical(right: string): string {
  return `must be in the form in which requests are matched: ${right}`;
}

function encodeBeyondAscii(part: string): string {
  return part.replace(/[^\0-\x7f]+/g, (run) => Buffer.from(run).toString("hex").toUpperCase().replace(/../g, "%$&"));
}

function problem(column: number, message: string): TextProblem {
  return { kind: "problem", column, message };
}
