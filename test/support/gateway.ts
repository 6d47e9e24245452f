import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { stringify } from "yaml";
import { endWithTests } from "./children.ts";
import type { Keyring } from "./keyring.ts";

/** What a gateway is started with. Members that are left out get values that suit a test. */
export interface GatewayOptions {
  /** The configuration, as an object or as YAML text. `listen` and `admin.listen` become port 0 unless given. */
  readonly config: string | Readonly<Record<string, unknown>>;
  /** Written to `keys.yaml` beside the configuration; an object `config` without `keys` then uses it. */
  readonly keyring?: string | Keyring;
  readonly env?: Readonly<Record<string, string>>;
  /** More files in the configuration's folder, by name. */
  readonly files?: Readonly<Record<string, string>>;
  /** Log records of level error, and lines on stderr, that are part of the test; all others fail `stop()`. */
  readonly expectedErrors?: (record: GatewayRecord) => boolean;
  /** Options for node itself, as `--max-old-space-size=64`. */
  readonly nodeOptions?: readonly string[];
  /** At most so many open descriptors (`ulimit -n`). */
  readonly descriptors?: number;
  /**
   * Which program to run in place of `dist/sentinel.js start -c FILE` (or of the one that SENTINEL_PROGRAM names); gets
   * the folder and gives node's arguments.
   */
  readonly program?: (folder: string) => readonly string[];
}

/** One line of the gateway's output. A line that is not JSON is `{ level: "error", text }`. */
export interface GatewayRecord {
  readonly [member: string]: unknown;
}

/** A running gateway process, and everything it said. */
export interface RunningGateway {
  readonly pid: number;
  /** The client port. */
  readonly port: number;
  readonly adminPort: number;
  /** `http://127.0.0.1:PORT` and the admin port's. */
  readonly origin: string;
  readonly adminOrigin: string;
  /** The folder with `sentinel.yaml` and `keys.yaml`. */
  readonly folder: string;
  /** Everything logged so far, in order. */
  logs(): readonly GatewayRecord[];
  /** The first record that matches, once it is there. Rejects after `timeoutMs` (5,000) or when the process ends. */
  waitForRecord(matches: (record: GatewayRecord) => boolean, timeoutMs?: number): Promise<GatewayRecord>;
  /** Tells of each record from now on; gives the way to stop. */
  onRecord(listener: (record: GatewayRecord) => void): () => void;
  /** Stdout and stderr as bytes, to search for secrets. */
  output(): string;
  /** How many sockets the process holds (Linux). */
  sockets(): number;
  /** Resident memory in bytes (Linux). */
  rssBytes(): number;
  signal(name: NodeJS.Signals): void;
  /** Stops reading stdout, as a log sink that hangs; false reads again. */
  holdOutput(hold: boolean): void;
  /** The process' end: its exit code, or null where a signal ended it. */
  readonly exited: Promise<number | null>;
  readonly alive: boolean;
  /** SIGTERM, then waits. Throws when it ended otherwise than with 0 or an unexpected error was logged. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Runs the built gateway as a child process on port 0 and resolves when it listens. Whoever starts it stops it:
 * `afterAll(() => gateway.stop())`, or `await using`-like at the end of a test.
 */
export async function startGateway(options: GatewayOptions): Promise<RunningGateway> {
  const folder = mkdtempSync(join(tmpdir(), "sentinel-test-"));
  writeFileSync(join(folder, "sentinel.yaml"), configText(options));
  if (options.keyring !== undefined) writeFileSync(join(folder, "keys.yaml"), asYaml(options.keyring));
  for (const [name, text] of Object.entries(options.files ?? {})) writeFileSync(join(folder, name), text);

  const program = options.program?.(folder) ?? [
    resolve(process.env.SENTINEL_PROGRAM ?? "dist/sentinel.js"),
    "start",
    "-c",
    join(folder, "sentinel.yaml"),
  ];
  const command = [process.execPath, ...(options.nodeOptions ?? []), ...program];
  const limited = ["/bin/sh", "-c", `ulimit -n ${options.descriptors}; exec "$@"`, "sh", ...command];
  const [file = "", ...args] = options.descriptors === undefined ? command : limited;
  const child = endWithTests(
    spawn(file, args, {
      cwd: folder,
      env: { ...process.env, NODE_ENV: "production", ...options.env },
      stdio: "pipe",
    }),
  );
  child.stdin.end();
  const gateway = new GatewayProcess(child, folder, options.expectedErrors ?? (() => false));
  try {
    await gateway.listening();
  } catch (error) {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
  return gateway;
}

function configText({ config, keyring }: GatewayOptions): string {
  if (typeof config === "string") return config;
  return stringify({
    listen: "127.0.0.1:0",
    admin: { listen: "127.0.0.1:0" },
    drain: { delay: "0ms", timeout: "2s" },
    ...(keyring !== undefined && { keys: { source: { type: "file", path: "./keys.yaml" } } }),
    ...config,
    // A busy machine is not the overload of a gateway: only a test of that asks for it.
    limits: { maxEventLoopDelay: "0ms", ...(config.limits as object | undefined) },
  });
}

function asYaml(value: unknown): string {
  return typeof value === "string" ? value : stringify(value);
}

class GatewayProcess implements RunningGateway {
  readonly folder: string;
  readonly exited: Promise<number | null>;
  port = 0;
  adminPort = 0;
  alive = true;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #expected: (record: GatewayRecord) => boolean;
  readonly #records: GatewayRecord[] = [];
  readonly #listeners = new Set<(record: GatewayRecord) => void>();
  readonly #chunks: string[] = [];
  #stopping: Promise<void> | null = null;

  constructor(
    child: ChildProcessWithoutNullStreams,
    folder: string,
    expectedErrors: (record: GatewayRecord) => boolean,
  ) {
    this.#child = child;
    this.folder = folder;
    this.#expected = expectedErrors;
    readLines(child.stdout, (text) => this.#take(text, parseRecord(text)));
    readLines(child.stderr, (text) => this.#take(text, { level: "error", stderr: true, text }));
    this.exited = new Promise((done) => {
      child.once("close", (code) => {
        this.alive = false;
        done(code);
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get adminOrigin(): string {
    return `http://127.0.0.1:${this.adminPort}`;
  }

  async listening(): Promise<void> {
    const record = await this.waitForRecord((line) => line.event === "listening", 15_000);
    this.port = portOf(record.address);
    this.adminPort = portOf(record.admin);
  }

  logs(): readonly GatewayRecord[] {
    return this.#records;
  }

  onRecord(listener: (record: GatewayRecord) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  waitForRecord(matches: (record: GatewayRecord) => boolean, timeoutMs = 5000): Promise<GatewayRecord> {
    const known = this.#records.find(matches);
    if (known !== undefined) return Promise.resolve(known);
    return new Promise((found, failed) => {
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        stopListening();
        settle();
      };
      const stopListening = this.onRecord((record) => {
        if (matches(record)) finish(() => found(record));
      });
      const timer = setTimeout(
        () =>
          finish(() => failed(new Error(`no such record within ${timeoutMs} ms; the gateway said:\n${this.output()}`))),
        timeoutMs,
      );
      this.exited.then((code) =>
        finish(() => failed(new Error(`the gateway ended with ${code} before such a record:\n${this.output()}`))),
      );
    });
  }

  output(): string {
    return this.#chunks.join("\n");
  }

  sockets(): number {
    let count = 0;
    for (const fd of readdirSync(`/proc/${this.pid}/fd`)) {
      if (linkOf(`/proc/${this.pid}/fd/${fd}`).startsWith("socket:")) count += 1;
    }
    return count;
  }

  rssBytes(): number {
    return rssOf(this.pid);
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  holdOutput(hold: boolean): void {
    if (hold) this.#child.stdout.pause();
    else this.#child.stdout.resume();
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const diedEarlier = !this.alive;
    const deadline = setTimeout(() => this.#child.kill("SIGKILL"), 15_000);
    this.#child.kill("SIGTERM");
    const code = await this.exited;
    clearTimeout(deadline);
    rmSync(this.folder, { recursive: true, force: true });
    if (diedEarlier) throw new Error(`the gateway had died with ${code}:\n${tail(this.output())}`);
    if (code !== 0) throw new Error(`the gateway ended with ${code} after SIGTERM:\n${tail(this.output())}`);
    const unexpected = this.unexpectedErrors();
    if (unexpected.length > 0) {
      throw new Error(
        `the gateway logged unexpected errors:\n${unexpected.map((line) => JSON.stringify(line)).join("\n")}`,
      );
    }
  }

  unexpectedErrors(): GatewayRecord[] {
    return this.#records.filter((record) => isError(record) && !this.#expected(record));
  }

  #take(text: string, record: GatewayRecord): void {
    this.#chunks.push(text);
    this.#records.push(record);
    for (const listener of [...this.#listeners]) listener(record);
  }
}

/** Level error or fatal, as a word or as pino's number. */
function isError(record: GatewayRecord): boolean {
  const { level } = record;
  return level === "error" || level === "fatal" || (typeof level === "number" && level >= 50);
}

/** Resident memory of a process, in bytes (Linux). */
export function rssOf(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readProc(`/proc/${pid}/status`));
  return Number(line?.[1] ?? 0) * 1024;
}

function readProc(path: string): string {
  return readFileSync(path, "latin1");
}

/** A descriptor may be closed between listing and reading it; then it is no socket any more. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

function parseRecord(text: string): GatewayRecord {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as GatewayRecord;
  } catch {
    // Not JSON: reported below as an error record, which fails the test unless it expected the line.
  }
  return { level: "error", text };
}

function readLines(stream: NodeJS.ReadableStream, onLine: (text: string) => void): void {
  let rest = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line !== "") onLine(line);
  });
  stream.on("end", () => {
    if (rest !== "") onLine(rest);
  });
}

/** The port of `127.0.0.1:1234`, `http://127.0.0.1:1234` or `{ port }`. */
function portOf(address: unknown): number {
  if (typeof address === "object" && address !== null && "port" in address) return Number(address.port);
  return Number(/:(\d+)\/?$/.exec(String(address))?.[1] ?? 0);
}

function tail(text: string): string {
  return text.length > 4000 ? `...${text.slice(-4000)}` : text;
}
