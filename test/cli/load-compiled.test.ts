import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { compiledName, formatCompiled, loadCompiled, runCompiled } from "../../src/cli/load-compiled.ts";

const SOURCE = `(function (exports, require, module, __filename, __dirname) {
exports.answer = () => 42; exports.name = __filename; exports.path = require('node:path').sep;
})
`;

let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sentinel-compiled-"));
  file = join(folder, "some.cjs");
  writeFileSync(file, SOURCE);
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

function answer(): number {
  return (loadCompiled(file) as { answer: () => number }).answer();
}

/** Keeps what V8 makes of the file as it is now. */
function keep(): Buffer {
  const kept = formatCompiled(readFileSync(file), runCompiled(file).script.createCachedData());
  writeFileSync(compiledName(file), kept);
  return kept;
}

describe("a file of the bundle", () => {
  it("runs as a CommonJS module does, where nothing was kept", () => {
    expect(loadCompiled(file)).toMatchObject({ name: file, path: "/" });
    expect(runCompiled(file).script.cachedDataRejected).toBeUndefined();
  });

  it("runs from what was kept", () => {
    keep();
    expect(runCompiled(file).script.cachedDataRejected).toBe(false);
    expect(answer()).toBe(42);
  });

  it("runs as it is, not as it was when something was kept of another text of the same length", () => {
    keep();
    writeFileSync(file, SOURCE.replace("42", "43"));
    expect(answer()).toBe(43);
  });

  it.each([
    ["nothing", (_: Buffer) => Buffer.alloc(0)],
    ["half", (kept: Buffer) => kept.subarray(0, kept.length >> 1)],
    ["another byte", (kept: Buffer) => kept.with(kept.length - 1, 0xff ^ (kept.at(-1) ?? 0))],
    ["a digest alone", (kept: Buffer) => kept.subarray(0, 32)],
  ])("is compiled anew where what was kept is damaged: %s", (_, damage) => {
    writeFileSync(compiledName(file), damage(keep()));
    expect(runCompiled(file).script.cachedDataRejected).toBeUndefined();
    expect(answer()).toBe(42);
  });

  it("keeps one for each version of Node and architecture", () => {
    expect(compiledName("/a/start.cjs")).toBe(`/a/start.cjs.${process.version}-${process.arch}`);
  });
});

describe("what the build keeps", () => {
  it("is taken by the Node that built it", () => {
    expect(runCompiled(resolve("dist/start.cjs")).script.cachedDataRejected).toBe(false);
  });

  it("is taken at a start: the program has changed no setting of V8 by then under which it would be refused", () => {
    const hook = join(folder, "hook.cjs");
    writeFileSync(
      hook,
      `const vm = require("node:vm");
      vm.Script = class extends vm.Script {
        constructor(...args) {
          super(...args);
          console.error("rejected", this.cachedDataRejected);
        }
      };
      require("node:module").syncBuiltinESMExports();`,
    );
    // There is no such configuration: it ends as soon as it has begun.
    const start = ["--require", hook, resolve("dist/sentinel.js"), "start", "-c", join(folder, "none.yaml")];
    const { stderr } = spawnSync(process.execPath, start, { encoding: "utf8" });
    expect(stderr.match(/^rejected .*$/gm)).toEqual(["rejected false"]);
  });
});
