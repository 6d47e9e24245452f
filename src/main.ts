import { parsePlainStart } from "./cli/plain-start.ts";

void main(process.argv.slice(2));

/** A rejection that arrives here is a defect, and ends the process with its stack. */
async function main(args: readonly string[]): Promise<void> {
  const start = parsePlainStart(args);
  if (start !== null) {
    const { startAlone } = await import("./cli/start-alone.ts");
    process.exitCode = await startAlone(start.config);
  } else {
    const { run } = await import("./cli/cli.ts");
    process.exitCode = await run(args);
  }
}
