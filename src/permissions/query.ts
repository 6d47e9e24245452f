import { covers, formatPermission, type GrantSet, type Permission } from "./permission.ts";

/** A permission query: tuples joined by AND, OR and parentheses. `and` and `or` hold at least one part. */
export type PermissionQuery =
  | { readonly kind: "permission"; readonly permission: Permission }
  | { readonly kind: "and"; readonly parts: readonly PermissionQuery[] }
  | { readonly kind: "or"; readonly parts: readonly PermissionQuery[] };

/**
 * The part of `query` that `granted` does not satisfy, or null when it is satisfied: for an AND its first missing
 * part, for an OR the alternatives, each reduced to its own first missing part. An AND or OR without parts is missing.
 */
export function unmet(query: PermissionQuery, granted: GrantSet): PermissionQuery | null {
  switch (query.kind) {
    case "permission":
      return covers(granted, query.permission) ? null : query;
    case "and": {
      if (query.parts.length === 0) return query;
      for (const part of query.parts) {
        const missing = unmet(part, granted);
        if (missing !== null) return missing;
      }
      return null;
    }
    case "or": {
      const missing: PermissionQuery[] = [];
      for (const part of query.parts) {
        const lacking = unmet(part, granted);
        if (lacking === null) return null;
        missing.push(lacking);
      }
      return { kind: "or", parts: missing };
    }
  }
}

/** The public sentence of a 403: names what is missing, never what the key holds (contract section 5). */
export function formatUnmet(missing: PermissionQuery): string {
  const names = alternatives(missing).map((name) => `'${name}'`);
  return names.length === 1
    ? `Your key does not have the required ${names[0]} permission`
    : `Your key does not have one of the required permissions ${names.join(", ")}`;
}

/** The tuples of a missing part, one for each alternative. */
function alternatives(missing: PermissionQuery): string[] {
  switch (missing.kind) {
    case "permission":
      return [formatPermission(missing.permission)];
    case "and":
      return missing.parts.slice(0, 1).flatMap(alternatives);
    case "or":
      return [...new Set(missing.parts.flatMap(alternatives))];
  }
}
