import type { Command } from "commander";
import type { CommandIo, ExitStatus } from "./exit.ts";

/** `sentinel demo`: a gateway, two keys and an echo upstream, with curl lines to try. */
export function addDemoCommand(program: Command, io: CommandIo, finish: (status: ExitStatus) => void): void {
  program
    .command("demo")
    .description("run a gateway with two keys made on the spot and an echo upstream, and print curl lines to try")
    .option("--port <port>", "where clients connect; 8080, or another when that is taken, unless given")
    .action(async (options: { readonly port?: string }) => {
      const { runDemo } = await import("./run-demo.ts");
      finish(await runDemo(options.port ?? null, io));
    });
}
