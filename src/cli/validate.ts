import type { Command } from "commander";
import type { ConfigCheck } from "../config/check.ts";
import { type CommandIo, EXIT, type ExitStatus } from "./exit.ts";
import { CONFIG_OPTION } from "./options.ts";

interface ValidateOptions {
  readonly config?: string;
  readonly json?: boolean;
}

/** `sentinel validate`: every mistake in the configuration and its keyring at once, each at its place. */
export function addValidateCommand(program: Command, io: CommandIo, finish: (status: ExitStatus) => void): void {
  program
    .command("validate")
    .description("check the configuration and its keyring: every mistake at once, each with its line")
    .option(...CONFIG_OPTION)
    .option("--json", "print what was found as JSON")
    .action(async (options: ValidateOptions) => {
      const { checkConfiguration } = await import("../config/check.ts");
      const { displayName, resolveConfigPath } = await import("../config/load.ts");
      const { formatProblems } = await import("../config/problem.ts");
      const path = resolveConfigPath(options.config, io.env, io.cwd);
      const check = await checkConfiguration(path, io.env);
      const { problems, warnings } = check;
      const valid = problems.length === 0;
      if (options.json) {
        io.out(`${JSON.stringify({ valid, problems, warnings }, null, 2)}\n`);
      } else {
        io.out(formatProblems(problems, { colour: io.colour }));
        if (warnings.length > 0) io.err(`Worth a look:\n${formatProblems(warnings, { colour: io.colour })}`);
        io.err(`${summary(displayName(path), check)}\n`);
      }
      finish(valid ? EXIT.done : EXIT.notSo);
    });
}

function summary(file: string, { problems, valid, keyring }: ConfigCheck): string {
  if (problems.length > 0 || valid === null)
    return `${counted(problems.length, "mistake")}; nothing is valid until they are gone.`;
  const { routes, upstreams, keys } = valid.config;
  const source =
    keyring === null ? `keys from ${keys.source.type}` : `a keyring with ${counted(keyring.records.length, "key")}`;
  return `${file} is valid: ${counted(routes.length, "route")}, ${counted(upstreams.length, "upstream")}, ${source}.`;
}

function counted(n: number, what: string): string {
  return `${n} ${what}${n === 1 ? "" : "s"}`;
}
