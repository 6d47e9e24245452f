import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { connect, type NetConnectOpts, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getRequestListener } from "@hono/node-server";
// @ts-expect-error it comes without types
import express5 from "express";
// @ts-expect-error it comes without types
import express4 from "express4";
import Fastify, { type FastifyServerOptions } from "fastify";
import { Hono } from "hono";
import { generateSpellings } from "./spellings.ts";

/** The Host that every request is sent with, and that absolute-form spellings name. */
export const HOST = "gw.test";

/** A spelling, and the servers that would hand it to what they guard as `/admin`. */
export interface DispatchedSpelling {
  readonly target: string;
  readonly servers: readonly string[];
}

/**
 * Which of the generated spellings would reach a handler at `/admin`, asked of real servers that run for as long as it
 * takes: nginx, Express 4 and 5, Fastify and Hono, and of a model of those that decode and normalise. What is said here
 * must not reach an upstream without a key. Throws without nginx where `CI` is set, else goes without it, and says so.
 */
export async function dispatchedSpellings(): Promise<readonly DispatchedSpelling[]> {
  const targets = generateSpellings(HOST);
  const servers = new Map<string, string[]>(targets.map((target) => [target, []]));
  for (const target of targets) if (isAdminToForgivingServer(target)) servers.get(target)?.push("decode and normalise");
  await Promise.all(
    SERVERS.map(async ({ name, start }) => {
      const running = await start();
      if (running === null) return;
      try {
        for (const target of await askAll(running.address, targets)) servers.get(target)?.push(name);
      } finally {
        await running.stop();
      }
    }),
  );
  return [...servers].flatMap(([target, names]) => (names.length > 0 ? [{ target, servers: names }] : []));
}

interface RunningServer {
  readonly address: NetConnectOpts;
  readonly stop: () => Promise<void>;
}

interface KnownServer {
  readonly name: string;
  /** Null: it is not to be had here. */
  readonly start: () => Promise<RunningServer | null>;
}

const SERVERS: readonly KnownServer[] = [
  { name: "nginx", start: async () => startNginx() },
  { name: "express 5", start: () => listen(expressApp(express5)) },
  { name: "express 4", start: () => listen(expressApp(express4)) },
  { name: "fastify", start: async () => listen(await fastifyApp({})) },
  { name: "fastify, forgiving", start: async () => listen(await fastifyApp({ routerOptions: FORGIVING })) },
  { name: "hono", start: () => listen(honoApp()) },
];

const FORGIVING = {
  caseSensitive: false,
  ignoreTrailingSlash: true,
  ignoreDuplicateSlashes: true,
  useSemicolonDelimiter: true,
};

const GUARDED = "guarded";

/** What only a guarded handler says, with the number of the request it answers. */
function answerGuarded(request: IncomingMessage, response: ServerResponse): void {
  response.setHeader("X-Handler", GUARDED);
  response.setHeader("X-Number", String(request.headers["x-number"]));
  response.end("guarded");
}

interface ExpressApp extends RequestListener {
  use(path: string, handler: RequestListener): void;
}

function expressApp(express: () => ExpressApp): RequestListener {
  const app = express();
  app.use("/admin", answerGuarded);
  return app;
}

async function fastifyApp(options: FastifyServerOptions): Promise<RequestListener> {
  const app = Fastify(options);
  for (const path of ["/admin", "/admin/*"]) {
    app.all(path, (request, reply) => {
      reply.hijack();
      answerGuarded(request.raw, reply.raw);
    });
  }
  await app.ready();
  return (request, response) => app.routing(request, response);
}

function honoApp(): RequestListener {
  const app = new Hono();
  app.all("/admin/*", (c) => {
    const headers = { "X-Handler": GUARDED, "X-Number": c.req.header("X-Number") ?? "" };
    return c.body("guarded", 200, headers);
  });
  return getRequestListener(app.fetch);
}

async function listen(handler: RequestListener): Promise<RunningServer> {
  const server: Server = createServer(handler);
  // Each pipelined answer that waits listens on the socket.
  server.on("connection", (socket) => socket.setMaxListeners(2 * PIPELINED));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  return {
    address: { host: "127.0.0.1", port: address.port },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const NGINX = "nginx";

/**
 * A prefix location takes `/admin`, `/admin.` and `/admin;x` alike; that it takes `/administrator` too is how prefix
 * locations are written, not another spelling.
 */
const NGINX_SERVER = `
  location /admin { add_header X-Handler ${GUARDED} always; add_header X-Number $http_x_number always; return 200 "guarded"; }
  location ~ "^/admin[. ]*[A-Za-z0-9_~-]" { return 200 "open"; }
  location / { return 200 "open"; }`;

function startNginx(): RunningServer | null {
  if (spawnSync(NGINX, ["-v"]).error !== undefined) {
    const advice = "nginx is not installed; without it the differential test asks one server less (apt install nginx)";
    if (process.env.CI === "true") throw new Error(advice);
    console.warn(advice);
    return null;
  }
  const folder = mkdtempSync(join(tmpdir(), "dispatch-"));
  const file = join(folder, "nginx.conf");
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder};`);
  writeFileSync(
    file,
    `pid ${folder}/pid; error_log /dev/null; worker_processes 1; events {}
     http { access_log off; ${temporary.join(" ")} large_client_header_buffers 4 16k;
       server { listen unix:${folder}/socket; ${NGINX_SERVER} } }`,
  );
  // In the background it returns once it listens.
  execFileSync(NGINX, ["-p", folder, "-c", file, "-e", "/dev/null"], { stdio: ["ignore", "ignore", "pipe"] });
  const pid = Number(readFileSync(join(folder, "pid"), "utf8"));
  const end = () => process.kill(pid, "SIGTERM");
  process.once("exit", end);
  return {
    address: { path: join(folder, "socket") },
    stop: async () => {
      process.off("exit", end);
      end();
      rmSync(folder, { recursive: true });
    },
  };
}

const LANES = 4;
const PIPELINED = 25;

/** The targets that the server's guarded handler answers. They are sent raw, pipelined, over a few connections. */
async function askAll(address: NetConnectOpts, targets: readonly string[]): Promise<string[]> {
  const guarded = new Set<number>();
  let next = 0;
  const lane = async () => {
    while (next < targets.length) {
      const first = next;
      next = Math.min(first + PIPELINED, targets.length);
      for (let at = first; at < next && at < first + PIPELINED; ) {
        const answers = await exchange(address, targets.slice(at, Math.min(first + PIPELINED, targets.length)), at);
        for (const answer of answers) if (answer !== null) guarded.add(answer);
        // A server that refuses a target may end the connection, with or without an answer.
        at += Math.max(1, answers.length);
      }
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return [...guarded].map((number) => targets[number] as string);
}

/** For each answer that came: the number of the request that the guarded handler answered, or null. */
function exchange(address: NetConnectOpts, targets: readonly string[], first: number): Promise<(number | null)[]> {
  return new Promise((resolve, reject) => {
    const answers: (number | null)[] = [];
    let buffered = "";
    const socket: Socket = connect(address);
    socket.setEncoding("latin1");
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "ECONNRESET" && error.code !== "EPIPE") reject(error);
    });
    socket.on("close", () => resolve(answers));
    socket.on("data", (chunk: string) => {
      buffered += chunk;
      for (let answer = readAnswer(buffered); answer !== null; answer = readAnswer(buffered)) {
        answers.push(answer.number);
        buffered = buffered.slice(answer.length);
      }
      if (answers.length >= targets.length) socket.destroy();
    });
    const requests = targets.map(
      (target, i) => `GET ${target} HTTP/1.1\r\nHost: ${HOST}\r\nX-Number: ${first + i}\r\n\r\n`,
    );
    socket.write(requests.join(""), "latin1");
  });
}

/** The first whole answer of the text; null until it is there. */
function readAnswer(text: string): { readonly length: number; readonly number: number | null } | null {
  const headEnd = text.indexOf("\r\n\r\n");
  if (headEnd === -1) return null;
  const head = text.slice(0, headEnd);
  const length = headEnd + 4 + bodyLength(head, text.slice(headEnd + 4));
  if (Number.isNaN(length) || text.length < length) return null;
  const isGuarded = new RegExp(`^X-Handler: ${GUARDED}$`, "im").test(head);
  return { length, number: isGuarded ? Number(/^X-Number: (\d+)$/im.exec(head)?.[1]) : null };
}

/** NaN until the end of a chunked body is there. */
function bodyLength(head: string, rest: string): number {
  const length = /^Content-Length: (\d+)$/im.exec(head)?.[1];
  if (length !== undefined) return Number(length);
  if (!/^Transfer-Encoding: chunked$/im.test(head)) return 0;
  const end = rest.indexOf("0\r\n\r\n");
  return end === -1 ? Number.NaN : end + 5;
}

/** A server that does everything at once that some server does: decodes, cuts, splits, trims and resolves. */
function isAdminToForgivingServer(target: string): boolean {
  const path = target.replace(/^https?:\/\/[^/?#]*/i, "").replace(/[?#].*$/, "");
  return [decodeOnce(path), decodeOnce(decodeOnce(path))].some((decoded) =>
    [decoded, decoded.replace(/[?#\0].*$/s, "")].some((text) => normalise(text)[0] === "admin"),
  );
}

function decodeOnce(path: string): string {
  return path.replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
}

function normalise(path: string): string[] {
  const segments: string[] = [];
  for (const raw of path.split(/[/\\]/)) {
    const segment = raw.replace(/;.*$/s, "").trim().toLowerCase();
    if (segment === "..") segments.pop();
    else if (segment.replace(/[. ]+$/, "") !== "") segments.push(segment.replace(/[. ]+$/, ""));
  }
  return segments;
}
