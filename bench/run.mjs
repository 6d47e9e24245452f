// `npm run bench`: what a request costs here and elsewhere, as ratios within one interleaved run. README.md beside this
// file says how; the result goes to results.md. `npm run bench -- --compare REV` measures this tree against a revision.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { compareRevisions } from "./compare.mjs";
import { measureEverything } from "./everything.mjs";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    only: { type: "string" },
    compare: { type: "string" },
    out: { type: "string" },
    brief: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

if (values.help) {
  console.log(`npm run bench -- [--rounds 5] [--seconds 3] [--only NAME,NAME] [--brief] [--out FILE] [--compare REV]

  --rounds, --seconds   how often, and how long at a time, each target is measured
  --only                only targets whose name holds one of these
  --brief               without growth, bodies and WebSockets
  --out                 where the table goes (bench/results.md)
  --compare REV         this tree against a revision, nothing else; the table goes to stdout`);
  process.exit(0);
}

const root = resolve(fileURLToPath(new URL(".", import.meta.url)), "..");
const built = spawnSync(process.execPath, ["build.mjs"], { cwd: root, stdio: "inherit" });
if (built.status !== 0) process.exit(3);

const folder = mkdtempSync(join(tmpdir(), "sentinel-bench-"));
const settings = {
  root,
  folder,
  rounds: Number(values.rounds),
  seconds: Number(values.seconds),
  only: values.only?.split(",") ?? null,
  whole: !values.brief,
  out: values.out ?? join(root, "bench/results.md"),
};
try {
  if (values.compare === undefined) await measureEverything(settings);
  else await compareRevisions(settings, values.compare);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exit();
