import { findNearest } from "../nearest.ts";

/** `; did you mean "x"?` where something is near, else `fallback`. */
export function didYouMean(text: string, candidates: Iterable<string>, fallback = ""): string {
  const nearest = findNearest(text, candidates);
  return nearest === null ? fallback : `; did you mean "${nearest}"?`;
}

/** `a, b and c`: what there is to choose from, for when nothing is near. */
export function formatList(names: readonly string[], joint: "and" | "or" = "and"): string {
  if (names.length <= 1) return names.join("");
  return `${names.slice(0, -1).join(", ")} ${joint} ${names.at(-1)}`;
}
