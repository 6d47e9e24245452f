// What a competent programmer writes in an afternoon: http-proxy with a keep-alive agent, `new URL` for the path, the
// Authorization header out of `req.headers`. Every attack runs against it once, to show that the check can fail.
// Usage: node naive-gateway.mjs '{"upstream": "http://...", "keys": {"SECRET": {"keyId", "permissions"}}, "routes": [...]}'
// With "library" it is built on http-proxy-3 or httpxy instead, out of bench/node_modules.
import { randomBytes } from "node:crypto";
import http from "node:http";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const { upstream, keys, routes, library = "http-proxy", root = "." } = JSON.parse(process.argv[2]);
const apart = createRequire(resolve(root, "bench/package.json"));
const loaded = await import(library === "http-proxy" ? library : pathToFileURL(await entryOf(library)).href);
const { createProxyServer } = loaded.createProxyServer === undefined ? loaded.default : loaded;
const proxy = createProxyServer({
  target: upstream,
  ws: true,
  agent: new http.Agent({ keepAlive: true }),
  proxyTimeout: 5000,
});

/** Where an installed package begins for `import`; some have no entry for `require`. */
async function entryOf(name) {
  try {
    return apart.resolve(name);
  } catch {
    const folder = resolve(root, "bench/node_modules", name);
    const { default: manifest } = await import(pathToFileURL(resolve(folder, "package.json")).href, {
      with: { type: "json" },
    });
    const { exports: entries, module: entry } = manifest;
    const main = entries?.["."]?.import ?? entries?.["."] ?? entry;
    return resolve(folder, typeof main === "string" ? main : main.default);
  }
}

const log = (record) => process.stdout.write(`${JSON.stringify(record)}\n`);

function decide(request) {
  if (!URL.canParse(request.url, "http://gateway")) return { status: 400, code: "user/bad_request/invalid_request" };
  const { pathname } = new URL(request.url, "http://gateway");
  const covers = (prefix) => prefix === "/" || pathname === prefix || pathname.startsWith(`${prefix}/`);
  const route = routes.find(({ prefix }) => covers(prefix));
  if (route === undefined) return { status: 404, code: "sentinel/routing/route_not_found", pathname };
  if (route.open) return { verdict: "open", pathname };
  const authorization = request.headers.authorization;
  if (!authorization) return { status: 401, code: "unkey/authentication/missing", pathname };
  const [scheme, secret] = authorization.split(/\s+/);
  if (scheme.toLowerCase() !== "bearer" || !secret?.startsWith("unkey_")) {
    return { status: 401, code: "unkey/authentication/malformed", pathname };
  }
  const key = keys[secret];
  if (key === undefined) return { status: 401, code: "unkey/authentication/key_not_found", pathname };
  if (route.permission && !key.permissions.includes(route.permission)) {
    return { status: 403, code: "unkey/authorization/insufficient_permissions", pathname };
  }
  return { verdict: "allowed", keyId: key.keyId, pathname };
}

function envelope(requestId, status, code, detail = "refused") {
  const body = JSON.stringify({
    meta: { requestId },
    error: { detail, status, title: http.STATUS_CODES[status], type: `https://unkey.com/docs/errors/${code}` },
  });
  const headers = {
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(body),
    "Cache-Control": "no-store",
    "X-Unkey-Error-Source": "sentinel",
    "X-Request-Id": requestId,
    ...(status === 401 && { "WWW-Authenticate": 'Bearer realm="sentinel"' }),
  };
  return { body, headers };
}

function newRequestId() {
  return `req_${[...randomBytes(15)].map((byte) => (byte % 36).toString(36)).join("")}`;
}

const mark = (proxyRequest, request) => {
  proxyRequest.setHeader("X-Request-Id", request.requestId);
  if (request.keyId) proxyRequest.setHeader("X-Unkey-Principal", JSON.stringify({ keyId: request.keyId }));
};
proxy.on("proxyReq", mark);
proxy.on("proxyReqWs", mark);
const server = http.createServer((request, response) => {
  request.requestId = newRequestId();
  const { verdict, status, code, pathname, keyId } = decide(request);
  request.keyId = keyId;
  log({ level: "info", requestId: request.requestId, method: request.method, path: pathname, verdict, keyId });
  if (verdict === undefined) {
    const { body, headers } = envelope(request.requestId, status, code);
    response.writeHead(status, headers).end(request.method === "HEAD" ? undefined : body);
    return;
  }
  const fail = () => {
    const { body, headers } = envelope(request.requestId, 502, "sentinel/upstream/bad_gateway");
    if (!response.headersSent) response.writeHead(502, headers);
    response.end(body);
  };
  if (library === "httpxy") proxy.web(request, response).catch(fail);
  else proxy.web(request, response, {}, fail);
});

server.on("upgrade", (request, socket, head) => {
  request.requestId = newRequestId();
  const { verdict, status, pathname, keyId } = decide(request);
  request.keyId = keyId;
  log({ level: "info", requestId: request.requestId, method: request.method, path: pathname, verdict, keyId });
  if (verdict === undefined) socket.end(`HTTP/1.1 ${status} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  else if (library === "httpxy") proxy.ws(request, socket, {}, head).catch(() => socket.destroy());
  else proxy.ws(request, socket, head);
});

server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  log({ level: "info", event: "listening", address: `127.0.0.1:${port}`, admin: `127.0.0.1:${port}` });
});
process.on("SIGTERM", () => process.exit(0));
