import { covers, formatPermission, type GrantSet, type Permission } from "./permission.ts";

/** A permission query: tuples joined by AND, OR and parentheses. `and` and `or` hold at least one part. */
export type PermissionQuery =
  | { readonly kind: "permission"; readonly permission: Permission }
  | { readonly kind: "and"; readonly parts: readonly PermissionQuery[] }
  | { readonly kind: "or"; readonly parts: readonly PermissionQuery[] };

/** Whether `granted` satisfies `query`. Allocates nothing. An AND or OR without parts is not satisfied. */
export function isMet(query: PermissionQuery, granted: GrantSet): boolean {
  switch (query.kind) {
    case "permission":
      return covers(granted, query.permission);
    case "and":
      for (const part of query.parts) if (!isMet(part, granted)) return false;
      return query.parts.length > 0;
    case "or":
      for (const part of query.parts) if (isMet(part, granted)) return true;
      return false;
  }
}

/**
 * The part of `query` that `granted` does not satisfy, or null when it is satisfied: for an AND its first missing
 * part, for an OR the alternatives, each reduced to its own first missing part. An AND or OR without parts is missing.
 */
export function unmet(query: PermissionQuery, granted: GrantSet): PermissionQuery | null {
  return isMet(query, granted) ? null : missingPart(query, granted);
}

/** The public sentence of a 403: names what is missing, never what the key holds (contract section 5). */
export function formatUnmet(missing: PermissionQuery): string {
  if (missing.kind === "permission") return formatMissing(formatPermission(missing.permission));
  const names = [...new Set(alternatives(missing))];
  // An AND or OR without parts names nothing; only code could build one, the parser never does.
  if (names.length === 0) return "Your key does not have the required permissions";
  const [only] = names;
  if (names.length === 1 && only !== undefined) return formatMissing(only);
  return `Your key does not have one of the required permissions ${names.map((name) => `'${name}'`).join(", ")}`;
}

function formatMissing(permission: string): string {
  return `Your key does not have the required '${permission}' permission`;
}

/** `query` is known not to be met. */
function missingPart(query: PermissionQuery, granted: GrantSet): PermissionQuery {
  switch (query.kind) {
    case "permission":
      return query;
    case "and": {
      const first = query.parts.find((part) => !isMet(part, granted));
      return first === undefined ? query : missingPart(first, granted);
    }
    case "or":
      return { kind: "or", parts: query.parts.map((part) => missingPart(part, granted)) };
  }
}

/** The tuples of a missing part, one for each alternative. */
function alternatives(missing: PermissionQuery): string[] {
  switch (missing.kind) {
    case "permission":
      return [formatPermission(missing.permission)];
    case "and":
      return missing.parts.slice(0, 1).flatMap(alternatives);
    case "or":
      return missing.parts.flatMap(alternatives);
  }
}
