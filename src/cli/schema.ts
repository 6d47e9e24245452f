import type { Command } from "commander";
import { type CommandIo, EXIT, type ExitStatus } from "./exit.ts";

/** `sentinel schema`: the configuration's JSON schema, for editors. */
export function addSchemaCommand(program: Command, io: CommandIo, finish: (status: ExitStatus) => void): void {
  program
    .command("schema")
    .description("print the configuration's JSON schema")
    .option("--json", "the same: a JSON schema is JSON")
    .action(async () => {
      const { formatConfigJsonSchema } = await import("../config/json-schema.ts");
      io.out(formatConfigJsonSchema());
      finish(EXIT.done);
    });
}
