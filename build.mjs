// Bundles src/ into dist/. `start` is a bundle of its own, in few files, so that a gateway answers soon; the other
// commands are split as they share code. What not every gateway needs (Redis, tracing ...) stays in lazy chunks of both.
import { chmodSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { build } from "esbuild";

const { version } = JSON.parse(readFileSync("package.json", "utf8"));

const require = createRequire(import.meta.url);

/**
 * Node's own modules by require(). An import reads every export of such a module: of node:http that loads all of fetch
 * and WebSocket, a quarter of the time to start on Node 24. Of node:crypto it is the Web Crypto API.
 */
const builtinsByRequire = {
  name: "builtins-by-require",
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /^node:/ }, ({ path, kind }) =>
      kind === "import-statement" ? { path, namespace: "builtin" } : undefined,
    );
    onLoad({ filter: /^/, namespace: "builtin" }, ({ path }) => ({ contents: wrapBuiltin(path), resolveDir: "." }));
  },
};

/** What is not imported falls away, and is not read. */
function wrapBuiltin(path) {
  const names = Object.keys(require(path)).filter((name) => /^[A-Za-z]\w*$/.test(name) && name !== "default");
  const members = names.map((name) => `export const ${name} = /* @__PURE__ */ (() => builtin.${name})();`);
  return [`const builtin = require("${path}");`, "export default builtin;", ...members].join("\n");
}

const options = {
  outdir: "dist",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20.19",
  sourcemap: true,
  // Not the identifiers: stack traces in logs keep the names of the source.
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: "none",
  define: { SENTINEL_VERSION: JSON.stringify(version) },
};
// Packages written in CommonJS call require() for Node's own modules; an ES module has none unless it is made.
const REQUIRE =
  "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);";

const startApart = {
  name: "start-apart",
  setup: ({ onResolve }) =>
    onResolve({ filter: /\/start-alone\.ts$/ }, ({ kind }) =>
      kind === "dynamic-import" ? { path: "./start.js", external: true } : undefined,
    ),
};

rmSync("dist", { recursive: true, force: true });
await build({
  ...options,
  entryPoints: { start: "src/cli/start-alone.ts" },
  plugins: [builtinsByRequire],
  chunkNames: "start-[name]-[hash]",
  banner: { js: REQUIRE },
});
await build({
  ...options,
  entryPoints: { sentinel: "src/main.ts" },
  plugins: [startApart, builtinsByRequire],
  banner: { js: `#!/usr/bin/env node\n${REQUIRE}` },
});
chmodSync("dist/sentinel.js", 0o755);
