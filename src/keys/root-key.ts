import type { GrantSet } from "../permissions/permission.ts";

/** Milliseconds since 1970-01-01T00:00:00Z, by the wall clock. */
export type EpochMs = number;

/** SHA-256 of a whole root key, standard base64 with padding (44 characters). Unkey `pkg/hash`. */
export type KeyHash = string & { readonly __brand: "KeyHash" };

/**
 * What is known of a root key (contract section 3). Never the secret. A record is immutable: a change makes a new one.
 */
export interface KeyRecord {
  /** `key_...` */
  readonly id: string;
  readonly hash: KeyHash;
  /** Prefix and first four characters of the secret; null where only the hash is known. */
  readonly start: string | null;
  readonly name: string | null;
  readonly workspaceId: string | null;
  /** The standing of the workspace when the source gave the record; true where there is no workspace. */
  readonly workspaceEnabled: boolean;
  readonly enabled: boolean;
  /** The first instant at which the key is no longer valid; null never expires. */
  readonly expiresAt: EpochMs | null;
  /** The record's own grants. */
  readonly permissions: readonly string[];
  /** Names of its roles. */
  readonly roles: readonly string[];
  /** The record's own grants and its roles', each once: what permissions are evaluated against. */
  readonly grants: GrantSet;
  readonly identity: Identity | null;
  readonly meta: JsonObject;
  readonly createdAt: EpochMs | null;
  readonly updatedAt: EpochMs | null;
}

export interface Identity {
  readonly externalId: string;
  readonly meta: JsonObject;
}

export type JsonObject = Readonly<Record<string, unknown>>;

/** Whether a key may be used at all, before any permission is asked for. */
export type Standing = "valid" | "expired" | "disabled" | "workspace_disabled";

/** Judged on every request, by the clock: expiry first, so that an expired key reads as no key at all. */
export function standing(record: KeyRecord, now: EpochMs): Standing {
  // Written so that an expiry that is no number (which no source lets through) counts as expired.
  if (record.expiresAt !== null && !(now < record.expiresAt)) return "expired";
  if (!record.enabled) return "disabled";
  return record.workspaceEnabled ? "valid" : "workspace_disabled";
}

/** What a record grants: its own permissions and its roles', each once, sorted. */
export function grantsOf(own: readonly string[], ofRoles: Iterable<readonly string[]> = []): GrantSet {
  const grants = new Set(own);
  for (const permissions of ofRoles) for (const permission of permissions) grants.add(permission);
  return new Set([...grants].sort());
}

/** A hash as it is stored: 44 characters of standard base64 that stand for 32 bytes, in the one canonical spelling. */
export function isKeyHash(value: unknown): value is KeyHash {
  return typeof value === "string" && /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(value);
}
