// Bundles src/ into dist/. `start` is one file of its own, kept with what V8 compiles of it, so that a gateway answers
// soon; the other commands are split as they share code. sentinel.js chooses.
import { fork } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { createInterface } from "node:readline";
import { build } from "esbuild";
import { formatThirdParty } from "./third-party.mjs";

const { version } = JSON.parse(readFileSync("package.json", "utf8"));
const require = createRequire(import.meta.url);

/**
 * Node's own modules by require(). An import reads every export of such a module: of node:http that loads all of fetch
 * and WebSocket, 17 ms on Node 24. Of node:crypto it is the Web Crypto API.
 */
const builtinsByRequire = {
  name: "builtins-by-require",
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /^node:/ }, ({ path, kind, importer }) => {
      if (kind !== "import-statement") return undefined;
      // Each importer has its own: it loads for what that one uses.
      return LATE.includes(path)
        ? { path, namespace: "late-builtin", suffix: `?${relative(import.meta.dirname, importer)}` }
        : { path, namespace: "builtin" };
    });
    // What pino's writers check their arguments with. Sentinel has its own.
    onResolve({ filter: /^assert$/ }, () => ({ path: "node:assert", namespace: "late-function" }));
    const resolveDir = ".";
    onLoad({ filter: /^/, namespace: "builtin" }, ({ path }) => ({ contents: wrapBuiltin(path), resolveDir }));
    onLoad({ filter: /^/, namespace: "late-builtin" }, ({ path }) => ({ contents: wrapLate(path), resolveDir }));
    onLoad({ filter: /^/, namespace: "late-function" }, ({ path }) => ({
      contents: `module.exports = (...given) => require("${path}")(...given);`,
      resolveDir,
    }));
  },
};

/** Modules that most starts have no use for: loaded when one of their functions is called. */
const LATE = ["node:https", "node:tls"];

/** What is not imported falls away, and is not read. */
function wrapBuiltin(path) {
  const members = namesOf(path).map((name) => `export const ${name} = /* @__PURE__ */ (() => builtin.${name})();`);
  return [`const builtin = require("${path}");`, "export default builtin;", ...members].join("\n");
}

/** The same; a class is there from the beginning, since it may be extended. */
function wrapLate(path) {
  const late = (name) => `export const ${name} = (...given) => require("${path}").${name}(...given);`;
  const now = (name) => `export const ${name} = /* @__PURE__ */ (() => require("${path}").${name})();`;
  return namesOf(path)
    .map((name) => (/^[a-z]/.test(name) ? late(name) : now(name)))
    .join("\n");
}

function namesOf(path) {
  return Object.keys(require(path)).filter((name) => /^[A-Za-z]\w*$/.test(name) && name !== "default");
}

/** In sentinel.js, the command `start` is one file of its own, and the others are another bundle. */
const commandsApart = {
  name: "commands-apart",
  setup: ({ onLoad, onResolve }) => {
    onResolve({ filter: /\/cli\.ts$/ }, () => ({ path: "./cli.mjs", external: true }));
    onLoad({ filter: /\/start-alone\.ts$/ }, () => ({
      resolveDir: "src/cli",
      contents: `import { join } from "node:path";
        import { loadCompiled } from "./load-compiled.ts";
        export const { startAlone } = loadCompiled(join(__dirname, "start.cjs"));`,
    }));
  },
};

/** A fifth of all that `start` is made of: in a file of its own, a gateway with a keyring does not read it. */
const redisApart = {
  name: "redis-apart",
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /^ioredis$/ }, () => ({ path: "./ioredis.cjs", namespace: "apart" }));
    onResolve({ filter: /./, namespace: "apart" }, ({ path }) => ({ path, external: true }));
    onLoad({ filter: /./, namespace: "apart" }, ({ path }) => ({ contents: `module.exports = require("${path}");` }));
  },
};

const options = {
  outdir: "dist",
  bundle: true,
  platform: "node",
  target: "node20.19",
  sourcemap: true,
  // Not the identifiers: stack traces in logs keep the names of the source.
  minifySyntax: true,
  minifyWhitespace: true,
  // Their licences are in THIRD_PARTY_LICENSES.
  legalComments: "none",
  metafile: true,
  define: { SENTINEL_VERSION: JSON.stringify(version) },
};
// Packages written in CommonJS call require() for Node's own modules; an ES module has none unless it is made.
const REQUIRE =
  "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);";

rmSync("dist", { recursive: true, force: true });
const start = await build({
  ...options,
  entryPoints: { start: "src/cli/start-alone.ts" },
  format: "cjs",
  outExtension: { ".js": ".cjs" },
  plugins: [redisApart, builtinsByRequire],
  // What load-compiled.ts runs: a function. On the global object each of these is a getter, which every mention would call.
  banner: {
    js: `(function (exports, require, module, __filename, __dirname) {"use strict";
const { Buffer } = require("node:buffer"), { performance } = require("node:perf_hooks"), process = require("node:process");`,
  },
  footer: { js: "})" },
});
const redis = await build({
  ...options,
  entryPoints: { ioredis: "ioredis" },
  format: "cjs",
  outExtension: { ".js": ".cjs" },
});
const commands = await build({
  ...options,
  entryPoints: { cli: "src/cli/cli.ts" },
  format: "esm",
  splitting: true,
  outExtension: { ".js": ".mjs" },
  plugins: [builtinsByRequire],
  banner: { js: REQUIRE },
});
await build({
  ...options,
  entryPoints: { sentinel: "src/main.ts" },
  format: "cjs",
  plugins: [commandsApart, builtinsByRequire],
  banner: { js: "#!/usr/bin/env node" },
});
// Node loads a CommonJS file sooner: of an ES module, its loader alone takes 10 ms.
writeFileSync("dist/package.json", '{ "type": "commonjs" }\n');
chmodSync("dist/sentinel.js", 0o755);
writeFileSync(
  "dist/THIRD_PARTY_LICENSES",
  formatThirdParty([...bundledFiles(start), ...bundledFiles(redis), ...bundledFiles(commands)]),
);

const folder = mkdtempSync(join(tmpdir(), "sentinel-build-"));
try {
  await keepCompiled(folder);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function bundledFiles({ metafile }) {
  const inputs = Object.values(metafile.outputs).flatMap((output) => Object.entries(output.inputs));
  return inputs.filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([file]) => file);
}

/** Lets a gateway serve one request, so that what V8 compiled for it is there when the next one starts. */
async function keepCompiled(folder) {
  const tool = join(folder, "keep-compiled.mjs");
  await build({
    ...options,
    outdir: undefined,
    outfile: tool,
    entryPoints: ["src/cli/keep-compiled.ts"],
    format: "esm",
  });
  const upstream = createServer((_, response) => response.end("{}")).listen(0, "127.0.0.1");
  await new Promise((done) => upstream.once("listening", done));
  const files = writeSample(folder, upstream.address().port);
  const child = fork(tool, [join(import.meta.dirname, "dist/start.cjs"), files.config], { silent: true, execArgv: [] });
  const ended = new Promise((done) => child.once("close", done));
  let output = "";
  child.stderr.on("data", (text) => {
    output += text;
  });
  for await (const line of createInterface({ input: child.stdout })) {
    output += `${line}\n`;
    const { event, address } = line.startsWith("{") ? JSON.parse(line) : {};
    if (event !== "listening") continue;
    const answer = await fetch(address, { headers: { authorization: `Bearer ${files.key}` } });
    if (answer.status !== 200) output += `the request was answered with ${answer.status}\n`;
    child.send("served");
  }
  const code = await ended;
  upstream.closeAllConnections();
  upstream.close();
  if (code !== 0 || output.includes("answered with")) throw new Error(`start.cjs could not be run:\n${output}`);
}

function writeSample(folder, port) {
  const config = join(folder, "sentinel.yaml");
  writeFileSync(
    config,
    `listen: 127.0.0.1:0
admin: { listen: "127.0.0.1:0" }
log: { format: json }
drain: { delay: 0s, timeout: 1s }
keys: { source: { type: file, path: ./keys.yaml } }
upstreams:
  - name: sample
    targets: ["http://127.0.0.1:${port}"]
routes:
  - name: sample
    match: { methods: [GET], pathPrefix: / }
    permissions: sample.*.read
    upstream: sample
`,
  );
  const key = "unkey_known_to_all";
  const hash = require("node:crypto").createHash("sha256").update(key).digest("base64");
  writeFileSync(
    join(folder, "keys.yaml"),
    `keys:\n  - id: key_sample\n    hash: ${hash}\n    permissions:\n      - sample.*.read\n`,
  );
  return { config, key };
}
