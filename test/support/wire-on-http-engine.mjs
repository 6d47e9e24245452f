// `npm run test:reference`: the wire suite once more, on a gateway whose upstream engine is the reference one.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { build } from "esbuild";

/** About how a request is read, which is the same whatever engine sends it on, and about a gateway that has neither. */
const WITHOUT_ENGINE = ["plain-first.test.ts", "plain-cuts.test.ts", "h-naive.test.ts"];

const folder = mkdtempSync(join(tmpdir(), "sentinel-reference-"));
try {
  const program = join(folder, "sentinel.mjs");
  await build({
    entryPoints: ["src/main.ts"],
    outfile: program,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20.19",
    logLevel: "error",
    define: { SENTINEL_VERSION: '"reference"' },
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
    },
    plugins: [referenceEngine()],
  });
  const vitest = [
    resolve("node_modules/vitest/vitest.mjs"),
    "run",
    ...(process.argv.slice(2).length > 0 ? process.argv.slice(2) : wireTests()),
  ];
  const env = { ...process.env, SENTINEL_PROGRAM: program };
  process.exitCode = spawnSync(process.execPath, vitest, { stdio: "inherit", env }).status ?? 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function wireTests() {
  const tests = readdirSync("test/wire").filter((name) => name.endsWith(".test.ts") && !WITHOUT_ENGINE.includes(name));
  return tests.map((name) => `test/wire/${name}`);
}

function referenceEngine() {
  return {
    name: "reference-engine",
    setup: ({ onLoad }) => {
      onLoad({ filter: /[/\\]forward[/\\]socket-engine\.ts$/ }, () => ({
        loader: "ts",
        resolveDir: resolve("src/forward"),
        contents: 'export { createHttpEngine as createSocketEngine } from "./http-engine.ts";',
      }));
    },
  };
}
