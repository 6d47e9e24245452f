import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./free-port.ts";
import { until } from "./key-parts.ts";
import { cli, untilReady } from "./redis.ts";

export interface TestNodes {
  /** `host:port` of each: of the sentinels, or of the cluster's nodes. */
  readonly hosts: readonly string[];
  /** Resolves when the replica has all that the master was told until now: no less is lost with it. */
  replicated(): Promise<void>;
  /** Kills the master (of slot 0, in a cluster): only from here on is one that does not answer taken for lost soon. */
  killMaster(): Promise<void>;
  /** Resolves when the replica has become the master. From here on one that does not answer is waited for again. */
  failedOver(): Promise<void>;
  close(): Promise<void>;
}

/** A machine that hangs for some seconds is not to lose its master, and with it what the replica was not told yet. */
const PATIENT_MS = 60_000;
const SOON_MS = 1000;

class Nodes {
  readonly dir = mkdtempSync(join(tmpdir(), "sentinel-ha-"));
  readonly children = new Map<number, ChildProcess>();

  async start(port: number, args: readonly string[]): Promise<void> {
    const dir = mkdtempSync(join(this.dir, "node-"));
    const own = ["--port", String(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no"];
    // A master waits five seconds for more replicas to come before it sends itself to the first.
    own.push("--repl-diskless-sync-delay", "0");
    this.children.set(port, await untilReady(spawn("redis-server", [...own, ...args], { stdio: OUTPUT })));
  }

  async startSentinel(port: number, masterPort: number): Promise<void> {
    const file = join(this.dir, `sentinel-${port}.conf`);
    const lines = [
      `port ${port}`,
      "bind 127.0.0.1",
      `dir ${this.dir}`,
      `sentinel monitor mymaster 127.0.0.1 ${masterPort} 2`,
      `sentinel down-after-milliseconds mymaster ${PATIENT_MS}`,
      "sentinel failover-timeout mymaster 5000",
      "sentinel parallel-syncs mymaster 1",
    ];
    writeFileSync(file, `${lines.join("\n")}\n`);
    this.children.set(port, await untilReady(spawn("redis-server", [file, "--sentinel"], { stdio: OUTPUT })));
  }

  async kill(port: number): Promise<void> {
    const child = this.children.get(port);
    this.children.delete(port);
    if (child === undefined || child.exitCode !== null) return;
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  }

  async close(): Promise<void> {
    await Promise.all([...this.children.keys()].map((port) => this.kill(port)));
    rmSync(this.dir, { recursive: true, force: true });
  }
}

const OUTPUT: ["ignore", "pipe", "inherit"] = ["ignore", "pipe", "inherit"];

/** A master, a replica, and three of Redis' own sentinels that watch them. */
export async function startFailover(): Promise<TestNodes> {
  const nodes = new Nodes();
  const [master = 0, replica = 0, ...sentinels] = await freePorts(5);
  await nodes.start(master, []);
  await nodes.start(replica, ["--replicaof", "127.0.0.1", String(master)]);
  await until("replicated", () => cli(replica, "INFO", "replication").includes("master_link_status:up"), 60_000);
  for (const port of sentinels) await nodes.startSentinel(port, master);
  const knows = (port: number) =>
    /num-slaves\n1\n[\s\S]*num-other-sentinels\n2\n/.test(cli(port, "SENTINEL", "MASTER", "mymaster"));
  await until("the sentinels know each other", () => sentinels.every(knows), 60_000);
  const wait = (ms: number) => {
    for (const port of sentinels) cli(port, "SENTINEL", "SET", "mymaster", "down-after-milliseconds", String(ms));
  };
  const masterAt = (port: number) => cli(port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster").split("\n")[1];
  return {
    hosts: sentinels.map((port) => `127.0.0.1:${port}`),
    replicated: () => hasAll(master),
    async killMaster() {
      wait(SOON_MS);
      await nodes.kill(master);
    },
    async failedOver() {
      const all = () => sentinels.every((port) => masterAt(port) === String(replica));
      await until("failed over", () => all() && isMaster(replica), FAILOVER_MS);
      wait(PATIENT_MS);
    },
    close: () => nodes.close(),
  };
}

/** A master, and one of the two of Redis' own sentinels that `hosts` names; the second is there once it is started. */
export async function startHalfWatched() {
  const nodes = new Nodes();
  const [master = 0, first = 0, second = 0] = await freePorts(3);
  await nodes.start(master, []);
  await nodes.startSentinel(first, master);
  return {
    hosts: [first, second].map((port) => `127.0.0.1:${port}`),
    startSecond: () => nodes.startSentinel(second, master),
    close: () => nodes.close(),
  };
}

/** Three masters, and a replica for the first of them. */
export async function startCluster(): Promise<TestNodes> {
  const nodes = new Nodes();
  const ports = await freePorts(4);
  const args = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    String(SOON_MS),
    "--cluster-replica-validity-factor",
    "0",
  ];
  for (const port of ports) await nodes.start(port, [...args, "--cluster-port", String(await freePort())]);
  const [first = 0, second = 0, third = 0, replica = 0] = ports;
  const buses = ports.map((port) => cli(port, "CONFIG", "GET", "cluster-port").split("\n")[1] ?? "");
  const ranges = [
    [0, 5460],
    [5461, 10922],
    [10923, 16383],
  ];
  for (const [index, port] of [first, second, third].entries()) {
    const [from = 0, to = 0] = ranges[index] ?? [];
    cli(port, "CLUSTER", "ADDSLOTSRANGE", String(from), String(to));
    cli(port, "CLUSTER", "SET-CONFIG-EPOCH", String(index + 1));
  }
  for (const [index, port] of ports.entries()) {
    if (index > 0) cli(first, "CLUSTER", "MEET", "127.0.0.1", String(port), buses[index] ?? "");
  }
  const sees = (port: number, words: RegExp) => words.test(cli(port, "CLUSTER", "INFO"));
  await until("met", () => ports.every((port) => sees(port, /cluster_known_nodes:4/)), 60_000);
  await until("ok", () => [first, second, third].every((port) => sees(port, /cluster_state:ok/)), 60_000);
  await until(
    "replica knows",
    () => cli(replica, "CLUSTER", "REPLICATE", cli(first, "CLUSTER", "MYID")) === "OK",
    60_000,
  );
  await until("replicated", () => cli(replica, "INFO", "replication").includes("master_link_status:up"), 60_000);
  const wait = (ms: number, of: readonly number[]) => {
    for (const port of of) cli(port, "CONFIG", "SET", "cluster-node-timeout", String(ms));
  };
  wait(PATIENT_MS, ports);
  return {
    hosts: [first, second, third].map((port) => `127.0.0.1:${port}`),
    replicated: () => hasAll(first),
    async killMaster() {
      wait(SOON_MS, ports);
      await nodes.kill(first);
    },
    async failedOver() {
      const left = [second, third, replica];
      const all = () => left.every((port) => sees(port, /cluster_state:ok/));
      await until("failed over", () => isMaster(replica) && all(), FAILOVER_MS);
      wait(PATIENT_MS, left);
    },
    close: () => nodes.close(),
  };
}

/** What Redis may take for it on a machine that is busy with other things. */
const FAILOVER_MS = 160_000;

function isMaster(port: number): boolean {
  return cli(port, "ROLE").startsWith("master");
}

/** Until the one replica of a master has acknowledged what the master has sent by now. */
async function hasAll(master: number): Promise<void> {
  const offset = (field: RegExp) => Number(field.exec(cli(master, "INFO", "replication"))?.[1]);
  const sent = offset(/master_repl_offset:(\d+)/);
  await until("the replica has it all", () => offset(/slave0:.*offset=(\d+)/) >= sent, 60_000);
}

/** Ports a cluster node can have: its own bus is on another, given one. */
async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const port = await freePort();
    if (!ports.includes(port)) ports.push(port);
  }
  return ports;
}
