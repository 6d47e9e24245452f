import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect } from "vitest";
import { connectRedis, type RedisConnection } from "../../src/keys/redis-connection.ts";
import { endWithTests } from "./children.ts";
import { freePort } from "./free-port.ts";
import { hasProgram } from "./programs.ts";

/** Whether this machine has a redis-server. In CI it must. */
const installed = hasProgram("redis-server");

/** `describe`, or its skipping twin where there is no redis-server. */
export const describeRedis = installed ? describe : describe.skip;

export interface TestRedis {
  readonly port: number;
  readonly url: string;
  readonly pid: number;
  /** Sends one command over a connection of its own and gives its answer as redis-cli would print it. */
  cli(...args: string[]): string;
  /** The same without holding up this process: for tests that run at once. */
  run(...args: string[]): Promise<string>;
  freeze(): void;
  thaw(): void;
  /** Ends it at once; `restart` brings it back on the same port, empty unless it was saved. */
  kill(): Promise<void>;
  restart(): Promise<void>;
  /** Restarts it with what was saved and resolves while it still loads. */
  restartLoading(args: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

/** Starts a real redis-server on a free port, with a directory of its own; nothing is written to disk unless asked. */
export async function startRedis(args: readonly string[] = []): Promise<TestRedis> {
  const dir = mkdtempSync(join(tmpdir(), "sentinel-redis-"));
  const port = await freePort();
  let child = await launch(port, dir, args);

  async function kill(): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  }
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    get pid() {
      return child.pid ?? 0;
    },
    cli: (...command) => cli(port, ...command),
    run: (...command) =>
      new Promise((resolve, reject) => {
        const args = ["-p", String(port), ...command];
        execFile("redis-cli", args, (error, stdout) => (error === null ? resolve(stdout.trim()) : reject(error)));
      }),
    freeze: () => void child.kill("SIGSTOP"),
    thaw: () => void child.kill("SIGCONT"),
    kill,
    async restart() {
      await kill();
      child = await launch(port, dir, args);
    },
    async restartLoading(more) {
      await kill();
      child = await launch(port, dir, [...args, ...more], /Server initialized/);
    },
    async close() {
      await kill();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** A connection of ours to it, that is up. */
export async function connectTo({ url }: TestRedis): Promise<RedisConnection> {
  const redis = await connectRedis(
    { url, keyPrefix: "sentinel:", commandTimeout: 5000 },
    { log: () => {}, mono: () => performance.now() },
  );
  expect(await redis.whenUp(5000)).toBe(true);
  return redis;
}

export function cli(port: number, ...command: string[]): string {
  const { stdout, stderr } = spawnSync("redis-cli", ["-p", String(port), ...command], { encoding: "utf8" });
  return stdout.trim() || stderr.trim();
}

async function launch(port: number, dir: string, args: readonly string[], words?: RegExp): Promise<ChildProcess> {
  const own = ["--port", String(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no"];
  return await untilReady(spawn("redis-server", [...own, ...args], { stdio: ["ignore", "pipe", "inherit"] }), words);
}

/** Resolves once the server says that it takes connections. */
export function untilReady(
  child: ChildProcess,
  words = /Ready to accept connections|# Sentinel ID is/,
): Promise<ChildProcess> {
  endWithTests(child);
  return new Promise((resolve, reject) => {
    let said = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-8192);
      if (words.test(said)) resolve(child);
    });
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}: ${said}`)));
  });
}

/** What a TCP shim does to what passes through it. */
export type Fault =
  | { readonly kind: "none" }
  /** Each chunk of an answer is held back so long. */
  | { readonly kind: "latency"; readonly ms: number }
  /** Connections stay open, nothing passes. */
  | { readonly kind: "freeze" }
  /** New connections are accepted and ended at once. */
  | { readonly kind: "refuse" }
  /** Answers arrive byte by byte. */
  | { readonly kind: "slice" }
  /** Answers are replaced by bytes that are not Redis' protocol. */
  | { readonly kind: "garbage" }
  /** The connection is reset in the middle of each answer. */
  | { readonly kind: "reset" };

export interface Shim {
  readonly port: number;
  readonly url: string;
  /** Takes effect on connections that are open, too. */
  set(fault: Fault): void;
  /** New connections lead there; those that are open stay where they are. */
  moveTo(targetPort: number): void;
  /** Ends every connection that is open. */
  cut(): void;
  close(): Promise<void>;
}

/** A TCP proxy in front of `targetPort` that can be told to misbehave. */
export async function startShim(targetPort: number): Promise<Shim> {
  let fault: Fault = { kind: "none" };
  let target = targetPort;
  const sockets = new Set<Socket>();
  const held: (() => void)[] = [];

  const server: Server = createServer((client) => {
    if (fault.kind === "refuse") {
      client.destroy();
      return;
    }
    const upstream = connect(target, "127.0.0.1");
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => {}); // Resets are what it is for.
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    const pass = (to: Socket, chunk: Buffer) => {
      if (fault.kind === "freeze") held.push(() => to.destroyed || to.write(chunk));
      else to.write(chunk);
    };
    client.on("data", (chunk) => pass(upstream, chunk));
    upstream.on("data", (chunk) => answer(client, chunk, pass));
  });

  function answer(client: Socket, chunk: Buffer, pass: (to: Socket, chunk: Buffer) => void): void {
    switch (fault.kind) {
      case "latency":
        setTimeout(() => client.destroyed || client.write(chunk), fault.ms);
        return;
      case "slice":
        for (const byte of chunk) client.write(Buffer.of(byte));
        return;
      case "garbage":
        client.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        return;
      case "reset":
        client.write(chunk.subarray(0, Math.ceil(chunk.length / 2)), () => client.resetAndDestroy());
        return;
      default:
        pass(client, chunk);
    }
  }

  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    set(next) {
      fault = next;
      if (next.kind !== "freeze") for (const release of held.splice(0)) release();
    },
    moveTo(port) {
      target = port;
    },
    cut() {
      for (const socket of sockets) socket.destroy();
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
