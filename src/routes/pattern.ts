/** A route's path, compiled: literal segments and `{name}` parameters. */
export interface PathPattern {
  /** `whole`: the entire path; `prefix`: ends on a segment; `any`: the configuration names no path. */
  readonly kind: "whole" | "prefix" | "any";
  /** The text of the configuration; empty for `any`. */
  readonly text: string;
  readonly segments: readonly PatternSegment[];
}

export type PatternSegment =
  | { readonly kind: "literal"; readonly text: string }
  | { readonly kind: "parameter"; readonly name: string };
