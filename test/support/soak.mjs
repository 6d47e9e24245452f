import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";

// `npm run soak -- --minutes 60`: test/wire/h-soak.test.ts for so long, in place of its 12,000 exchanges.
const { values } = parseArgs({ options: { minutes: { type: "string", default: "10" } } });
if (!(Number(values.minutes) > 0)) {
  console.error(`--minutes takes a number of minutes, not ${values.minutes}`);
  process.exit(2);
}
const run = spawnSync(
  process.execPath,
  ["node_modules/vitest/vitest.mjs", "run", "--retry=0", "test/wire/h-soak.test.ts"],
  {
    stdio: "inherit",
    env: { ...process.env, SOAK_MINUTES: values.minutes },
  },
);
process.exitCode = run.status ?? 1;
