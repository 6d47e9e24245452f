import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { dirname, resolve } from "node:path";
import { afterEach, expect, it } from "vitest";
import { endWithTests } from "../support/children.ts";
import { freePort } from "../support/free-port.ts";
import { runCommand } from "./support.ts";

interface Demo {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  /** What it printed for whoever tries it. */
  readonly text: string;
}

let demo: Demo | null = null;
afterEach(async () => {
  demo?.child.kill();
  await demo?.exited;
  demo = null;
});

function startDemo(...args: readonly string[]): Promise<Demo> {
  return start(process.execPath, resolve("dist/sentinel.js"), "demo", ...args);
}

async function start(command: string, ...args: readonly string[]): Promise<Demo> {
  const child = endWithTests(spawn(command, args, { stdio: ["ignore", "pipe", "ignore"] }));
  const exited = once(child, "exit").then(([code]) => code as number | null);
  let text = "";
  for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
    text += chunk;
    if (text.includes("Ctrl-C ends the demo.")) break;
  }
  demo = { child, exited, text };
  return demo;
}

/** The status and the last part of the error's type that a printed curl line gets. */
function ask(line: string): Promise<string> {
  const [, method = "GET", url = "", field = ""] =
    /^curl -i (?:-X (\S+) )?(\S+)(?: -H 'Authorization: ([^']*)')?$/.exec(line) ?? [];
  return new Promise((answered, failed) => {
    const headers = field === "" ? {} : { Authorization: field };
    const sent = request(url, { method, headers, agent: false }, async (response) => {
      const body = JSON.parse(Buffer.concat(await response.toArray()).toString()) as { error?: { type: string } };
      answered([response.statusCode, body.error?.type.split("/").at(-1)].join(" ").trim());
    });
    sent.on("error", failed);
    sent.end();
  });
}

it("each curl line of the demo gets what is written above it", async () => {
  const { text } = await startDemo("--port", String(await freePort()));
  const tries = [...text.matchAll(/# (\d{3}(?: \w+)?): .*\n {2}(curl .*)\n/g)];
  expect(tries).toHaveLength(7);
  for (const [, said, line = ""] of tries) expect(await ask(line), line).toBe(said);
});

/** Where the files of a demo are. */
function folderOf({ text }: Demo): string {
  return dirname(/explain -c '([^']+)'/.exec(text)?.[1] ?? "");
}

it.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("%s ends the demo, and its files are gone", async (signal) => {
  const started = await startDemo("--port", String(await freePort()));
  expect(existsSync(folderOf(started))).toBe(true);
  started.child.kill(signal);
  expect(await started.exited).toBe(0);
  expect(existsSync(folderOf(started))).toBe(false);
});

it("a SIGINT that npm passes on, behind the terminal's own, changes nothing: the files are gone", async () => {
  const port = await freePort();
  const started = await startDemo("--port", String(port));
  // A connection that has just been busy is given a second.
  const client = connect(port, "127.0.0.1");
  client.write("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
  await once(client, "data");
  started.child.kill("SIGINT");
  while (await takes(port));
  started.child.kill("SIGINT");
  expect(await started.exited).toBe(0);
  expect(existsSync(folderOf(started))).toBe(false);
  client.destroy();
});

it("a signal to what npm starts is one to the demo: no shell is left in between", async () => {
  const { scripts } = JSON.parse(readFileSync("package.json", "utf8")) as { scripts: Record<string, string> };
  const [build, run] = scripts.demo?.split(" && ") ?? [];
  expect(build).toBe("npm run --silent build");
  const started = await start("sh", "-c", `true && ${run} --port ${await freePort()}`);
  started.child.kill("SIGTERM");
  expect(await started.exited).toBe(0);
  expect(existsSync(folderOf(started))).toBe(false);
});

/** Whether the demo takes connections still. */
async function takes(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  const taken = await once(socket, "connect").then(
    () => true,
    () => false,
  );
  socket.destroy();
  return taken;
}

it("the demo goes elsewhere where its port is taken, unless it was told which", async () => {
  const taken = createServer().listen(8080, "127.0.0.1");
  await Promise.race([once(taken, "listening"), once(taken, "error")]);
  const { text } = await startDemo();
  expect(text).toMatch(/an echo server at http:\/\/127\.0\.0\.1:(?!8080\.)\d+\./);
  taken.close();
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  const { status, err } = await runCommand(["demo", "--port", String(port)]);
  other.close();
  expect([status, err]).toEqual([1, `The address 127.0.0.1:${port} is in use.\n`]);
});

it.each(["0", "65536", "http", ""])("the demo takes no port %j", async (port) => {
  const { status, err } = await runCommand(["demo", "--port", port]);
  expect([status, err]).toEqual([2, `'${port}' is not a port: use 1 to 65535.\n`]);
});
