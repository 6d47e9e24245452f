import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { hashKey } from "../keys/bearer.ts";
import { createRootKey } from "../keys/key-id.ts";
import { CommandFailure, type CommandIo, EXIT, type ExitStatus } from "./exit.ts";
import { runUntilSignalled } from "./run.ts";

const PREFERRED_PORT = 8080;

/** Runs the demonstration until SIGINT or SIGTERM. Its files are in a temporary folder, gone at the end. */
export async function runDemo(port: string | null, io: CommandIo): Promise<ExitStatus> {
  const listenPort = port === null ? await freePort(PREFERRED_PORT) : parsePort(port);
  const folder = await mkdtemp(join(tmpdir(), "sentinel-demo-"));
  const echo = await startEcho();
  try {
    const keys = { full: createRootKey("unkey_"), narrow: createRootKey("unkey_") };
    const configPath = join(folder, "sentinel.yaml");
    await writeFile(join(folder, "keys.yaml"), keyring(keys), { mode: 0o600 });
    await writeFile(configPath, configuration(listenPort, (echo.address() as AddressInfo).port));
    return await runUntilSignalled(configPath, io, {
      logTo: "stderr",
      endsWithTerminal: true,
      onListening: () => io.out(instructions(`http://127.0.0.1:${listenPort}`, keys, configPath)),
    });
  } finally {
    echo.closeAllConnections();
    echo.close();
    await rm(folder, { recursive: true, force: true });
  }
}

interface DemoKeys {
  /** Granted everything that the demo's routes ask for. */
  readonly full: string;
  /** Granted reading of one API. */
  readonly narrow: string;
}

function keyring({ full, narrow }: DemoKeys): string {
  const now = new Date().toISOString();
  return stringify({
    workspaces: [{ id: "ws_demo", enabled: true }],
    roles: [{ name: "admin", permissions: ["api.*.read_api", "api.*.delete_api"] }],
    keys: [
      {
        id: "key_full",
        name: "Everything",
        hash: hashKey(full),
        workspaceId: "ws_demo",
        roles: ["admin"],
        createdAt: now,
      },
      {
        id: "key_narrow",
        name: "Reads api_1234",
        hash: hashKey(narrow),
        workspaceId: "ws_demo",
        permissions: ["api.api_1234.read_api"],
        createdAt: now,
      },
    ],
  });
}

function configuration(port: number, echoPort: number): string {
  return stringify({
    listen: `127.0.0.1:${port}`,
    admin: { listen: "127.0.0.1:0" },
    drain: { delay: "0ms", timeout: "2s" },
    keys: { source: { type: "file", path: "./keys.yaml" } },
    upstreams: [{ name: "echo", targets: [`http://127.0.0.1:${echoPort}`] }],
    routes: [
      {
        name: "read-api",
        match: { methods: ["GET"], path: "/apis/{apiId}" },
        permissions: "api.{path.apiId}.read_api",
        upstream: "echo",
      },
      {
        name: "delete-api",
        match: { methods: ["DELETE"], path: "/apis/{apiId}" },
        permissions: "api.{path.apiId}.delete_api",
        upstream: "echo",
      },
      { name: "health", match: { path: "/health" }, auth: "none", upstream: "echo" },
    ],
  });
}

function instructions(base: string, { full, narrow }: DemoKeys, configPath: string): string {
  const url = `${base}/apis/api_1234`;
  const unknown = createRootKey("unkey_");
  return `Sentinel guards an echo server at ${base}. Two keys were made for this run:

  ${full}   may read and delete every API
  ${narrow}   may read api_1234

Try, in another terminal:

  # 200: the key is good and has the permission
  curl -i ${url} -H 'Authorization: Bearer ${narrow}'

  # 401 missing: no credentials
  curl -i ${url}

  # 401 malformed: not 'Bearer', one space, the key
  curl -i ${url} -H 'Authorization: bearer ${narrow}'

  # 401 key_not_found: no such key
  curl -i ${url} -H 'Authorization: Bearer ${unknown}'

  # 403 insufficient_permissions: a good key without the permission
  curl -i -X DELETE ${url} -H 'Authorization: Bearer ${narrow}'

  # 200: the other key has it
  curl -i -X DELETE ${url} -H 'Authorization: Bearer ${full}'

  # 200: an open route
  curl -i ${base}/health

Why was it 403? Ask without sending it anywhere:

  npm run --silent sentinel -- explain -c '${configPath}' DELETE ${url} -H 'Authorization: Bearer ${narrow}'

Ctrl-C ends the demo.
`;
}

function startEcho(): Promise<Server> {
  const server = createServer(echoRequest);
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => resolve(server));
  });
}

/** Answers with what it was asked, so that what the gateway forwards can be seen. */
function echoRequest(request: IncomingMessage, response: ServerResponse): void {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("error", () => response.destroy());
  request.on("end", () => {
    const headers = Object.fromEntries(
      Object.entries(request.headers).map(([name, value]) => [name, shown(name, value)]),
    );
    const body = Buffer.concat(chunks).toString("utf8");
    response.writeHead(200, { "Content-Type": "application/json" });
    response.end(
      `${JSON.stringify({ upstream: "echo", method: request.method, target: request.url, headers, body }, null, 2)}\n`,
    );
  });
}

/** The secret reached the upstream, byte for byte; the echo says so without repeating it. */
function shown(name: string, value: string | string[] | undefined): unknown {
  if (name !== "authorization" || typeof value !== "string") return value;
  return `${value.slice(0, "Bearer unkey_".length + 4)}... (${value.length} characters)`;
}

function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port >= 1 && port <= 65535) return port;
  throw new CommandFailure(EXIT.usage, `'${text}' is not a port: use 1 to 65535.`);
}

/** `preferred` where it is free, else one that the system gives. */
async function freePort(preferred: number): Promise<number> {
  return (await tryPort(preferred)) ?? (await tryPort(0)) ?? preferred;
}

function tryPort(port: number): Promise<number | null> {
  const probe = createServer();
  return new Promise((resolve) => {
    probe.once("error", () => resolve(null));
    probe.listen(port, "127.0.0.1", () => {
      const free = (probe.address() as AddressInfo).port;
      probe.close(() => resolve(free));
    });
  });
}
