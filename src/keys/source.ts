import type { EpochMs, KeyHash, KeyRecord } from "./root-key.ts";

/** Where an answer came from: shown by `explain`, a metric label. */
export type Tier = "memory" | "file" | "redis" | "http";

/** What a source knows about one hash. */
export interface Lookup {
  /** Null is *known absent*: the origin says that there is no such key; it may be remembered for a while. */
  readonly record: KeyRecord | null;
  /** When the origin gave this answer. An answer's age counts from here, wherever it was kept since. */
  readonly asOf: EpochMs;
  /** The tier that gave it. */
  readonly tier: Tier;
}

/**
 * Finds key records by hash. Answers at once where it can: a cache hit or a keyring makes no promise.
 *
 * A rejection (or a throw) with `SourceUnavailable` is *can not tell*: it is never remembered beyond a second, and
 * becomes 503, never 401.
 */
export interface KeySource {
  find(hash: KeyHash): Lookup | Promise<Lookup>;
  /** Whether the origin has been reached at least once, and what is wrong if not. For /readyz. */
  readiness(): SourceReadiness;
  /** Releases connections, timers and watchers. */
  close(): Promise<void>;
}

export interface SourceReadiness {
  readonly ready: boolean;
  /** For people; never holds a secret. Empty when ready. */
  readonly reason: string;
}

/** The source can not tell whether there is such a key. `message` is for the log and holds no secret. */
export class SourceUnavailable extends Error {
  override readonly name = "SourceUnavailable";
}

/** Told of each lookup in each tier; implemented by the metrics. `seconds` is the time this tier took. */
export interface LookupObserver {
  lookup(tier: Tier, outcome: LookupOutcome, seconds: number): void;
}

/** `invalid`: a value that is not ours or not readable was found; `stale`: served past `fresh`, origin unreachable. */
export type LookupOutcome = "hit" | "miss" | "absent" | "stale" | "error" | "invalid";

/**
 * Manages key records (`sentinel keys ...`). All rejections: `KeyStoreRefusal` for a value that can not be stored or an
 * id that is not there, `SourceUnavailable` when the store is out of reach and nothing was changed.
 */
export interface KeyStore {
  /** Makes a new secret. It is in the answer and nowhere else. */
  create(fields: KeyFields): Promise<CreatedKey>;
  get(keyId: string): Promise<KeyRecord | null>;
  /** Every record, page by page, without holding up the store. */
  list(): AsyncIterable<KeyRecord>;
  /** Absent members stay; `clear` names members to empty. Lists are replaced whole. */
  update(keyId: string, fields: Partial<KeyFields>, clear: readonly ClearableMember[]): Promise<KeyRecord>;
  setEnabled(keyId: string, enabled: boolean): Promise<KeyRecord>;
  /** A new record with a new id and secret, like the old one; the old one lives on for `graceMs` (0: not at all). */
  reroll(keyId: string, graceMs: number): Promise<CreatedKey>;
  delete(keyId: string): Promise<void>;
  findByHash(hash: KeyHash): Promise<KeyRecord | null>;
  close(): Promise<void>;
}

/**
 * A key store that running instances share (Redis). Besides the single-key operations it takes in a whole keyring,
 * drops what instances remember, and can tell when every live instance has acted on a change.
 */
export interface SharedKeyStore extends KeyStore {
  /**
   * Writes every record of a keyring, roles and workspaces resolved into it; all or nothing. A record whose id is
   * already there replaces it (its old hash stops working when it differs); records that the keyring does not name stay.
   * Refused, with nothing written: a hash that is held by a record of another id. `signal` ends it: what was written is
   * taken back. Once every record is stored it has no effect any more.
   */
  importKeyring(keyring: Keyring, signal?: AbortSignal): Promise<ImportSummary>;
  /**
   * Makes every instance ask the origin anew: shared copies are removed and a `forget` is appended to the stream of
   * changes. An id that nobody holds is a refusal (`unknown`); a hash is always announced, known or not.
   */
  forget(key: { readonly id: string } | { readonly hash: KeyHash }): Promise<void>;
  /**
   * Resolves when every instance that lives has acted on all changes made through this store, or after `timeoutMs`;
   * then `missing` names those that did not answer. An instance lives for 15 s after its last sign.
   */
  waitForInstances(timeoutMs: number): Promise<WaitReport>;
}

export interface ImportSummary {
  readonly created: number;
  readonly updated: number;
}

export interface WaitReport {
  /** How many instances lived. */
  readonly instances: number;
  readonly acknowledged: number;
  /** From the change to the last acknowledgement, or to giving up, in whole milliseconds. */
  readonly ms: number;
  /** Names of the instances that did not answer in time; empty when all did. */
  readonly missing: readonly string[];
}

/** Everything that a keyring file says. `records` hold their roles' grants and their workspace's standing already. */
export interface Keyring {
  readonly records: readonly KeyRecord[];
  /** Role name to the permissions it grants. */
  readonly roles: ReadonlyMap<string, readonly string[]>;
  /** Workspace id to whether it is enabled. */
  readonly workspaces: ReadonlyMap<string, boolean>;
}

export function isSharedKeyStore(store: KeyStore): store is SharedKeyStore {
  return "waitForInstances" in store;
}

export interface KeyFields {
  readonly name: string | null;
  readonly workspaceId: string | null;
  readonly permissions: readonly string[];
  readonly roles: readonly string[];
  readonly expiresAt: EpochMs | null;
  readonly externalId: string | null;
  readonly meta: Readonly<Record<string, unknown>>;
}

export type ClearableMember = "name" | "workspace" | "permissions" | "roles" | "expires" | "external-id" | "meta";

export interface CreatedKey {
  readonly keyId: string;
  /** The secret, shown once. */
  readonly key: string;
}

/** A request to a key store that can not be carried out. `unknown`: no such key id (exit 1); `refused`: exit 2. */
export class KeyStoreRefusal extends Error {
  override readonly name = "KeyStoreRefusal";
  readonly reason: "unknown" | "refused";

  constructor(reason: "unknown" | "refused", message: string) {
    super(message);
    this.reason = reason;
  }
}

/**
 * The record was changed (or may have been) and something that belongs to it was not done. The message says what holds
 * now. `created` is the key that was made all the same: its secret is shown nowhere else.
 */
export class IncompleteChange extends SourceUnavailable {
  readonly created: CreatedKey | null;

  constructor(message: string, cause: unknown, created: CreatedKey | null = null) {
    super(message, { cause });
    this.created = created;
  }
}

/** How far the clocks of instances may be apart: what is from further ahead was written by one that is wrong. */
export const CLOCK_SKEW_MS = 5000;

/** The clock, handed in: tests own time. */
export type Clock = () => EpochMs;
