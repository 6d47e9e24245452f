// The whole run: starts every target, measures them in turns, writes the table.
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { request } from "node:http";
import { cpus, loadavg } from "node:os";
import { join } from "node:path";
import { bodies } from "./bodies.mjs";
import { coldStart, idleConnectionBytes } from "./footprint.mjs";
import { growth } from "./growth.mjs";
import { atRate, saturate } from "./load.mjs";
import { EXTRA_CERTIFICATES, LOAD_CPU, residentBytes, stop, versionOf } from "./processes.mjs";
import { attempt, median, ratio, rotated, spread, table } from "./statistics.mjs";
import {
  PATH,
  POWERLESS,
  prepare,
  SECRETS,
  startBare,
  startNginxRefusal,
  startSentinel,
  startUpstream,
  TARGETS,
  UNKNOWN,
} from "./targets.mjs";

/** Others on the same CPUs raise what Node costs more than what nginx costs: near nought, or the ratios are off. */
const LOAD_BEFORE = loadavg();

const LATENCY_RATE = 4000;
const LATENCY_WARM_UPS = 3;
/** At the same rate, in front of each turn that counts: how the first seconds behind a pause go is told apart. */
const LEAD_SECONDS = 2;
const IDLE_CONNECTIONS = 5000;

export async function measureEverything(settings) {
  prepare(settings.folder);
  const upstream = await startUpstream(settings.folder);
  if (upstream.missing) throw new Error(`no upstream: ${upstream.missing}`);
  const context = { folder: settings.folder, upstream };
  const { running, left } = await startAll(settings, context);
  const sections = [
    await admitted(settings, context, running),
    await refused(settings, context, running),
    await attempt("Latency", () => latency(settings, upstream, running)),
    await attempt("Memory", () => footprint(settings, context, running)),
  ];
  if (settings.whole) {
    sections.push(await attempt("Growth", () => growth(settings, context, running)));
    sections.push(await attempt("Bodies", () => bodies(settings, context)));
  }
  for (const target of [...running, upstream]) await stop(target.child);
  const text = `${heading(settings, left)}\n\n${sections.filter((section) => section !== "").join("\n\n")}\n`;
  writeFileSync(settings.out, text);
  console.log(text);
}

async function startAll({ only }, context) {
  const running = [];
  const left = [];
  for (const [name, begin] of Object.entries(TARGETS)) {
    if (only !== null && !only.some((part) => name.includes(part))) continue;
    const target = await begin(context);
    if (target.missing) left.push(`${name}: ${target.missing}`);
    else running.push(target);
  }
  return { running, left };
}

const withKey = { name: "one key", path: PATH, authorization: `Bearer ${SECRETS[0]}` };

/** What an admitted request costs. */
async function admitted(settings, { folder }, running) {
  const manyKeys = { name: "1,000 keys", path: PATH, script: join(folder, "rotate.lua") };
  const runs = running.map((target) => ({ label: target.name, target, scenario: withKey }));
  const gateway = running.find(({ name }) => name === "sentinel");
  if (gateway) runs.push({ label: "sentinel, 1,000 keys in turns", target: gateway, scenario: manyKeys });
  const results = await inTurns(settings, runs);
  const bases = ["nginx plain", "nginx + auth_request", "http-proxy, naive features", "Caddy plain"];
  return `## An admitted request

Sentinel and the gateways "with naive features" give a request id, route it, hash the key, look it up, check its permission,
count it and log it. nginx, haproxy and Caddy do what their name says, without an access log.

${costTable(results, bases)}`;
}

/** What a refused request costs, and what it would cost without a gateway around it. */
async function refused(settings, context, running) {
  const gateway = running.find(({ name }) => name === "sentinel");
  if (!gateway) return "";
  const bare = await startBare("node:http, the same 401", context, await answerOf(gateway.port, null));
  const nginx = await startNginxRefusal(context);
  const unknown = { name: "401 unknown", path: PATH, authorization: `Bearer ${UNKNOWN}`, refused: true };
  const runs = [
    { label: "sentinel 401, no key", target: gateway, scenario: { name: "401 missing", path: PATH, refused: true } },
    { label: "sentinel 401, unknown key", target: gateway, scenario: unknown },
    {
      label: "sentinel 403",
      target: gateway,
      scenario: { name: "403", path: PATH, authorization: `Bearer ${POWERLESS}`, refused: true },
    },
    { label: bare.name, target: bare, scenario: { name: "bare", path: PATH, refused: true } },
  ];
  if (!nginx.missing) runs.push({ label: nginx.name, target: nginx, scenario: unknown });
  const results = await inTurns(settings, runs);
  await stop(bare.child);
  if (!nginx.missing) await stop(nginx.child);
  return `## A refused request

${costTable(results, [bare.name, "sentinel 401, unknown key", nginx.name])}`;
}

async function inTurns({ rounds, seconds }, runs) {
  for (const { target, scenario } of runs) await saturate(target, scenario, 2);
  const results = new Map(runs.map(({ label }) => [label, { microseconds: [], perSecond: [] }]));
  for (let round = 0; round < rounds; round++) {
    for (const { label, target, scenario } of rotated(runs, round)) {
      const { microseconds, perSecond } = await saturate(target, scenario, seconds);
      results.get(label).microseconds.push(microseconds);
      results.get(label).perSecond.push(perSecond);
      console.error(`round ${round + 1}: ${label}: ${microseconds.toFixed(1)} us`);
    }
  }
  return results;
}

function costTable(results, bases) {
  const known = bases.filter((base) => results.has(base));
  const rows = [...results].map(([label, { microseconds, perSecond }]) => [
    label,
    spread(microseconds),
    Math.round(median(perSecond)).toLocaleString("en"),
    ...known.map((base) => ratio(microseconds, results.get(base).microseconds).toFixed(2)),
  ]);
  return table(["", "CPU us/request", "requests/s", ...known.map((base) => `x ${base}`)], rows);
}

/** How long an answer takes when the gateway is not at its limit. */
async function latency({ folder, rounds, seconds }, upstream, running) {
  const generator = join(folder, "open-loop");
  const compiled = spawnSync("cc", ["-O2", "-o", generator, new URL("open-loop.c", import.meta.url).pathname]);
  if (compiled.status !== 0) return "## Latency\n\nLeft out: there is no C compiler for the generator.";
  const direct = { ...upstream, name: "direct, no gateway" };
  const targets = [direct, ...running];
  const results = new Map(targets.map(({ name }) => [name, { p50: [], p90: [], p99: [], behindPause: [] }]));
  // A rival that fails is left out and said; of ours and of the upstream nothing is let pass.
  const leftOut = new Map();
  const turnOf = async (target) => {
    if (leftOut.has(target.name)) return null;
    try {
      const lead = await atRate(generator, target, withKey, LATENCY_RATE, LEAD_SECONDS);
      const { p50, p90, p99 } = await atRate(generator, target, withKey, LATENCY_RATE, seconds);
      return { p50, p90, p99, behindPause: lead.p99 };
    } catch (error) {
      if (target === direct || target.name.startsWith("sentinel")) throw error;
      leftOut.set(target.name, (error.stderr ?? error.message).trim());
      results.delete(target.name);
      return null;
    }
  };
  // A process that was at its limit before compiles for this load: for all the same, and said apart.
  const first = [];
  for (let turn = 0; turn < LATENCY_WARM_UPS; turn++) {
    for (const target of targets) {
      const one = await turnOf(target);
      if (turn === 0 && one !== null) first.push(`${target.name} ${one.behindPause.toFixed(0)}`);
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (const target of rotated(targets, round)) {
      const one = await turnOf(target);
      if (one === null) continue;
      for (const [part, values] of Object.entries(results.get(target.name))) values.push(one[part]);
    }
  }
  const base = median(results.get(direct.name).p50);
  const rows = [...results].map(([name, { p50, p90, p99, behindPause }]) => [
    name,
    spread(p50, 0),
    spread(p90, 0),
    spread(p99, 0),
    (median(p50) - base).toFixed(0),
    spread(behindPause, 0),
  ]);
  return `## Latency at ${LATENCY_RATE.toLocaleString("en")} requests/s

Open loop over 64 connections, timed from the moment each request was due; microseconds. Each turn is ${seconds} s, behind ${LEAD_SECONDS} s of the
same load, which the last column is about: they come behind the pause in which the others had their turns. After ${LATENCY_WARM_UPS} turns that do
not count; the p99 of the very first ${LEAD_SECONDS} s: ${first.join(", ")}.

${table(["", "p50", "p90", "p99", "added p50", "p99 behind the pause"], rows)}${[...leftOut].map(([name, why]) => `\n\nLeft out: ${name}, which failed (${why}).`).join("")}`;
}

/** Memory and start. */
async function footprint(settings, context, running) {
  const megabytes = (bytes) => (bytes / 1024 / 1024).toFixed(0);
  const rows = [];
  for (const target of running) {
    // Used by everything before: this is what it keeps after load, and under it.
    const underLoad = [];
    const watch = setInterval(() => underLoad.push(residentBytes(target.pid)), 200);
    await saturate(target, withKey, settings.seconds);
    clearInterval(watch);
    rows.push([target.name, megabytes(Math.max(...underLoad))]);
  }
  let own = "";
  if (running.some(({ name }) => name === "sentinel")) {
    const oneKey = { ...context, keyring: "one-key.yaml" };
    const fresh = await startSentinel("sentinel", settings.root, oneKey);
    await answerOf(fresh.port, withKey.authorization);
    const idle = residentBytes(fresh.pid);
    // The heap's young generation grows with the first load and stays: it is not what connections take.
    await saturate(fresh, withKey, 2);
    const perConnection = await idleConnectionBytes(fresh, IDLE_CONNECTIONS, withKey);
    await stop(fresh.child);
    const starts = await coldStart(settings.root, oneKey, withKey, 7);
    const startsManyKeys = await coldStart(settings.root, context, withKey, 7);
    let withCertificates = "";
    if (EXTRA_CERTIFICATES !== null) {
      const extraEnv = { NODE_EXTRA_CA_CERTS: EXTRA_CERTIFICATES };
      const later = await coldStart(settings.root, { ...oneKey, extraEnv }, withKey, 7);
      withCertificates = `\nWith NODE_EXTRA_CA_CERTS set as it was for the run, ${spread(later, 0)} ms with one key.`;
    }
    own = `

Sentinel after its start: ${megabytes(idle)} MB; for each idle connection (${IDLE_CONNECTIONS.toLocaleString("en")} of them): ${(perConnection / 1024).toFixed(1)} KB;
from start to the first answer: ${spread(starts, 0)} ms with one key in the keyring, ${spread(startsManyKeys, 0)} ms with 1,000.${withCertificates}`;
  }
  return `## Memory and start

${table(["", "MB under load (64 connections)"], rows)}${own}`;
}

/** One answer, as it stands: status, raw fields and body. */
function answerOf(port, authorization) {
  const headers = authorization === null ? {} : { authorization };
  return new Promise((resolve, reject) => {
    const asked = request({ port, host: "127.0.0.1", path: PATH, headers, agent: false }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => {
        const fields = [];
        // Date and Connection are node's own there as here.
        for (let i = 0; i < response.rawHeaders.length; i += 2) {
          if (!/^(date|connection|keep-alive)$/i.test(response.rawHeaders[i]))
            fields.push(...response.rawHeaders.slice(i, i + 2));
        }
        resolve({ status: response.statusCode, headers: fields, body: Buffer.concat(chunks).toString() });
      });
    });
    asked.on("error", reject).end();
  });
}

function heading({ rounds, seconds }, left) {
  const versions = [
    `node ${process.version}`,
    versionOf("nginx", "-v"),
    versionOf("haproxy", "-v"),
    versionOf("caddy", "version")?.replace(/^/, "Caddy "),
    versionOf("wrk", "-v")?.replace(/ Copyright.*/, ""),
  ].filter(Boolean);
  const missing = left.length === 0 ? "" : `\n\nLeft out: ${left.join("; ")}.`;
  return `# Results

Written by \`npm run bench\`; how it is measured is in [README.md](README.md). Ratios carry over to other machines, times do not.

- ${new Date().toISOString().slice(0, 10)}, ${cpus().length} x ${cpus()[0].model}${LOAD_CPU === 0 ? ", gateway and load on the same CPU: nothing here can be trusted" : ""}
- load average of the machine when it began: ${LOAD_BEFORE.map((load) => load.toFixed(1)).join(", ")} (1, 5, 15 minutes)
- ${versions.join("; ")}
- ${rounds} rounds of ${seconds} s each, in turns; median [least-greatest]; ratios are medians of the rounds' own${missing}`;
}
