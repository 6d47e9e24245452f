/**
 * The permission tuple `resourceType.resourceId.action`, as in `api.api_1234.read_api`. Wildcards live in this file
 * only: a `*` means something as a whole resource id and nowhere else (Unkey: exact membership in the key's set, each
 * handler asking for `type.<id>.action OR type.*.action`).
 */
export interface Permission {
  readonly resourceType: string;
  /** `*` stands for every id. */
  readonly resourceId: string;
  readonly action: string;
  /** `resourceType.resourceId.action`, kept because every request asks a key's set for it. */
  readonly tuple: string;
  /** `resourceType.*.action`: the one other grant that satisfies it. */
  readonly wildcard: string;
}

/** What a key was granted, as strings; membership is all that is ever asked of it. */
export type GrantSet = ReadonlySet<string>;

/** A permission of parts that are known to be clean. Text from outside goes through `parsePermission`. */
export function createPermission(resourceType: string, resourceId: string, action: string): Permission {
  return {
    resourceType,
    resourceId,
    action,
    tuple: `${resourceType}.${resourceId}.${action}`,
    wildcard: `${resourceType}.*.${action}`,
  };
}

export function formatPermission(permission: Permission): string {
  return permission.tuple;
}

/**
 * True when one of `grants` is exactly `wanted` or `type.*.action`. A wanted `*` means "all", so only a literal `*`
 * grant satisfies it.
 */
export function covers(grants: GrantSet, wanted: Permission): boolean {
  return grants.has(wanted.tuple) || grants.has(wanted.wildcard);
}

/** The grant that satisfies `wanted`, as it stands in the key's set, or null. */
export function grantFor(grants: GrantSet, wanted: Permission): string | null {
  if (grants.has(wanted.tuple)) return wanted.tuple;
  return grants.has(wanted.wildcard) ? wanted.wildcard : null;
}

/** Why a text is no permission tuple. */
export interface PermissionProblem {
  /** For people; holds no more of the text than the part that is wrong. */
  readonly problem: string;
  /** Index of the part that is wrong, in characters from the start of the text. */
  readonly offset: number;
}

const MAX_TUPLE_CHARACTERS = 512;
/** What Unkey's query language takes as an identifier, without the dot that separates parts and the `*`. */
const PART = /^[A-Za-z0-9_:/-]+$/;
const PART_NAMES = ["resource type", "resource id", "action"] as const;

/** Reads `type.id.action`; the id may be a whole `*`. */
export function parsePermission(text: string): Permission | PermissionProblem {
  if (text.length > MAX_TUPLE_CHARACTERS) {
    return { problem: `a permission has at most ${MAX_TUPLE_CHARACTERS} characters`, offset: 0 };
  }
  const [resourceType, resourceId, action, ...rest] = text.split(".");
  if (resourceType === undefined || resourceId === undefined || action === undefined || rest.length > 0) {
    return {
      problem: "a permission has exactly three parts, resourceType.resourceId.action, as in api.api_1234.read_api",
      offset: 0,
    };
  }
  let offset = 0;
  for (const [index, part] of [resourceType, resourceId, action].entries()) {
    const problem = partProblem(part, index);
    if (problem !== null) return { problem, offset };
    offset += part.length + 1;
  }
  return createPermission(resourceType, resourceId, action);
}

/** Why a key can not be granted `text`, or null. A grant that could satisfy nothing is refused, not stored. */
export function grantProblem(text: string): string | null {
  const parsed = parsePermission(text);
  return "problem" in parsed ? parsed.problem : null;
}

/** `index` is the part's place in the tuple, from 0. */
export function partProblem(part: string, index: number): string | null {
  const name = PART_NAMES[index] ?? "part";
  if (part === "") return `the ${name} is empty`;
  if (part === "*" && index === 1) return null;
  if (part.includes("*")) {
    return index === 1
      ? "`*` stands only for a whole resource id, never for a piece of one"
      : `\`*\` can not be the ${name}: it stands only for a whole resource id, as in api.*.read_api`;
  }
  return PART.test(part) ? null : `the ${name} may hold only letters, digits and _ - : /`;
}
