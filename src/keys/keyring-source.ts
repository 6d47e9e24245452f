import { isUtf8 } from "node:buffer";
import { readFile } from "../files.ts";
import { type KeyringProblem, parseKeyring } from "./keyring-file.ts";
import type { EpochMs, KeyHash } from "./root-key.ts";
import type { Clock, Keyring, KeySource, Lookup, LookupObserver } from "./source.ts";
import { SourceUnavailable } from "./source.ts";

/** The embedded keyring: every record in memory, each look-up one map access, answered at once. */
export interface KeyringSource extends KeySource {
  find(hash: KeyHash): Lookup;
  /**
   * Reads the file and takes it up, all or nothing. Null: done. Otherwise every mistake in it, and the last good
   * keyring stays. Calls that overlap take effect in the order in which they were made.
   */
  load(): Promise<readonly KeyringProblem[] | null>;
  /** Takes up a keyring that is known to be good (`sentinel demo`). */
  replace(keyring: Keyring): void;
}

export interface KeyringSourceOptions {
  readonly now: Clock;
  readonly observer?: LookupObserver;
}

/** `path` is also what problems call the file. Nothing is read before `load`. */
export function createKeyringSource(path: string, { now, observer }: KeyringSourceOptions): KeyringSource {
  let taken: Taken | null = null;
  let loads = 0;
  let takenLoad = 0;

  return {
    find(hash) {
      if (taken === null) {
        observer?.lookup("file", "error", 0);
        throw new SourceUnavailable("the keyring has not been read yet");
      }
      const lookup = taken.byHash.get(hash) ?? taken.absent;
      // One map access: looking at the clock would take longer.
      observer?.lookup("file", lookup.record === null ? "absent" : "hit", 0);
      return lookup;
    },

    async load() {
      loads += 1;
      const load = loads;
      const text = await readText(path);
      if (typeof text !== "string") return [text];
      const reading = parseKeyring(text, path);
      if (reading.kind === "problems") return reading.problems;
      // A slow read that a newer one has overtaken must not put the old keyring back.
      if (load > takenLoad) {
        takenLoad = load;
        taken = index(reading.keyring, now());
      }
      return null;
    },

    replace(keyring) {
      loads += 1;
      takenLoad = loads;
      taken = index(keyring, now());
    },

    readiness() {
      return taken === null
        ? { ready: false, reason: "the keyring has not been read yet" }
        : { ready: true, reason: "" };
    },

    async close() {},
  };
}

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

async function readText(path: string): Promise<string | KeyringProblem> {
  try {
    const bytes = await readFile(path);
    return isUtf8(bytes) ? bytes.toString() : unreadable(path, "is not UTF-8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown error";
    const why =
      code === "ENOENT" ? "there is no such file; `sentinel keys create` makes it" : `can not be read: ${code}`;
    return unreadable(path, why);
  }
}

function unreadable(file: string, message: string): KeyringProblem {
  return { file, line: 1, column: 1, message, sourceLine: "" };
}
