import { createHash } from "node:crypto";

/** A keyring as it is written in `keys.yaml` (contract section 3). */
export interface Keyring {
  readonly workspaces?: readonly { readonly id: string; readonly enabled: boolean }[];
  readonly roles?: readonly { readonly name: string; readonly permissions: readonly string[] }[];
  readonly keys: readonly KeyringKey[];
}

export interface KeyringKey {
  readonly id: string;
  readonly hash: string;
  readonly name?: string;
  readonly workspaceId?: string;
  readonly enabled?: boolean;
  readonly expiresAt?: string;
  readonly permissions?: readonly string[];
  readonly roles?: readonly string[];
  readonly identity?: { readonly externalId: string; readonly meta?: Readonly<Record<string, unknown>> };
  readonly meta?: Readonly<Record<string, unknown>>;
}

/** The SHA-256 of a whole root key, in standard base64: what a keyring holds in its place. */
export function hashOf(secret: string): string {
  return createHash("sha256").update(secret).digest("base64");
}

/** A keyring entry for a secret that only the test knows. */
export function keyringKey(id: string, secret: string, rest: Omit<KeyringKey, "id" | "hash"> = {}): KeyringKey {
  return { id, hash: hashOf(secret), ...rest };
}
