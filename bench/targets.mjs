// What is measured: how each is configured and started. Every target listens on a port of its own in front of one upstream.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort, GATEWAY_CPU, LOAD_CPU, listening, start, versionOf } from "./processes.mjs";

const HERE = fileURLToPath(new URL(".", import.meta.url));
export const PATH = "/v2/apis/api_1234";
const KEY_COUNT = 1000;
export const SECRETS = Array.from(
  { length: KEY_COUNT },
  (_, i) => `unkey_${createHash("sha256").update(`bench ${i}`).digest("hex").slice(0, 24)}`,
);
/** In the keyring, without the permission that the route asks for. */
export const POWERLESS = "unkey_powerless00000000000000";
export const UNKNOWN = "unkey_unknown0000000000000000";

/** Writes what the targets share into `folder`. */
export function prepare(folder) {
  mkdirSync(folder, { recursive: true });
  const record = (secret, id, permissions) => ({
    id,
    hash: createHash("sha256").update(secret).digest("base64"),
    permissions,
  });
  const keys = SECRETS.map((secret, i) => record(secret, `key_${i}`, ["api.api_1234.read_api", "rbac.*.read_role"]));
  keys.push(record(POWERLESS, "key_powerless", ["rbac.*.read_role"]));
  // JSON is YAML: the one file serves the gateway and its rivals.
  writeFileSync(join(folder, "keys.yaml"), JSON.stringify({ keys }));
  writeFileSync(join(folder, "one-key.yaml"), JSON.stringify({ keys: keys.slice(0, 1) }));
  writeFileSync(join(folder, "known.map"), SECRETS.map((secret) => `"Bearer ${secret}" 1;`).join("\n"));
  const hex = (secret) => createHash("sha256").update(secret).digest("hex").toUpperCase();
  writeFileSync(join(folder, "hashes.map"), SECRETS.map((secret) => `${hex(secret)} 1`).join("\n"));
  writeFileSync(join(folder, "rotate.lua"), rotation(SECRETS));
}

/** A script for wrk that takes the keys one after the other. */
export function rotation(secrets) {
  return `local keys = {${secrets.map((secret) => `"Bearer ${secret}"`).join(",")}}
local at = 0
request = function()
  at = at % #keys + 1
  return wrk.format(nil, nil, {Authorization = keys[at]})
end`;
}

/** The route that is asked for. */
export const READ_API = {
  name: "read-api",
  match: { methods: ["GET"], path: "/v2/apis/{apiId}" },
  permissions: "api.{path.apiId}.read_api",
  upstream: "bench",
};

/** nginx on the load's CPU: 1 KB of JSON, at once. */
export async function startUpstream(folder) {
  const port = await freePort();
  const body = JSON.stringify({ data: "x".repeat(1024 - 11) });
  return startNginx(
    folder,
    "upstream",
    port,
    LOAD_CPU,
    `server { listen 127.0.0.1:${port} backlog=4096;
    client_max_body_size 0;
    location /v2/files/ { alias ${folder}/; default_type application/octet-stream; }
    location / { default_type application/json; add_header Cache-Control no-store; add_header X-Upstream bench; return 200 '${body}'; } }`,
  );
}

/** The targets by name. Each starts itself, or says why it can not. */
export const TARGETS = {
  sentinel: (context) => startSentinel("sentinel", resolve(HERE, ".."), context),

  "nginx plain": async ({ folder, upstream }) => {
    const port = await freePort();
    return startNginx(
      folder,
      "nginx plain",
      port,
      GATEWAY_CPU,
      `${nginxUpstream(upstream)}
    server { listen 127.0.0.1:${port} backlog=4096; location / { proxy_pass http://upstream; } }`,
    );
  },

  "nginx + auth_request": async ({ folder, upstream }) => {
    const [port, authPort] = [await freePort(), await freePort()];
    return startNginx(
      folder,
      "nginx + auth_request",
      port,
      GATEWAY_CPU,
      `${nginxUpstream(upstream)}
    map_hash_max_size 65536; map_hash_bucket_size 128;
    map $http_authorization $known { default 0; include ${folder}/known.map; }
    upstream auth { server 127.0.0.1:${authPort}; keepalive 128; keepalive_requests 1000000000; }
    server { listen 127.0.0.1:${authPort} backlog=4096; location / { if ($known = 0) { return 401; } return 204; } }
    server { listen 127.0.0.1:${port} backlog=4096;
      location / { auth_request /auth; proxy_pass http://upstream; }
      location = /auth { internal; proxy_pass http://auth; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header Connection ""; } }`,
    );
  },

  "haproxy + hash map": async ({ folder, upstream }) => {
    if (versionOf("haproxy", "-v") === null) return { missing: "haproxy is not installed" };
    const port = await freePort();
    const file = join(folder, "haproxy.cfg");
    writeFileSync(
      file,
      `global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend gateway
  bind 127.0.0.1:${port}
  http-request set-var(txn.hash) req.hdr(authorization),word(2,' '),sha2(256),hex
  http-request deny deny_status 401 unless { var(txn.hash),map_str(${folder}/hashes.map) -m found }
  default_backend upstream
backend upstream
  server upstream 127.0.0.1:${upstream.port}
`,
    );
    return launch("haproxy + hash map", port, GATEWAY_CPU, "haproxy", ["-db", "-f", file]);
  },

  "Caddy plain": async ({ folder, upstream }) => {
    if (versionOf("caddy", "version") === null) return { missing: "Caddy is not installed" };
    const port = await freePort();
    const file = join(folder, "Caddyfile");
    writeFileSync(
      file,
      `{
  admin off
  auto_https off
}
http://127.0.0.1:${port} {
  reverse_proxy 127.0.0.1:${upstream.port} {
    transport http {
      keepalive_idle_conns_per_host 256
    }
  }
}
`,
    );
    const env = { ...process.env, GOMAXPROCS: "1", HOME: folder };
    return launch("Caddy plain", port, GATEWAY_CPU, "caddy", ["run", "--config", file, "--adapter", "caddyfile"], {
      env,
    });
  },

  "http-proxy, naive features": (context) => startRival("http-proxy, naive features", "http-proxy.mjs", context),
  "httpxy, naive features": (context) => startRival("httpxy, naive features", "httpxy.mjs", context),
  "@fastify/http-proxy, naive features": (context) =>
    startRival("@fastify/http-proxy, naive features", "fastify.mjs", context),
};

/**
 * A gateway built from the source tree at `root` (its `dist/sentinel.js`), with the whole keyring unless `keyring` names
 * another; `overrides` take the place of whole members of the configuration.
 */
export async function startSentinel(
  name,
  root,
  { folder, upstream, keyring = "keys.yaml", overrides = {}, extraEnv = {} },
  options = [],
) {
  const main = join(root, "dist/sentinel.js");
  if (!existsSync(main)) return { missing: `${main} was not built` };
  const [port, adminPort] = [await freePort(), await freePort()];
  const file = join(folder, `sentinel-${port}.yaml`);
  const config = {
    listen: `127.0.0.1:${port}`,
    admin: { listen: `127.0.0.1:${adminPort}` },
    log: { level: "info", format: "json" },
    drain: { delay: "0ms", timeout: "1s" },
    keys: { source: { type: "file", path: `./${keyring}` } },
    upstreams: [{ name: "bench", targets: [`http://127.0.0.1:${upstream.port}`] }],
    routes: [
      READ_API,
      {
        name: "create-key",
        match: { methods: ["POST"], path: "/v2/keys.createKey" },
        permissions: "rbac.*.create_key",
        upstream: "bench",
      },
    ],
    ...overrides,
  };
  writeFileSync(file, JSON.stringify(config));
  const env = { ...process.env, NODE_ENV: "production", ...extraEnv };
  const target = await launch(name, port, GATEWAY_CPU, process.execPath, [...options, main, "start", "-c", file], {
    env,
  });
  return { ...target, adminPort };
}

/** node:http that answers what `answer` holds. */
export async function startBare(name, { folder }, answer) {
  const port = await freePort();
  const file = join(folder, `bare-${port}.json`);
  writeFileSync(file, JSON.stringify(answer));
  return launch(name, port, GATEWAY_CPU, process.execPath, [join(HERE, "rivals/bare.mjs"), String(port), file]);
}

/** nginx in front of large bodies: its defaults, but for the limit on a body's size. */
export async function startNginxForBodies({ folder, upstream, sink }) {
  const port = await freePort();
  const locations = "location / { proxy_pass http://upstream; } location /v2/sink { proxy_pass http://sink; }";
  const sinks = `upstream sink { server 127.0.0.1:${sink.port}; keepalive 64; }`;
  const server = `${sinks} server { listen 127.0.0.1:${port} backlog=4096; client_max_body_size 0; ${locations} }`;
  return startNginx(folder, "nginx plain", port, GATEWAY_CPU, `${nginxUpstream(upstream)}\n${server}`);
}

export async function startNginxForWebSockets({ folder, upstream }) {
  const port = await freePort();
  const fields =
    'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";';
  const server = `server { listen 127.0.0.1:${port}; location / { ${fields} proxy_pass http://127.0.0.1:${upstream.port}; } }`;
  return startNginx(folder, "nginx plain", port, GATEWAY_CPU, server);
}

/** nginx that refuses by a static map: the cheapest 401 there is. */
export async function startNginxRefusal({ folder }) {
  const port = await freePort();
  return startNginx(
    folder,
    "nginx 401 by map",
    port,
    GATEWAY_CPU,
    `map_hash_max_size 65536; map_hash_bucket_size 128;
    map $http_authorization $known { default 0; include ${folder}/known.map; }
    server { listen 127.0.0.1:${port} backlog=4096; location / { if ($known = 0) { return 401; } return 204; } }`,
  );
}

async function startRival(name, file, { folder, upstream }) {
  if (!existsSync(join(HERE, "node_modules")))
    return { missing: "its packages are not installed (npm ci --prefix bench)" };
  const port = await freePort();
  const args = [join(HERE, "rivals", file), String(port), String(upstream.port), join(folder, "keys.yaml")];
  return launch(name, port, GATEWAY_CPU, process.execPath, args, { env: { ...process.env, NODE_ENV: "production" } });
}

const nginxUpstream = (upstream) => `proxy_http_version 1.1; proxy_set_header Connection "";
    upstream upstream { server 127.0.0.1:${upstream.port}; keepalive 256; keepalive_requests 1000000000; }`;

/** Its worker would be another user otherwise, whom the folder is closed to. */
const AS_ROOT = process.getuid?.() === 0 ? "user root; " : "";

function startNginx(folder, name, port, cpu, http) {
  if (versionOf("nginx", "-v") === null) return { missing: "nginx is not installed" };
  const file = join(folder, `nginx-${port}.conf`);
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((kind) => `${kind}_temp_path ${folder}/nginx-${port}-${kind};`)
    .join(" ");
  writeFileSync(
    file,
    `${AS_ROOT}worker_processes 1; daemon off; pid ${folder}/nginx-${port}.pid; error_log ${folder}/nginx.log crit;
events { worker_connections 16384; }
http { access_log off; server_tokens off; keepalive_requests 1000000000; ${temporary}
${http}
}
`,
  );
  return launch(name, port, cpu, "nginx", ["-c", file, "-p", folder, "-e", `${folder}/nginx.log`]);
}

async function launch(name, port, cpu, command, args, options) {
  const startedAt = performance.now();
  const child = start(cpu, command, args, options);
  const up = await listening(child, port);
  return up ? { name, port, pid: child.pid, child, startedAt } : { missing: `it did not start (${command})` };
}
