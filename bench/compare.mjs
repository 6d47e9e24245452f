// This tree against a revision: both built, several processes of each (two processes of the same code differ by up to a
// tenth), measured in turns with nginx as the control.
import { spawnSync } from "node:child_process";
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { saturate } from "./load.mjs";
import { stop } from "./processes.mjs";
import { median, rotated, spread, table } from "./statistics.mjs";
import { PATH, POWERLESS, prepare, SECRETS, startSentinel, startUpstream, TARGETS } from "./targets.mjs";

const PROCESSES = 3;
const SCENARIOS = [
  { name: "admitted", path: PATH, authorization: `Bearer ${SECRETS[0]}` },
  { name: "401", path: PATH, refused: true },
  { name: "403", path: PATH, authorization: `Bearer ${POWERLESS}`, refused: true },
];

export async function compareRevisions({ root, folder, rounds, seconds }, revision) {
  const other = join(folder, "revision");
  command(root, "git", "worktree", "add", "--detach", other, revision);
  try {
    symlinkSync(join(root, "node_modules"), join(other, "node_modules"));
    command(other, process.execPath, "build.mjs");
    prepare(folder);
    const upstream = await startUpstream(folder);
    const context = { folder, upstream };
    const targets = [await TARGETS["nginx plain"](context)];
    for (let i = 0; i < PROCESSES; i++) {
      targets.push(await startSentinel("this tree", root, context), await startSentinel(revision, other, context));
    }
    for (const target of targets)
      if (target.missing) throw new Error(`${target.name ?? "a target"}: ${target.missing}`);
    for (const scenario of SCENARIOS) await compare(scenario, targets, revision, rounds, seconds);
    for (const target of [...targets, upstream]) await stop(target.child);
  } finally {
    command(root, "git", "worktree", "remove", "--force", other);
  }
}

async function compare(scenario, targets, revision, rounds, seconds) {
  const taking = targets.filter(({ name }) => scenario.refused !== true || name !== "nginx plain");
  const results = new Map(taking.map(({ name }) => [name, []]));
  for (const target of taking) await saturate(target, scenario, 1);
  for (let round = 0; round < rounds; round++) {
    for (const target of rotated(taking, round)) {
      results.get(target.name).push((await saturate(target, scenario, seconds)).microseconds);
    }
  }
  const base = median(results.get(revision));
  const rows = [...results].map(([name, values]) => [name, spread(values), (median(values) / base).toFixed(3)]);
  console.log(`\n${table([scenario.name, "CPU us/request", `x ${revision}`], rows)}`);
}

function command(cwd, name, ...args) {
  const { status, stderr } = spawnSync(name, args, { cwd, encoding: "utf8" });
  if (status !== 0) throw new Error(`${name} ${args.join(" ")}: ${stderr}`);
}
