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
  return typeof value === "string" && value.length <= 255 && /^[A-Za-z0-9_-]+$/.test(value);
}

const NAME = /^[A-Za-z0-9_-]+$/;
/** Query parameters may also hold dots: `{query.filter.id}` is the parameter `filter.id`. */
const QUERY_NAME = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/;

/** Reads what stands between the braces: `path.apiId`, `query.id`, `header.x-tenant`, `body.a.b`. */
export function parsePlaceholder(inside: string): Placeholder | { readonly problem: string } {
  const dot = inside.indexOf(".");
  const kind = dot < 0 ? inside : inside.slice(0, dot);
  const name = dot < 0 ? "" : inside.slice(dot + 1);
  switch (kind) {
    case "path":
      return NAME.test(name) ? { kind, name } : nameProblem(kind, name, "path.NAME");
    case "query":
      return QUERY_NAME.test(name) ? { kind, name } : nameProblem(kind, name, "query.NAME");
    case "header":
      if (!NAME.test(name)) return nameProblem(kind, name, "header.NAME");
      // Its value is a secret and is never an id; a 400 on every request would be all that came of it.
      if (/^(?:proxy[-_])?authorization$/i.test(name)) return { problem: "an id can not come from Authorization" };
      return { kind, name: name.toLowerCase() };
    case "body":
      return QUERY_NAME.test(name) ? { kind, members: name.split(".") } : nameProblem(kind, name, "body.NAME");
    default:
      return { problem: "a placeholder is {path.NAME}, {query.NAME}, {header.NAME} or {body.NAME}" };
  }
}

function nameProblem(kind: string, name: string, form: string): { readonly problem: string } {
  if (name === "") return { problem: `the placeholder {${kind}...} has no name: write {${form}}` };
  return { problem: `the name in {${kind}...} may hold only letters, digits and _ -` };
}
