import { readFileSync, writeFileSync } from "node:fs";
import { compiledName, formatCompiled, runCompiled } from "./load-compiled.ts";
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
process.exitCode = await (exports as { startAlone: typeof startAlone }).startAlone(config);
