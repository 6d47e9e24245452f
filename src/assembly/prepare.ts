import { checkConfiguration } from "../config/check.ts";
import type { CompiledConfig } from "../config/compile.ts";
import type { Environment } from "../config/environment.ts";
import type { Problem } from "../config/problem.ts";
import type { Config } from "../config/schema.ts";
import type { FileMarks } from "../files.ts";
import type { HeadLimits } from "../head.ts";
import type { Keyring } from "../keys/source.ts";

/** A configuration that was read whole and found good, with the keyring it names: what a generation is made from. */
export interface Prepared {
  readonly ok: true;
  readonly config: Config;
  readonly compiled: CompiledConfig;
  /** Null where keys do not come from a file. */
  readonly keyring: Keyring | null;
  /** Every file that was read: what to watch. */
  readonly files: FileMarks;
}

export interface NotPrepared {
  readonly ok: false;
  /** Every mistake, each at its place; never empty. */
  readonly problems: readonly Problem[];
  readonly files: FileMarks;
}

/** Reads a configuration and its keyring: all of it, or every mistake in both. Never rejects. */
export async function prepare(configPath: string, env: Environment): Promise<Prepared | NotPrepared> {
  const { valid, problems, keyring, files } = await checkConfiguration(configPath, env);
  if (valid === null || problems.length > 0) return { ok: false, problems, files };
  return { ok: true, ...valid, keyring, files };
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
