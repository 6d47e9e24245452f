// node httpxy.mjs PORT UPSTREAM_PORT KEYRING: httpxy with a keep-alive agent and the features.
import http from "node:http";
import { createProxyServer } from "httpxy";
import { createFeatures } from "./features.mjs";

const [port, upstreamPort, keyring] = process.argv.slice(2);
const admit = createFeatures(keyring);
const agent = new http.Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });
const proxy = createProxyServer({ target: `http://127.0.0.1:${upstreamPort}`, agent });
proxy.on("error", (_error, _req, res) => res.writeHead(502).end());
proxy.on("proxyReq", (upstream, req) => upstream.setHeader("X-Request-Id", req.requestId));
http
  .createServer((req, res) => {
    if (admit(req, res) === null) proxy.web(req, res).catch(() => res.destroy());
  })
  .listen(Number(port), "127.0.0.1");
