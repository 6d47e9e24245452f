import type { EpochMs, KeyHash } from "./root-key.ts";
import {
  type Clock,
  type Keyring,
  type KeySource,
  type Lookup,
  type LookupObserver,
  type SourceReadiness,
  SourceUnavailable,
} from "./source.ts";

/** The embedded keyring: every record in memory, each look-up one map access, answered at once. */
export interface KeyringSource extends KeySource {
  find(hash: KeyHash): Lookup;
  /** Takes up a keyring, whole: the file's, at the start and whenever it changed (`config/check.ts` reads it). */
  replace(keyring: Keyring): void;
}

export interface KeyringSourceOptions {
  readonly now: Clock;
  readonly observer: LookupObserver;
}

/** Before the first `replace` it can not tell. */
export function createKeyringSource({ now, observer }: KeyringSourceOptions): KeyringSource {
  let taken: Taken | null = null;

  return {
    find(hash) {
      if (taken === null) {
        observer.lookup("file", "error", 0);
        throw new SourceUnavailable(NOT_READ.reason);
      }
      const lookup = taken.byHash.get(hash) ?? taken.absent;
      // One map access: looking at the clock would take longer.
      observer.lookup("file", lookup.record === null ? "absent" : "hit", 0);
      return lookup;
    },

    replace(keyring) {
      taken = index(keyring, now());
    },

    readiness: () => (taken === null ? NOT_READ : READ),

    async close() {},
  };
}

const NOT_READ: SourceReadiness = { ready: false, reason: "the keyring has not been read yet" };
const READ: SourceReadiness = { ready: true, reason: "" };

/** A keyring as look-ups: the answer for each hash is made once, when the file is taken up. */
interface Taken {
  readonly byHash: ReadonlyMap<string, Lookup>;
  readonly absent: Lookup;
}

function index(keyring: Keyring, asOf: EpochMs): Taken {
  return {
    byHash: new Map(keyring.records.map((record) => [record.hash, { record, asOf, tier: "file" }])),
    absent: { record: null, asOf, tier: "file" },
  };
}
