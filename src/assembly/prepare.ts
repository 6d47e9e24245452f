import { readFile } from "node:fs/promises";
import { type CompiledConfig, compileConfig } from "../config/compile.ts";
import type { Environment } from "../config/environment.ts";
import { loadConfig } from "../config/load.ts";
import type { Problem } from "../config/problem.ts";
import type { Config } from "../config/schema.ts";
import type { HeadLimits } from "../head.ts";
import { parseKeyring } from "../keys/keyring-file.ts";
import type { Keyring } from "../keys/source.ts";

/** A configuration that was read whole and found good, with the keyring it names: what a generation is made from. */
export interface Prepared {
  readonly ok: true;
  readonly config: Config;
  readonly compiled: CompiledConfig;
  /** Null where keys do not come from a file. */
  readonly keyring: Keyring | null;
  /** Every file that was read, absolute: what to watch. */
  readonly files: readonly string[];
}

export interface NotPrepared {
  readonly ok: false;
  /** Every mistake, each at its place; never empty. */
  readonly problems: readonly Problem[];
  readonly files: readonly string[];
}

/** Reads a configuration and its keyring: all of it, or every mistake in both. Never rejects. */
export async function prepare(configPath: string, env: Environment): Promise<Prepared | NotPrepared> {
  const loaded = await loadConfig(configPath, env);
  if (!loaded.ok) return { ok: false, problems: loaded.problems, files: loaded.files };
  const { config, files } = loaded;
  const compiled = compileConfig(config, loaded.problemAt);
  const keyring = await readKeyring(config);
  const problems = [...(compiled.ok ? [] : compiled.problems), ...(keyring.ok ? [] : keyring.problems)];
  if (!compiled.ok || !keyring.ok) return { ok: false, problems, files };
  return { ok: true, config, compiled, keyring: keyring.keyring, files };
}

type KeyringResult =
  | { readonly ok: true; readonly keyring: Keyring | null }
  | { readonly ok: false; readonly problems: readonly Problem[] };

async function readKeyring({ keys }: Config): Promise<KeyringResult> {
  if (keys.source.type !== "file") return { ok: true, keyring: null };
  const { path } = keys.source;
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    const message =
      reason === "ENOENT"
        ? "there is no keyring here; `sentinel keys create` makes one"
        : `the keyring can not be read: ${reason}`;
    return { ok: false, problems: [{ file: path, line: 1, column: 1, message, sourceLine: "" }] };
  }
  const reading = parseKeyring(text, path);
  return reading.kind === "keyring"
    ? { ok: true, keyring: reading.keyring }
    : { ok: false, problems: reading.problems };
}

/** `instance` is what `Via` calls this process: a request that brings it has been here before. */
export function headLimits({ limits }: Config, instance: string): HeadLimits {
  return {
    headerLines: limits.headerLines,
    headerBytes: limits.headerBytes,
    targetBytes: limits.targetBytes,
    viaToken: instance,
  };
}
