import type { JsonObject, KeyRecord } from "../keys/root-key.ts";
import { toAsciiJson } from "../octets.ts";

/** Bytes; the value is ASCII, so characters too. */
const MAX_PRINCIPAL_BYTES = 8 * 1024;

const principals = new WeakMap<KeyRecord, string>();

/**
 * The value of `X-Unkey-Principal`: who calls, as compact ASCII JSON (contract section 6). Over 8 KiB it leaves out
 * `permissions`, then empties each `meta`. Made once for a record, which never changes.
 */
export function principalOf(record: KeyRecord): string {
  let principal = principals.get(record);
  if (principal === undefined) {
    principal = formatPrincipal(record);
    principals.set(record, principal);
  }
  return principal;
}

function formatPrincipal(record: KeyRecord): string {
  const whole = format(record, { permissions: true, meta: true });
  if (whole.length <= MAX_PRINCIPAL_BYTES) return whole;
  const smaller = format(record, { permissions: false, meta: true });
  if (smaller.length <= MAX_PRINCIPAL_BYTES) return smaller;
  return format(record, { permissions: false, meta: false });
}

function format(record: KeyRecord, keep: { permissions: boolean; meta: boolean }): string {
  const { id, workspaceId, name, expiresAt, roles, identity } = record;
  const metaOf = (meta: JsonObject) => (keep.meta ? meta : {});
  const permissions = keep.permissions ? [...record.grants].sort() : [];
  // Members that are undefined are left out by JSON; this order is the contract's.
  const principal = {
    version: "v1",
    subject: identity?.externalId ?? id,
    type: "API_KEY",
    identity: identity === null ? undefined : { externalId: identity.externalId, meta: metaOf(identity.meta) },
    source: {
      key: {
        keyId: id,
        workspaceId: workspaceId ?? undefined,
        name: name ?? undefined,
        expiresAt: expiresAt ?? undefined,
        meta: metaOf(record.meta),
        roles: roles.length === 0 ? undefined : roles,
        permissions: permissions.length === 0 ? undefined : permissions,
      },
    },
  };
  // A field's value is bytes; JSON's own escapes keep every reader in agreement.
  return toAsciiJson(JSON.stringify(principal));
}
