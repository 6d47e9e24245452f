/** The raw list with these fields (name, value ...) in place of any of the same names. */
export function replaceFields(headers: readonly string[], fields: readonly string[]): readonly string[] {
  if (fields.length === 0) return headers;
  const replaced = new Set(fields.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase()));
  // What belongs to the trace that the client's own fields spoke of says nothing of ours.
  if (replaced.has("traceparent")) replaced.add("tracestate");
  const kept = headers.filter((_, at) => !replaced.has(headers[at - (at % 2)]!.toLowerCase()));
  return [...kept, ...fields];
}
