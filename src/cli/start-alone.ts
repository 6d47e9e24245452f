import { resolveConfigPath } from "../config/load.ts";
import { CommandFailure, type CommandIo, type ExitStatus } from "./exit.ts";
import { processIo } from "./process-io.ts";
import { type RunOptions, runUntilSignalled } from "./run.ts";

/**
 * `sentinel start` without the command line's library. The build makes one file of this and of all that a
 * gateway needs. `config` is what `-c` named.
 */
export async function startAlone(
  config: string | undefined,
  io: CommandIo = processIo(),
  options: RunOptions = {},
): Promise<ExitStatus> {
  try {
    return await runUntilSignalled(resolveConfigPath(config, io.env, io.cwd), io, options);
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    io.err(`${error.message}\n`);
    return error.status;
  }
}
