// Starting and ending what is measured, and reading what it used. Linux only: it reads /proc.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { cpus } from "node:os";

// Whatever is started inherits it: thousands of clients, and a connection to the upstream for each.
spawnSync("prlimit", ["--pid", String(process.pid), "--nofile=40000:"]);

// Node 20 reads the certificates it names before anything else, in every process: that is this machine's, not the gateway's.
const { NODE_EXTRA_CA_CERTS: extraCertificates } = process.env;
delete process.env.NODE_EXTRA_CA_CERTS;

/** The file that NODE_EXTRA_CA_CERTS named when the run began; null: it named none. No process has it unless it is given. */
export const EXTRA_CERTIFICATES = extraCertificates ?? null;

const started = new Set();
process.on("exit", () => {
  // Not SIGKILL: nginx would leave its worker behind.
  for (const child of started) child.kill("SIGTERM");
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

/** The gateways run on one CPU, the load and the upstream on another: they may not take time from what is measured. */
export const GATEWAY_CPU = 0;
export const LOAD_CPU = cpus().length > 1 ? 1 : 0;

/** Runs a command pinned to a CPU; what it says goes nowhere, as its access log does. */
export function start(cpu, command, args, options = {}) {
  const child = spawn("taskset", ["-c", String(cpu), command, ...args], { stdio: "ignore", ...options });
  started.add(child);
  child.once("exit", () => started.delete(child));
  return child;
}

export async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 3000);
  await once(child, "exit");
  clearTimeout(timer);
}

export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Resolves when the port takes connections; false when the process ended or a minute passed. */
export async function listening(child, port) {
  for (const end = Date.now() + 60_000; Date.now() < end && child.exitCode === null; ) {
    if (await connects(port)) return true;
    await new Promise((done) => setTimeout(done, 1));
  }
  return false;
}

function connects(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

/** The process and all that descend from it. */
function tree(pid) {
  const parents = new Map();
  for (const name of readdirSync("/proc")) {
    if (/^\d+$/.test(name)) parents.set(Number(name), Number(statOf(name)?.[1] ?? 0));
  }
  const found = [pid];
  for (const of of found) for (const [child, parent] of parents) if (parent === of) found.push(child);
  return found;
}

/** The fields of /proc/PID/stat behind the name: state, parent ...; null when it is gone. */
function statOf(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return null;
  }
}

const TICKS_PER_SECOND = Number(spawnSync("getconf", ["CLK_TCK"], { encoding: "utf8" }).stdout) || 100;

/** User and system time of the whole tree so far, in microseconds. */
export function cpuMicroseconds(pid) {
  let ticks = 0;
  for (const of of tree(pid)) {
    const stat = statOf(of);
    if (stat !== null) ticks += Number(stat[11]) + Number(stat[12]);
  }
  return (ticks * 1e6) / TICKS_PER_SECOND;
}

/** Resident memory of the whole tree, in bytes. */
export function residentBytes(pid) {
  let kilobytes = 0;
  for (const of of tree(pid)) {
    try {
      kilobytes += Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${of}/status`, "utf8"))?.[1] ?? 0);
    } catch {
      // It ended between the two looks; it holds nothing any more.
    }
  }
  return kilobytes * 1024;
}

/** The first line a command prints about its version; null when it is not installed. */
export function versionOf(command, ...args) {
  const { error, stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
  return error === undefined ? `${stdout}${stderr}`.split("\n")[0].trim() : null;
}
