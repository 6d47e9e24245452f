// Large bodies both ways, a gigabyte at once, and the messages of WebSockets.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { truncateSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { saturate } from "./load.mjs";
import { cpuMicroseconds, freePort, LOAD_CPU, listening, residentBytes, start, stop } from "./processes.mjs";
import { median, ratio, rotated, spread, table } from "./statistics.mjs";
import { SECRETS, startNginxForBodies, startNginxForWebSockets, startSentinel, startUpstream } from "./targets.mjs";

const MEGABYTE = 1024 * 1024;
const GIGABYTE = 1024 * MEGABYTE;
const ROUNDS = 3;
const SECONDS = 3;
const SINK = fileURLToPath(new URL("sink.mjs", import.meta.url));
const WEBSOCKET = fileURLToPath(new URL("websocket.mjs", import.meta.url));

export async function bodies({ root }, { folder }) {
  writeFileSync(join(folder, "megabyte"), Buffer.alloc(MEGABYTE, "x"));
  writeFileSync(join(folder, "gigabyte"), "");
  truncateSync(join(folder, "gigabyte"), GIGABYTE);
  writeFileSync(join(folder, "upload.lua"), `wrk.method = "POST"; wrk.body = string.rep("x", ${MEGABYTE})`);
  const upstream = await startUpstream(folder);
  const sink = { port: await freePort() };
  const sinkChild = start(LOAD_CPU, process.execPath, [SINK, String(sink.port)]);
  if (!(await listening(sinkChild, sink.port))) throw new Error("the upstream for uploads did not start");
  const context = { folder, upstream, sink };
  const upstreams = [upstreamOf("bench", upstream), upstreamOf("sink", sink)];
  const sentinel = await startSentinel("sentinel", root, { ...context, overrides: { routes: ROUTES, upstreams } });
  const nginx = await startNginxForBodies(context);
  if (sentinel.missing) throw new Error(sentinel.missing);
  const targets = nginx.missing ? [sentinel] : [nginx, sentinel];
  const authorization = `Bearer ${SECRETS[0]}`;
  const down = { name: "1 MB down", path: "/v2/files/megabyte", authorization, connections: 8 };
  const up = {
    name: "1 MB up",
    path: "/v2/sink",
    authorization,
    connections: 8,
    script: join(folder, "upload.lua"),
  };
  const sections = [
    await perMegabyte(down, targets),
    await perMegabyte(up, targets),
    await gigabytes(sentinel, authorization),
  ];
  for (const { child } of [...targets, upstream]) await stop(child);
  await stop(sinkChild);
  sections.push(await webSockets(root, folder, authorization));
  return `## Large bodies, WebSockets

${sections.join("\n\n")}`;
}

const ROUTES = [
  { name: "files", match: { pathPrefix: "/v2/files" }, upstream: "bench" },
  { name: "sink", match: { path: "/v2/sink" }, maxBodySize: "2GiB", upstream: "sink" },
];

const upstreamOf = (name, { port }) => ({ name, targets: [`http://127.0.0.1:${port}`] });

async function perMegabyte(scenario, targets) {
  const costs = new Map(targets.map(({ name }) => [name, []]));
  for (const target of targets) await saturate(target, scenario, 1);
  for (let round = 0; round < ROUNDS; round++) {
    for (const target of rotated(targets, round))
      costs.get(target.name).push((await saturate(target, scenario, SECONDS)).microseconds);
  }
  const base = costs.get(targets[0].name);
  const rows = [...costs].map(([name, all]) => [name, spread(all, 0), ratio(all, base).toFixed(2)]);
  return table([`${scenario.name}, 8 connections`, "CPU us/MB", `x ${targets[0].name}`], rows);
}

/** One body of a gigabyte: what the gateway takes for it beyond what it had. */
async function gigabytes(target, authorization) {
  const rows = [];
  for (const [name, options] of [
    ["down", { path: "/v2/files/gigabyte", method: "GET" }],
    ["up", { path: "/v2/sink", method: "POST" }],
  ]) {
    const before = residentBytes(target.pid);
    let most = before;
    const watch = setInterval(() => {
      most = Math.max(most, residentBytes(target.pid));
    }, 50);
    const began = performance.now();
    const bytes = await transfer({ ...options, host: "127.0.0.1", port: target.port, headers: { authorization } });
    clearInterval(watch);
    if (bytes !== GIGABYTE) throw new Error(`1 GB ${name}: ${bytes} bytes`);
    const perSecond = GIGABYTE / MEGABYTE / ((performance.now() - began) / 1000);
    rows.push([name, ((most - before) / MEGABYTE).toFixed(0), perSecond.toFixed(0)]);
  }
  return table(["1 GB, one request", "MB more at most", "MB/s"], rows);
}

/** Bytes received, or sent. */
function transfer(options) {
  return new Promise((resolve, reject) => {
    let bytes = 0;
    const uploads = options.method === "POST";
    const headers = { ...options.headers, ...(uploads && { "content-length": GIGABYTE }) };
    const asked = request({ ...options, headers, agent: false }, (response) => {
      response.on("data", (chunk) => {
        if (!uploads) bytes += chunk.length;
      });
      response.on("end", () =>
        response.statusCode === 200 ? resolve(bytes) : reject(new Error(`status ${response.statusCode}`)),
      );
      response.on("error", reject);
    });
    asked.on("error", reject);
    if (!uploads) {
      asked.end();
      return;
    }
    const chunk = Buffer.alloc(64 * 1024);
    const more = () => {
      while (bytes < GIGABYTE) {
        bytes += chunk.length;
        if (!asked.write(chunk)) return;
      }
      asked.end();
    };
    asked.on("drain", more);
    more();
  });
}

/** Messages of 64 bytes over 64 connections, each sent back by the upstream: two messages through the gateway. */
async function webSockets(root, folder, authorization) {
  const port = await freePort();
  const child = start(LOAD_CPU, process.execPath, [WEBSOCKET, "echo", String(port)]);
  if (!(await listening(child, port))) throw new Error("the WebSocket upstream did not start");
  const upstream = { port };
  const routes = [{ name: "socket", match: { path: "/v2/socket" }, websocket: true, upstream: "bench" }];
  const sentinel = await startSentinel("sentinel", root, { folder, upstream, overrides: { routes } });
  const nginx = await startNginxForWebSockets({ folder, upstream });
  const targets = nginx.missing ? [sentinel] : [nginx, sentinel];
  const costs = new Map(targets.map(({ name }) => [name, []]));
  for (let round = 0; round <= ROUNDS; round++) {
    for (const target of rotated(targets, round)) {
      const before = cpuMicroseconds(target.pid);
      const echoes = await echo(target.port, authorization);
      // The first round warms up.
      if (round > 0) costs.get(target.name).push((cpuMicroseconds(target.pid) - before) / echoes / 2);
    }
  }
  for (const target of targets) await stop(target.child);
  await stop(child);
  const rows = [...costs].map(([name, all]) => [name, spread(all), (2 * median(all)).toFixed(1)]);
  return table(["WebSocket, 64 connections", "CPU us/message", "us for there and back"], rows);
}

async function echo(port, authorization) {
  const args = [
    "-c",
    String(LOAD_CPU),
    process.execPath,
    WEBSOCKET,
    "load",
    String(port),
    authorization,
    String(SECONDS),
  ];
  const child = spawn("taskset", args, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (chunk) => {
    text += chunk;
  });
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`the WebSocket load ended with ${code}`);
  return Number(text);
}
