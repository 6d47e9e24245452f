import { Command, CommanderError } from "commander";
import { CommandFailure, type CommandIo, EXIT, type ExitStatus } from "./exit.ts";
import { processIo } from "./process-io.ts";
import { version } from "./version.ts";

/** Adds one command to the program. What a command needs beyond its options is imported when it runs. */
type AddCommand = (program: Command, io: CommandIo, finish: (status: ExitStatus) => void) => void;

/** Runs `sentinel ARGS...`; answers the exit status. */
export async function run(args: readonly string[], io: CommandIo = processIo()): Promise<ExitStatus> {
  let status: ExitStatus = EXIT.done;
  const program = await createProgram(io, args[0], (given) => {
    status = given;
  });
  try {
    await program.parseAsync(args, { from: "user" });
    return status;
  } catch (error) {
    return explainFailure(error, io);
  }
}

async function createProgram(
  io: CommandIo,
  first: string | undefined,
  finish: (status: ExitStatus) => void,
): Promise<Command> {
  const program = new Command("sentinel")
    .description("A gateway that guards HTTP services with root keys and permission tuples.")
    .version(version(), "-V, --version")
    .showHelpAfterError("Run `sentinel --help` for the commands.")
    .exitOverride()
    .configureOutput({ writeOut: io.out, writeErr: io.err });
  for (const add of await commandsFor(first)) add(program, io, finish);
  for (const command of allCommands(program)) {
    command
      .showHelpAfterError(`Run \`${fullName(command)} --help\` for how it is used.`)
      .exitOverride()
      .configureOutput({ writeOut: io.out, writeErr: io.err });
  }
  return program;
}

/** Only the command that was asked for is loaded, so that `start` answers its first request soon; all for help. */
async function commandsFor(first: string | undefined): Promise<readonly AddCommand[]> {
  const loaders: Readonly<Record<string, () => Promise<AddCommand>>> = {
    start: async () => (await import("./start.ts")).addStartCommand,
    demo: async () => (await import("./demo.ts")).addDemoCommand,
    validate: async () => (await import("./validate.ts")).addValidateCommand,
    routes: async () => (await import("./routes.ts")).addRoutesCommand,
    explain: async () => (await import("./explain.ts")).addExplainCommand,
    keys: async () => (await import("./keys.ts")).addKeysCommands,
    schema: async () => (await import("./schema.ts")).addSchemaCommand,
  };
  const only = first === undefined || !Object.hasOwn(loaders, first) ? undefined : loaders[first];
  return only === undefined ? Promise.all(Object.values(loaders).map((load) => load())) : [await only()];
}

function allCommands(command: Command): Command[] {
  return command.commands.flatMap((child) => [child, ...allCommands(child)]);
}

/** As it is typed: `sentinel keys create`. */
function fullName(command: Command): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`;
}

function explainFailure(error: unknown, io: CommandIo): ExitStatus {
  if (error instanceof CommandFailure) {
    io.err(`${error.message}\n`);
    return error.status;
  }
  // Commander has written its own sentence; asking for help or the version is no mistake.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  throw error;
}
