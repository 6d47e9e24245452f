import { parsePlainStart } from "./cli/plain-start.ts";

const args = process.argv.slice(2);
const start = parsePlainStart(args);
if (start !== null) {
  const { startAlone } = await import("./cli/start-alone.ts");
  process.exitCode = await startAlone(start.config);
} else {
  const { run } = await import("./cli/cli.ts");
  process.exitCode = await run(args);
}
