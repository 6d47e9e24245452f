import { normalizeFieldName } from "../head.ts";
import { isOursToSay } from "./request-headers.ts";

/**
 * The raw list with these fields (name, value ...) in place of any of the same names, but for those that are ours to say:
 * what a propagator hands on is mostly the client's, and ours are not looked at once more.
 */
export function replaceFields(headers: readonly string[], fields: readonly string[]): readonly string[] {
  const theirs = fields.filter((_, at) => !isOursToSay(normalizeFieldName(fields[at - (at % 2)]!)));
  if (theirs.length === 0) return headers;
  const replaced = new Set(theirs.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase()));
  // What belongs to the trace that the client's own fields spoke of says nothing of ours.
  if (replaced.has("traceparent")) replaced.add("tracestate");
  const kept = headers.filter((_, at) => !replaced.has(headers[at - (at % 2)]!.toLowerCase()));
  return [...kept, ...theirs];
}
