import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { text } from "node:stream/consumers";
import type { AdminState } from "../../src/admin/state.ts";

export interface AdminReply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface AdminRequest {
  readonly method?: string;
  readonly body?: string;
}

/** One request to an admin address: `http://...` or `unix:/path`. */
export async function ask(
  address: string,
  path: string,
  { method = "GET", body }: AdminRequest = {},
): Promise<AdminReply> {
  const where = address.startsWith("unix:")
    ? { socketPath: address.slice("unix:".length) }
    : { host: new URL(address).hostname.replace(/^\[|\]$/g, ""), port: new URL(address).port };
  // Node frames no body of a GET by itself, and would ask for the end of the connection.
  const headers = {
    Connection: "keep-alive",
    ...(body !== undefined && { "Content-Length": Buffer.byteLength(body) }),
  };
  const sent = httpRequest({ ...where, path, method, agent: false, headers });
  sent.end(body);
  return new Promise((resolve, reject) => {
    sent.once("error", reject);
    sent.once("response", (response) => {
      text(response).then(
        (received) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: received }),
        reject,
      );
    });
  });
}

export function stateOf(changes: Partial<AdminState> = {}): AdminState {
  return {
    version: "1.2.3",
    startedAt: 1_700_000_000_000,
    configFile: "/etc/sentinel/sentinel.yaml",
    generation: 3,
    lastReload: null,
    checks: [
      { name: "configuration", ok: true, reason: "" },
      { name: "listener", ok: true, reason: "" },
      { name: "keys", ok: true, reason: "" },
      { name: "draining", ok: true, reason: "" },
    ],
    addresses: ["http://127.0.0.1:8080"],
    workers: 1,
    routes: [
      {
        name: "read-api",
        host: "api.example.com",
        methods: ["GET"],
        path: "/v2/apis/{apiId}",
        access: { open: false, permissions: "api.{path.apiId}.read_api" },
        upstream: "orders",
      },
      {
        name: "health",
        host: null,
        methods: null,
        path: "/health",
        access: { open: true, permissions: "" },
        upstream: "orders",
      },
    ],
    upstreams: [
      {
        name: "orders",
        targets: [
          { url: "http://10.0.0.1:3000", healthy: true },
          { url: "http://10.0.0.2:3000", healthy: false },
        ],
      },
    ],
    keys: { source: "redis", ready: true, reason: "", entries: 1234 },
    redis: { up: true, reason: "" },
    ...changes,
  };
}
