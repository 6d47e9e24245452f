import type { KeyHash } from "./root-key.ts";

/** The names of everything that is kept in Redis. No two are ever needed by one command, so a cluster may spread them. */
export interface RedisLayout {
  /** A string: the record of this hash, or a copy of it (see `record-codec.ts`). */
  key(hash: KeyHash): string;
  /** A string: the hash of the key with this id. */
  id(keyId: string): string;
  /** The stream of changes. */
  readonly changes: string;
  /** A hash: role name to the JSON list of its permissions. */
  readonly roles: string;
  /** A hash: workspace id to `enabled` or `disabled`. */
  readonly workspaces: string;
  /** A sorted set: names of instances that ever followed the stream, by their last sign in Unix milliseconds. */
  readonly instances: string;
  /** A string that lives for 15 s: the last entry of the stream that this instance has acted on. */
  instance(name: string): string;
  /** What SCAN is given to find every record. */
  readonly keyPattern: string;
}

export function createRedisLayout(keyPrefix: string): RedisLayout {
  return {
    key: (hash) => `${keyPrefix}key:${hash}`,
    id: (keyId) => `${keyPrefix}id:${keyId}`,
    changes: `${keyPrefix}changes`,
    roles: `${keyPrefix}roles`,
    workspaces: `${keyPrefix}workspaces`,
    instances: `${keyPrefix}instances`,
    instance: (name) => `${keyPrefix}instance:${name}`,
    keyPattern: `${keyPrefix.replace(/[\\*?[\]]/g, "\\$&")}key:*`,
  };
}
