import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { transformSync } from "esbuild";
import { expect, it } from "vitest";

const SOURCE = fileURLToPath(new URL("../../src/cli/collector.ts", import.meta.url));

/** Runs a script in a process of its own: V8's settings are the whole process's. */
function alone(script: string, ...args: string[]) {
  return spawnSync(process.execPath, ["-e", script, "--", ...args], { encoding: "utf8" });
}

it("V8 knows every setting that is made while it runs: of one it does not know it would complain at each start", () => {
  const settings = [...readFileSync(SOURCE, "utf8").matchAll(/"(--[a-z][a-z-]*(?:=\d+)?)"/g)].map(
    ([, setting]) => setting,
  );
  expect(settings).toHaveLength(3);
  const complaint = (setting = "") => alone("require('node:v8').setFlagsFromString(process.argv[1])", setting).stderr;
  for (const setting of settings) expect(complaint(setting)).toBe("");
  expect(complaint("--no-such-setting")).toContain("unrecognized");
});

/** MiB of V8's space for young objects, as it grows while a tenth of what is allocated stays for a while. */
function growth(before: string): number[] {
  const { code } = transformSync(readFileSync(SOURCE, "utf8"), { loader: "ts", format: "cjs" });
  const { stdout } = alone(`${code}
    ${before}
    const { getHeapSpaceStatistics } = require("node:v8");
    const size = () => getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space").space_size / 2 ** 20;
    const sizes = [size()];
    const kept = [];
    for (let i = 0; i < 3_000_000; i++) {
      kept[i % 60_000] = { i, list: [i] };
      if (i % 1_000 === 0 && size() !== sizes.at(-1)) sizes.push(size());
    }
    console.log(JSON.stringify(sizes));`);
  return JSON.parse(stdout);
}

it("lets the space of young objects have its 32 MiB in one step, where that is all it may have", () => {
  expect(growth("")).toEqual(expect.arrayContaining([4, 8, 16, 32]));
  const sizes = growth("setUpCollector();");
  const mayHaveMore = Number.parseInt(process.versions.v8, 10) >= 13;
  expect(sizes.includes(8)).toBe(mayHaveMore);
  if (!mayHaveMore) expect(Math.max(...sizes)).toBe(32);
});
