import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const SOURCE = fileURLToPath(new URL("../../src/cli/collector.ts", import.meta.url));

it("V8 knows every setting that is made while it runs: of one it does not know it would complain at each start", () => {
  const settings = [...readFileSync(SOURCE, "utf8").matchAll(/--[a-z][a-z-]*/g)].map(([setting]) => setting);
  expect(settings).toHaveLength(2);
  const set = (setting: string) => {
    const script = "require('node:v8').setFlagsFromString(process.argv[1])";
    return spawnSync(process.execPath, ["-e", script, "--", setting], { encoding: "utf8" }).stderr;
  };
  for (const setting of settings) expect(set(setting)).toBe("");
  expect(set("--no-such-setting")).toContain("unrecognized");
});
