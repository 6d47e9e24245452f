import type { Command } from "commander";
import type { CommandIo, ExitStatus } from "./exit.ts";
import { CONFIG_OPTION } from "./options.ts";

/** `sentinel start`: runs the gateway until SIGTERM or SIGINT. */
export function addStartCommand(program: Command, io: CommandIo, finish: (status: ExitStatus) => void): void {
  program
    .command("start")
    .description("run the gateway until SIGTERM or SIGINT")
    .option(...CONFIG_OPTION)
    .action(async (options: { readonly config?: string }) => {
      const { resolveConfigPath } = await import("../config/load.ts");
      const { runUntilSignalled } = await import("./run.ts");
      finish(await runUntilSignalled(resolveConfigPath(options.config, io.env, io.cwd), io));
    });
}
