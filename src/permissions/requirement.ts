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
  return {
    text,
    template,
    fixed: placeholders.length === 0 ? fill(template, [], []) : null,
    placeholders,
    needsBody: placeholders.some((placeholder) => placeholder.kind === "body"),
  };
}

/** Puts `values` in the template's placeholders; the value at index i belongs to `requirement.placeholders[i]`. */
export function fillRequirement(requirement: Requirement, values: readonly string[]): PermissionQuery {
  if (requirement.fixed !== null) return requirement.fixed;
  return fill(requirement.template, requirement.placeholders, values);
}

function fill(
  template: QueryTemplate,
  placeholders: readonly Placeholder[],
  values: readonly string[],
): PermissionQuery {
  if (template.kind !== "permission") {
    return { kind: template.kind, parts: template.parts.map((part) => fill(part, placeholders, values)) };
  }
  const { resourceType, resourceId, action } = template;
  const id = typeof resourceId === "string" ? resourceId : values[placeholders.indexOf(resourceId)];
  if (id === undefined) throw new Error("a placeholder was left without a value");
  return { kind: "permission", permission: createPermission(resourceType, id, action) };
}
