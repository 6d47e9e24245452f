// The gateway's features as an afternoon's work has them: what the proxies below are given so that the comparison is one
// of gateways. Nothing here is slow on purpose, and nothing was tuned.
import { createHash, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { pino } from "pino";
import { Counter, Histogram } from "prom-client";

const log = pino();
const requests = new Counter({ name: "requests_total", help: "Requests.", labelNames: ["route", "method", "status"] });
const durations = new Histogram({ name: "request_duration_seconds", help: "Duration.", labelNames: ["route"] });

/** `file`: `{ keys: [{ id, hash, permissions }] }`, the keyring that the gateway is given too. */
export function createFeatures(file) {
  const keys = new Map(JSON.parse(readFileSync(file, "utf8")).keys.map((key) => [key.hash, key]));
  const routes = [
    { name: "create", method: "POST", pattern: /^\/v2\/keys\.createKey$/, permission: () => "rbac.*.create_key" },
    { name: "read", method: "GET", pattern: /^\/v2\/apis\/([^/]+)$/, permission: (id) => `api.${id}.read_api` },
  ];

  /** Null: the request may pass. Otherwise it was answered. */
  return function admit(req, res) {
    const started = process.hrtime.bigint();
    req.requestId = randomUUID();
    res.setHeader("X-Request-Id", req.requestId);
    const { pathname } = new URL(req.url, "http://gateway");
    let id = "";
    const route = routes.find(({ method, pattern }) => {
      const match = method === req.method ? pattern.exec(pathname) : null;
      id = match?.[1] ?? "";
      return match !== null;
    });
    res.on("finish", () => {
      const seconds = Number(process.hrtime.bigint() - started) / 1e9;
      requests.inc({ route: route?.name ?? "none", method: req.method, status: res.statusCode });
      durations.observe({ route: route?.name ?? "none" }, seconds);
      log.info({
        requestId: req.requestId,
        route: route?.name,
        method: req.method,
        path: pathname,
        status: res.statusCode,
        durationMs: seconds * 1000,
        keyId: req.keyId,
        clientIp: req.socket.remoteAddress,
      });
    });
    if (route === undefined) return refuse(res, 404, "route_not_found", req.requestId);
    const secret = /^Bearer (unkey_[\w-]+)$/.exec(req.headers.authorization ?? "")?.[1];
    if (secret === undefined) return refuse(res, 401, "missing", req.requestId);
    const key = keys.get(createHash("sha256").update(secret).digest("base64"));
    if (key === undefined) return refuse(res, 401, "key_not_found", req.requestId);
    req.keyId = key.id;
    const wanted = route.permission(id);
    const wildcard = wanted.replace(/\.[^.]+\./, ".*.");
    if (!key.permissions.includes(wanted) && !key.permissions.includes(wildcard)) {
      return refuse(res, 403, "insufficient_permissions", req.requestId);
    }
    return null;
  };
}

function refuse(res, status, type, requestId) {
  const body = JSON.stringify({ meta: { requestId }, error: { status, type } });
  res.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
  res.end(body);
  return status;
}
