import { isUtf8 } from "node:buffer";
import { type FileMarks, markRead, markUnreadable, readFile } from "../files.ts";
import { parseKeyring } from "../keys/keyring-file.ts";
import type { Keyring } from "../keys/source.ts";
import { type CompiledConfig, compileConfig } from "./compile.ts";
import type { Environment } from "./environment.ts";
import { displayName, loadConfig, unreadableReason } from "./load.ts";
import { type Problem, sortProblems } from "./problem.ts";
import type { Config } from "./schema.ts";

/** Everything there is to say about a configuration file and the keyring it names. */
export interface ConfigCheck {
  /** Every mistake in both; empty where they are valid. */
  readonly problems: readonly Problem[];
  /** Nothing is wrong with these. */
  readonly warnings: readonly Problem[];
  /** Null where there are mistakes in the configuration. */
  readonly valid: { readonly config: Config; readonly compiled: CompiledConfig } | null;
  /** Null where keys do not come from a file, or it has mistakes. */
  readonly keyring: Keyring | null;
  /** Every file that was read or is named, the configuration itself first: what to watch. */
  readonly files: FileMarks;
}

/**
 * Reads a configuration and its keyring, and starts nothing. Mistakes in one do not hide those in the other. Never
 * rejects.
 */
export async function checkConfiguration(path: string, env: Environment): Promise<ConfigCheck> {
  const loaded = await loadConfig(path, env);
  const compiled = loaded.ok ? compileConfig(loaded.config, loaded.problemAt) : loaded;
  const files = new Map(loaded.files);
  const { keyring, problems: keyringProblems } = await readKeyring(loaded.keyring, files);
  const problems = compiled.ok ? [] : compiled.problems;
  return {
    problems: [...problems, ...sortProblems(keyringProblems)],
    warnings: compiled.ok ? compiled.warnings : [],
    valid: loaded.ok && compiled.ok ? { config: loaded.config, compiled } : null,
    keyring,
    files,
  };
}

/** A keyring, or every mistake in it. */
export type KeyringReading = Pick<ConfigCheck, "keyring" | "problems">;

/** Reads the keyring at `path`, absolute, and adds it to `files`. Null: there is none to read. Never rejects. */
export async function readKeyring(path: string | null, files: Map<string, string | null>): Promise<KeyringReading> {
  if (path === null) return { keyring: null, problems: [] };
  const file = displayName(path);
  const unreadable = (message: string): KeyringReading => ({
    keyring: null,
    problems: [{ file, line: 1, column: 1, message, sourceLine: "" }],
  });
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
    files.set(path, markRead(bytes));
  } catch (error) {
    files.set(path, markUnreadable(error));
    const message =
      (error as NodeJS.ErrnoException).code === "ENOENT"
        ? "there is no keyring here; `sentinel keys create` makes one, and an empty file is a keyring without keys"
        : `the keyring can not be read: ${unreadableReason(error)}`;
    return unreadable(message);
  }
  if (!isUtf8(bytes)) return unreadable("the keyring can not be read: it is not UTF-8 text");
  const reading = parseKeyring(bytes.toString(), file);
  if (reading.kind === "problems") return { keyring: null, problems: reading.problems };
  return { keyring: reading.keyring, problems: [] };
}
