import type { Command } from "commander";
import type { Verdict } from "../decide.ts";
import { type CommandIo, EXIT, type ExitStatus } from "./exit.ts";
import type { Explanation } from "./explanation.ts";
import { CONFIG_OPTION, collect } from "./options.ts";

interface ExplainOptions {
  readonly config?: string;
  readonly header?: readonly string[];
  readonly data?: string;
  readonly json?: boolean;
}

/** `sentinel explain METHOD URL`: walks one request through `decide()`, the very one that the gateway runs. */
export function addExplainCommand(program: Command, io: CommandIo, finish: (status: ExitStatus) => void): void {
  program
    .command("explain")
    .description("say what would happen to a request, and why, without sending it anywhere")
    .argument("<method>", "as in GET")
    .argument("<url>", "http://host/path?query, or /path?query")
    .option(...CONFIG_OPTION)
    .option("-H, --header <field>", "a header field, as in 'Authorization: Bearer unkey_...'; may be repeated", collect)
    .option("-d, --data <body>", "the request's body; - reads it from standard input")
    .option("--json", "print the explanation as JSON")
    .action(async (method: string, url: string, options: ExplainOptions) => {
      const { explain } = await import("./explanation.ts");
      const { formatExplanation } = await import("./format-explanation.ts");
      const body = options.data === "-" ? await io.stdin() : (options.data ?? null);
      const explanation = await explain(
        { method, url, headers: options.header ?? [], body, config: options.config },
        io,
      );
      io.out(options.json ? `${JSON.stringify(explanation, null, 2)}\n` : formatExplanation(explanation, io.colour));
      finish(exitStatus(explanation));
    });
}

function exitStatus({ verdict }: Explanation): ExitStatus {
  const unreachable: Verdict["label"] = "source_unavailable";
  if (verdict.outcome === unreachable) return EXIT.unreachable;
  return verdict.admitted ? EXIT.done : EXIT.notSo;
}
