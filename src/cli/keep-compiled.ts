import { readFileSync, writeFileSync } from "node:fs";
import { compiledName, formatCompiled, runCompiled } from "./load-compiled.ts";
import { processIo } from "./process-io.ts";
import type { startAlone } from "./start-alone.ts";

/**
 * Run by the build, as a child: `keep-compiled FILE CONFIG` starts the gateway in FILE, and when its parent says that it
 * has served a request, keeps what V8 has compiled of it.
 */
const [file = "", config] = process.argv.slice(2);
const { script, exports } = runCompiled(file);
process.once("message", () => {
  writeFileSync(compiledName(file), formatCompiled(readFileSync(file), script.createCachedData()));
  process.disconnect();
  process.kill(process.pid, "SIGTERM");
});
const run = (exports as { startAlone: typeof startAlone }).startAlone;
// V8's settings go into what it keeps, and at a start they are still its own.
process.exitCode = await run(config, processIo(), { plainCollector: true });
