// What the measurements of keys in Redis share: a Redis, gateways, an upstream, and clients.
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, createServer, request } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

const SENTINEL = resolve(import.meta.dirname, "../dist/sentinel.js");
const closers = [];
export const dir = mkdtempSync(join(tmpdir(), "sentinel-bench-"));

export async function freePort() {
  const server = createTcpServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

export async function startRedis() {
  const port = await freePort();
  const args = ["--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no"].map(String);
  let child;
  const launch = async () => {
    child = spawn("redis-server", args, { stdio: ["ignore", "pipe", "inherit"] });
    await said(child, /Ready to accept connections/);
  };
  await launch();
  closers.push(() => child.kill("SIGKILL"));
  const cli = async (...command) =>
    (await promisify(execFile)("redis-cli", ["-p", String(port), ...command])).stdout.trim();
  const signal = (name) => child.kill(name);
  return { port, pid: child.pid, url: `redis://127.0.0.1:${port}`, cli, signal, restart: launch };
}

export async function startUpstream() {
  const server = createServer((_request, response) => response.end("ok")).listen(0, "127.0.0.1");
  server.keepAliveTimeout = 60_000;
  await once(server, "listening");
  closers.push(() => server.closeAllConnections());
  closers.push(() => server.close());
  return server.address().port;
}

/** Writes a configuration with a redis source, and gives the file's name. */
export async function writeConfig(redis, upstream, cache = {}) {
  const [port, admin] = [await freePort(), await freePort()];
  const file = join(dir, `sentinel-${port}.yaml`);
  const config = {
    listen: `127.0.0.1:${port}`,
    admin: { listen: `127.0.0.1:${admin}` },
    log: { level: "warn", sampleSuccess: 0 },
    drain: { delay: "1ms", timeout: "1s" },
    keys: { source: { type: "redis" }, cache },
    redis: { url: redis.url },
    upstreams: [{ name: "bench", targets: [`http://127.0.0.1:${upstream}`] }],
    routes: [{ name: "all", match: { pathPrefix: "/" }, permissions: "api.bench.read_api", upstream: "bench" }],
  };
  writeFileSync(file, JSON.stringify(config)); // JSON is YAML.
  return { file, port, admin };
}

/** `nodeOptions` are node's own, as `--expose-gc`. */
export async function startGateway(config, nodeOptions = []) {
  const startedAt = performance.now();
  const child = spawn(process.execPath, [...nodeOptions, SENTINEL, "start", "-c", config.file], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  closers.push(() => child.kill("SIGKILL"));
  for (;;) {
    const status = await get(config.admin, "/readyz").catch(() => 0);
    if (status === 200) break;
    if (child.exitCode !== null) throw new Error(`the gateway ended with ${child.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return { ...config, pid: child.pid, readyMs: performance.now() - startedAt };
}

/** Runs `sentinel ...` and gives what it printed, as JSON where it is. */
export async function sentinel(...args) {
  const { stdout } = await promisify(execFile)(process.execPath, [SENTINEL, ...args], { maxBuffer: 1 << 30 });
  return stdout.startsWith("{") || stdout.startsWith("[") ? JSON.parse(stdout) : stdout;
}

const agent = new Agent({ keepAlive: true, maxSockets: 256 });
closers.push(() => agent.destroy());

/** The status of one request; the answer's body is read. */
export function get(port, path, key) {
  return new Promise((resolve, reject) => {
    const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
    const outgoing = request({ host: "127.0.0.1", port, path, agent, headers }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode));
      response.on("error", reject);
    });
    outgoing.on("error", reject);
    outgoing.end();
  });
}

export function madeUpKey() {
  return `unkey_${randomBytes(15).toString("hex").slice(0, 24)}`;
}

export function quantile(values, q) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

/** Resident memory of a process in MiB. */
export function residentMiB(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
}

/** For `startGateway`: with these the gateway collects its garbage when `heldMiB` asks. */
export const COLLECTS = ["--expose-gc", "--import", 'data:text/javascript,process.on("SIGUSR2",()=>gc())'];

/** What a gateway that COLLECTS holds, in MiB: resident memory without the garbage that V8 had no reason to collect yet. */
export async function heldMiB({ pid, admin }) {
  for (let round = 0; round < 3; round += 1) {
    process.kill(pid, "SIGUSR2");
    // The signal may be taken up behind the first of two answers, not behind the second.
    for (let asked = 0; asked < 2; asked += 1) await get(admin, "/livez");
  }
  return residentMiB(pid);
}

/** Seconds of CPU that a process has used. */
export function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

process.on("uncaughtException", (error) => {
  console.error(error);
  close();
  process.exit(1);
});

export function close() {
  for (const step of closers.splice(0).reverse()) step();
  rmSync(dir, { recursive: true, force: true });
}

/** `name value` lines, aligned. */
export function print(title, rows) {
  const width = Math.max(...Object.keys(rows).map((name) => name.length));
  console.log(`\n${title}`);
  for (const [name, value] of Object.entries(rows)) console.log(`  ${name.padEnd(width)}  ${value}`);
}

async function said(child, words) {
  let text = "";
  for await (const chunk of child.stdout) {
    text += chunk;
    if (words.test(text)) break;
  }
  child.stdout.resume();
}
