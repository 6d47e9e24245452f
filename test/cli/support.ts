import { run } from "../../src/cli/cli.ts";
import type { ExitStatus } from "../../src/cli/exit.ts";

export interface CommandResult {
  readonly status: ExitStatus;
  readonly out: string;
  readonly err: string;
}

export interface CommandSurroundings {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdin?: string;
}

/** Runs `sentinel ARGS...` in this process and keeps what it wrote. */
export async function runCommand(args: readonly string[], around: CommandSurroundings = {}): Promise<CommandResult> {
  const written = { out: "", err: "" };
  const status = await run(args, {
    out: (text) => {
      written.out += text;
    },
    err: (text) => {
      written.err += text;
    },
    env: around.env ?? {},
    cwd: around.cwd ?? process.cwd(),
    stdin: async () => around.stdin ?? "",
    colour: false,
  });
  return { status, ...written };
}
