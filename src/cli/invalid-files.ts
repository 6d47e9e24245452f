import { formatProblems, type Problem } from "../config/problem.ts";
import { CommandFailure, type CommandIo, EXIT } from "./exit.ts";

/** Ends a command because of mistakes in the configuration or a keyring: each of them on stderr, with its line. */
export function invalidFiles(problems: readonly Problem[], { colour }: CommandIo): CommandFailure {
  return new CommandFailure(EXIT.notSo, formatProblems(problems, { colour }).trimEnd());
}
