import { spawnSync } from "node:child_process";

/** How to get what some tests need beside Node and npm: Debian's packages. */
const PACKAGES = {
  "redis-server": "redis-server",
  prometheus: "prometheus",
  promtool: "prometheus",
} as const;

/** Whether the program is installed; where not, a line says how to get it. In CI everything is. */
export function hasProgram(program: keyof typeof PACKAGES): boolean {
  if (spawnSync(program, ["--version"]).status === 0) return true;
  const advice = `${program} is not installed: apt-get install ${PACKAGES[program]}`;
  if (process.env.CI === "true") throw new Error(advice);
  console.warn(`${advice}. The tests that need it are skipped`);
  return false;
}
