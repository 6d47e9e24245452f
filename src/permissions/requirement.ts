import { createPermission } from "./permission.ts";
import type { PermissionQuery } from "./query.ts";
import type { Placeholder } from "./resource-id.ts";

/**
 * What a route asks of a key: a permission query some of whose ids come from the request. Compiled once, at load.
 * A query without placeholders is `fixed` and is evaluated as it stands.
 */
export interface Requirement {
  /** The text of the configuration. */
  readonly text: string;
  readonly template: QueryTemplate;
  /** The template with everything made that does not come from the request. */
  readonly prepared: PreparedQuery;
  /** The query itself where there is no placeholder, else null. */
  readonly fixed: PermissionQuery | null;
  /** Every placeholder, each once, in the order of the text. */
  readonly placeholders: readonly Placeholder[];
  /** True when one of them is `{body...}`: the body has to be read before the query can be evaluated. */
  readonly needsBody: boolean;
}

/** A PermissionQuery in which a tuple's id may still be a placeholder. */
export type QueryTemplate =
  | {
      readonly kind: "permission";
      readonly resourceType: string;
      readonly resourceId: string | Placeholder;
      readonly action: string;
    }
  | { readonly kind: "and"; readonly parts: readonly QueryTemplate[] }
  | { readonly kind: "or"; readonly parts: readonly QueryTemplate[] };

/** A template of which only the tuples with a placeholder are left to be made, so that the others cost nothing. */
type PreparedQuery =
  | { readonly kind: "fixed"; readonly query: PermissionQuery }
  | { readonly kind: "tuple"; readonly resourceType: string; readonly placeholder: number; readonly action: string }
  | { readonly kind: "and"; readonly parts: readonly PreparedQuery[] }
  | { readonly kind: "or"; readonly parts: readonly PreparedQuery[] };

/** The value that a placeholder was filled with: shown by `explain`. */
export interface FilledPlaceholder {
  readonly placeholder: Placeholder;
  readonly value: string;
}

/** `placeholders` are those of the template, the very objects, each once. */
export function compileRequirement(
  text: string,
  template: QueryTemplate,
  placeholders: readonly Placeholder[],
): Requirement {
  const prepared = prepare(template, placeholders);
  return {
    text,
    template,
    prepared,
    fixed: prepared.kind === "fixed" ? prepared.query : null,
    placeholders,
    needsBody: placeholders.some((placeholder) => placeholder.kind === "body"),
  };
}

/** Puts `values` in the template's placeholders; the value at index i belongs to `requirement.placeholders[i]`. */
export function fillRequirement(requirement: Requirement, values: readonly string[]): PermissionQuery {
  if (requirement.fixed !== null) return requirement.fixed;
  return fill(requirement.prepared, values);
}

function prepare(template: QueryTemplate, placeholders: readonly Placeholder[]): PreparedQuery {
  if (template.kind !== "permission") {
    const { kind } = template;
    const parts = template.parts.map((part) => prepare(part, placeholders));
    const known = parts.flatMap((part) => (part.kind === "fixed" ? [part.query] : []));
    return known.length === parts.length ? { kind: "fixed", query: { kind, parts: known } } : { kind, parts };
  }
  const { resourceType, resourceId, action } = template;
  if (typeof resourceId !== "string") {
    return { kind: "tuple", resourceType, placeholder: placeholders.indexOf(resourceId), action };
  }
  return {
    kind: "fixed",
    query: { kind: "permission", permission: createPermission(resourceType, resourceId, action) },
  };
}

function fill(prepared: PreparedQuery, values: readonly string[]): PermissionQuery {
  switch (prepared.kind) {
    case "fixed":
      return prepared.query;
    case "tuple": {
      const id = values[prepared.placeholder];
      if (id === undefined) throw new Error("a placeholder was left without a value");
      return { kind: "permission", permission: createPermission(prepared.resourceType, id, prepared.action) };
    }
    default:
      return { kind: prepared.kind, parts: prepared.parts.map((part) => fill(part, values)) };
  }
}
