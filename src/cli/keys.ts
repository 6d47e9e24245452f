import type { Command } from "commander";
import type { CommandIo, ExitStatus } from "./exit.ts";
import type { OpenStore } from "./key-store.ts";
import { CONFIG_OPTION, collect } from "./options.ts";

/** What the flags of all `keys` commands come to, as they were typed. */
export interface KeysOptions {
  readonly config?: string;
  readonly json?: boolean;
  readonly name?: string;
  readonly workspace?: string;
  readonly permission?: readonly string[];
  readonly role?: readonly string[];
  readonly expires?: string;
  readonly externalId?: string;
  readonly meta?: string;
  readonly clear?: readonly string[];
  readonly grace?: string;
  /** True: given without a duration. */
  readonly wait?: string | true;
}

/** `sentinel keys ...`: manages key records in the configured source. `open` is the configured store unless given. */
export function addKeysCommands(
  program: Command,
  io: CommandIo,
  finish: (status: ExitStatus) => void,
  open?: OpenStore,
): void {
  const keys = program.command("keys").description("manage key records in the configured source");

  /** One subcommand; what it runs is loaded when it runs. */
  function add(usage: string, description: string, run: RunKeysCommand): Command {
    return keys
      .command(usage)
      .description(description)
      .option(...CONFIG_OPTION)
      .option("--json", "print the answer as JSON")
      .action(async (...given: unknown[]) => {
        // Commander hands over the arguments, then the options, then the command itself.
        const options = given.at(-2) as KeysOptions;
        const argument = given.length > 2 ? (given[0] as string | undefined) : undefined;
        const { runKeysCommand } = await import("./key-commands.ts");
        finish(await runKeysCommand(run, argument, options, io, open));
      });
  }

  withFields(add("create", "make a new key; its secret is printed once", "create"));
  add("get <key-id>", "show a key record", "get");
  add("list", "list every key record", "list");
  withFields(add("update <key-id>", "change a key record; lists are replaced whole", "update")).option(
    "--clear <member>",
    "empty name, workspace, permissions, roles, expires, external-id or meta; may be repeated",
    collect,
  );
  withWait(add("disable [key-id]", "refuse a key until it is enabled again", "disable"));
  add("enable <key-id>", "let a disabled key in again", "enable");
  withWait(
    add("reroll [key-id]", "make a new secret, and a new id, for a key; the secret is printed once", "reroll").option(
      "--grace <duration>",
      "how long the old secret lives on, as in 10m or 1d (default: not at all)",
    ),
  );
  withWait(add("delete [key-id]", "delete a key record for good", "delete"));
  add("verify <key>", "say what a key is worth; - reads it from standard input", "verify");
  add("import <file>", "read a keyring file into Redis, all or nothing", "import");
  add("forget <key-id-or-hash>", "make every instance ask the source anew about a key", "forget");
}

export type RunKeysCommand =
  | "create"
  | "get"
  | "list"
  | "update"
  | "disable"
  | "enable"
  | "reroll"
  | "delete"
  | "verify"
  | "import"
  | "forget";

function withFields(command: Command): Command {
  return command
    .option("--name <name>", "what people call the key")
    .option("--workspace <id>", "the workspace it belongs to")
    .option("--permission <tuple>", "a grant, as in api.*.read_api; may be repeated", collect)
    .option("--role <name>", "a role; may be repeated", collect)
    .option("--expires <when>", "a duration such as 12h or 30d, or a date such as 2027-06-01")
    .option("--external-id <id>", "who the key acts for, as your own systems call them")
    .option("--meta <json>", "a JSON object that upstreams are shown");
}

function withWait(command: Command): Command {
  return command.option("--wait [duration]", "return when every live instance has acted on it (10s unless given)");
}
