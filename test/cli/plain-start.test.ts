import { Command } from "commander";
import { describe, expect, it } from "vitest";
import { parsePlainStart } from "../../src/cli/plain-start.ts";
import { processIo } from "../../src/cli/process-io.ts";
import { addStartCommand } from "../../src/cli/start.ts";

/** The `-c` that the command line's library reads; null where it finds fault. */
async function byLibrary(args: readonly string[]): Promise<{ config: string | undefined } | null> {
  const program = new Command("sentinel").exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} });
  addStartCommand(program, processIo(), () => {});
  let read: { config: string | undefined } | null = null;
  const [start] = program.commands;
  start?.exitOverride().action((options: { config?: string }) => {
    read = { config: options.config };
  });
  await program.parseAsync(args, { from: "user" }).catch(() => {});
  return read;
}

describe("the short way to start", () => {
  it.each([[["start"]], [["start", "-c", "a.yaml"]], [["start", "--config", "/etc/a b.yaml"]]])(
    "is taken by %j, and reads what the library reads",
    async (args) => {
      expect(parsePlainStart(args)).not.toBeNull();
      expect(parsePlainStart(args)).toEqual(await byLibrary(args));
    },
  );

  it.each([
    [[]],
    [["validate"]],
    [["--version"]],
    [["start", "--help"]],
    [["start", "-c"]],
    [["start", "-c", ""]],
    [["start", "-c", "-x"]],
    [["start", "-ca.yaml"]],
    [["start", "--config=a.yaml"]],
    [["start", "a.yaml"]],
    [["start", "-c", "a", "-c", "b"]],
    [["start", "--", "-c", "a"]],
  ])("is not taken by %j", (args) => {
    expect(parsePlainStart(args)).toBeNull();
  });
});
