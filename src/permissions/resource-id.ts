/**
 * Placeholders: the id of a required tuple may come from the request, as in `api.{path.apiId}.read_api`
 * (contract section 2.3).
 */
export type Placeholder =
  | { readonly kind: "path"; readonly name: string }
  | { readonly kind: "query"; readonly name: string }
  /** `name` in lower case. */
  | { readonly kind: "header"; readonly name: string }
  /** `members` are the names from the JSON body's root inwards: `{body.a.b}` is `["a", "b"]`. */
  | { readonly kind: "body"; readonly members: readonly string[] };

/** As it is written in the configuration: `{path.apiId}`. */
export function formatPlaceholder(placeholder: Placeholder): string {
  const name = placeholder.kind === "body" ? placeholder.members.join(".") : placeholder.name;
  return `{${placeholder.kind}.${name}}`;
}

/** A value that may stand as a resource id: 1 to 255 of `A-Z a-z 0-9 _ -`. Never a `*`, never a dot. */
export function isResourceId(value: unknown): value is string {
  return typeof value === "string" && /^[A-Za-z0-9_-]{1,255}$/.test(value);
}
