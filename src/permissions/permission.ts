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
}

/** What a key was granted, as strings; membership is all that is ever asked of it. */
export type GrantSet = ReadonlySet<string>;

export function formatPermission({ resourceType, resourceId, action }: Permission): string {
  return `${resourceType}.${resourceId}.${action}`;
}

/**
 * True when one of `grants` is exactly `wanted` or `type.*.action`. A wanted `*` means "all", so only a literal `*`
 * grant satisfies it.
 */
export function covers(grants: GrantSet, wanted: Permission): boolean {
  return grantFor(grants, wanted) !== null;
}

/** The grant that satisfies `wanted`, as it stands in the key's set, or null. */
export function grantFor(grants: GrantSet, wanted: Permission): string | null {
  const exact = formatPermission(wanted);
  if (grants.has(exact)) return exact;
  const every = `${wanted.resourceType}.*.${wanted.action}`;
  return grants.has(every) ? every : null;
}
