// Bundles src/ into dist/: one file per entry. Dependencies that `start` does not always need stay lazy chunks.
import { chmodSync, readFileSync, rmSync } from "node:fs";
import { build } from "esbuild";

const { version } = JSON.parse(readFileSync("package.json", "utf8"));

rmSync("dist", { recursive: true, force: true });
await build({
  entryPoints: { sentinel: "src/main.ts" },
  outdir: "dist",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20.19",
  sourcemap: true,
  legalComments: "none",
  define: { SENTINEL_VERSION: JSON.stringify(version) },
  // Packages written in CommonJS call require() for Node's own modules; an ES module has none unless it is made.
  banner: {
    js: "#!/usr/bin/env node\nimport { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
});
chmodSync("dist/sentinel.js", 0o755);
