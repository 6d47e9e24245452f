// Where the cost of a request might grow: with routes, keys, terms of a permission, client connections and workers.
// Each variant is measured in turns with the smallest one of its kind, and the table shows the ratio to that.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { saturate } from "./load.mjs";
import { stop } from "./processes.mjs";
import { attempt, ratio, rotated, spread, table } from "./statistics.mjs";
import { PATH, READ_API, rotation, SECRETS, startSentinel } from "./targets.mjs";

const ROUTES = [10, 100, 1_000, 10_000];
const TERMS = [1, 10, 50];
const CONNECTIONS = [16, 64, 512, 5_000];
const KEYS_IN_TURNS = [1, 10, 100, 1_000];
const RECORDS = [1, 1_000, 100_000, 1_000_000];
const ROUNDS = 3;
const SECONDS = 2;

const admitted = { name: "admitted", path: PATH, authorization: `Bearer ${SECRETS[0]}` };

export async function growth(settings, context, running) {
  const gateway = running.find(({ name }) => name === "sentinel");
  if (gateway === undefined) return "";
  const nginx = running.find(({ name }) => name === "nginx plain");
  const parts = [
    () => compareStarted("routes", ROUTES, (count) => ({ routes: manyRoutes(count) }), settings, context),
    () =>
      compareStarted("terms in the permission", TERMS, (count) => ({ routes: [manyTerms(count)] }), settings, context),
    () =>
      compareOne("keys in turns", gateway, KEYS_IN_TURNS, (count) => ({
        ...admitted,
        script: keysInTurns(context, count),
      })),
    () => compareOne("connections", gateway, CONNECTIONS, (connections) => ({ ...admitted, connections })),
    () => records(settings, context),
    () => workers(settings, context),
  ];
  if (nginx !== undefined) {
    parts.push(() =>
      compareOne("connections, nginx plain", nginx, CONNECTIONS, (connections) => ({ ...admitted, connections })),
    );
  }
  const sections = [];
  for (const part of parts) sections.push(await attempt("a part of this", part));
  return `## Growth

CPU time per admitted request in microseconds, and its ratio to the first line of each table; ${ROUNDS} rounds of ${SECONDS} s in turns.

${sections.join("\n\n")}`;
}

/** A gateway for each count. */
async function compareStarted(what, counts, overridesFor, { root }, context) {
  const runs = [];
  for (const count of counts) {
    const target = await startSentinel(`${count} ${what}`, root, { ...context, overrides: overridesFor(count) });
    if (target.missing) throw new Error(`${count} ${what}: ${target.missing}`);
    runs.push({ count, target, scenario: admitted });
  }
  const text = await inTurns(what, runs);
  for (const { target } of runs) await stop(target.child);
  return text;
}

/** One gateway, asked in different ways. */
function compareOne(what, target, counts, scenarioFor) {
  return inTurns(
    what,
    counts.map((count) => ({ count, target, scenario: scenarioFor(count) })),
  );
}

async function inTurns(what, runs) {
  const costs = new Map(runs.map(({ count }) => [count, []]));
  for (const { target, scenario } of runs) await saturate(target, scenario, 1);
  for (let round = 0; round < ROUNDS; round++) {
    for (const { count, target, scenario } of rotated(runs, round)) {
      costs.get(count).push((await saturate(target, scenario, SECONDS)).microseconds);
    }
  }
  const base = costs.get(runs[0].count);
  const rows = [...costs].map(([count, all]) => [count.toLocaleString("en"), spread(all), ratio(all, base).toFixed(2)]);
  return table([what, "CPU us/request", "ratio"], rows);
}

/** The route that is asked for stands in the middle of others with parameters, prefixes and whole paths. */
function manyRoutes(count) {
  const kinds = [
    (i) => ({ path: `/v2/kind${i}/{id}` }),
    (i) => ({ pathPrefix: `/v3/part${i}` }),
    (i) => ({ path: `/v2/apis/fixed${i}` }),
  ];
  const others = Array.from({ length: count - 1 }, (_, i) => ({
    name: `other-${i}`,
    match: { methods: ["GET"], ...kinds[i % kinds.length](i) },
    upstream: "bench",
  }));
  return [...others.slice(0, count / 2), READ_API, ...others.slice(count / 2)];
}

/** The only term that the key has is the last one. */
function manyTerms(count) {
  const others = Array.from({ length: count - 1 }, (_, i) => `a.b${i}.c`);
  return { ...READ_API, permissions: [...others, READ_API.permissions].join(" OR ") };
}

function keysInTurns({ folder }, count) {
  const file = join(folder, `rotate-${count}.lua`);
  writeFileSync(file, rotation(SECRETS.slice(0, count)));
  return file;
}

/** The look-up alone, in a process of its own: so many records could not be loaded through clients in reasonable time. */
async function records({ root }, { folder }) {
  const outfile = join(folder, "memory-source.mjs");
  const entry = join(root, "src/keys/memory-source.ts");
  await build({ entryPoints: [entry], outfile, bundle: true, format: "esm", platform: "node", logLevel: "error" });
  const script = fileURLToPath(new URL("lookups.mjs", import.meta.url));
  const rows = [];
  for (const count of RECORDS) {
    const child = spawn(process.execPath, ["--expose-gc", script, outfile, String(count)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let text = "";
    child.stdout.on("data", (chunk) => {
      text += chunk;
    });
    const [code] = await once(child, "close");
    if (code !== 0) throw new Error(`the look-up of ${count} records ended with ${code}`);
    const { nanoseconds, bytes } = JSON.parse(text);
    rows.push([count.toLocaleString("en"), nanoseconds.toFixed(0), count < 1000 ? "" : bytes.toFixed(0)]);
  }
  return table(["records in memory", "ns for a look-up, hash included", "bytes a record"], rows);
}

/** Two processes behind one listener: what a request costs, and whether the figures they show are those of both. */
async function workers({ root }, context) {
  const runs = [];
  for (const count of [1, 2]) {
    const target = await startSentinel(`workers: ${count}`, root, { ...context, overrides: { workers: count } });
    if (target.missing) throw new Error(`workers: ${target.missing}`);
    runs.push({ count, target, scenario: admitted });
  }
  const text = await inTurns("workers (all on one CPU)", runs);
  const { target } = runs[1];
  const before = await requestsCounted(target);
  const { answers } = await saturate(target, admitted, 1);
  const counted = (await requestsCounted(target)) - before;
  for (const run of runs) await stop(run.target.child);
  // wrk stops without waiting for the last answer of each of its connections.
  const agrees = counted >= answers && counted <= answers + 64;
  return `${text}\n\nWith two workers, ${answers.toLocaleString("en")} answers were ${counted.toLocaleString("en")} in \`sentinel_requests_total\`: ${agrees ? "both are counted" : "THEY DO NOT AGREE"}.`;
}

async function requestsCounted({ adminPort }) {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text();
  let sum = 0;
  for (const [, value] of text.matchAll(/^sentinel_requests_total\{.*\} (\d+)/gm)) sum += Number(value);
  return sum;
}
