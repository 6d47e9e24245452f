import { parsePlainStart } from "./cli/plain-start.ts";
import { sizeThreadPool } from "./cli/pool-threads.ts";

void main(process.argv.slice(2));

/** A rejection that arrives here is a defect, and ends the process with its stack. */
async function main(args: readonly string[]): Promise<void> {
  sizeThreadPool();
  const start = parsePlainStart(args);
  if (start !== null) {
    const { startAlone } = await import("./cli/start-alone.ts");
    process.exitCode = await startAlone(start.config);
  } else {
    const { run } = await import("./cli/cli.ts");
    process.exitCode = await run(args);
  }
  // A worker that could not start would be kept by its channel to the process that holds it, which waits for its end.
  if (process.exitCode !== 0) process.channel?.unref();
}
