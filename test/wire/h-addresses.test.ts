import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { networkInterfaces } from "node:os";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startGateway } from "../support/gateway.ts";

const hasIpv6 = Object.values(networkInterfaces()).some((each) => each?.some(({ address }) => address === "::1"));
if (!hasIpv6) console.info("no IPv6 on this machine: listening there, and upstreams there, are not tried");

/** What came of a request: the status, and whom the upstream takes for the client. */
function ask(host: string, port: number): Promise<string> {
  return new Promise((done, failed) => {
    const sent = request({ host, port, path: "/x", agent: false }, (reply) => {
      let body = "";
      reply.setEncoding("utf8");
      reply.on("data", (text: string) => {
        body += text;
      });
      reply.once("end", () => done(`${reply.statusCode} ${body}`));
    });
    sent.once("error", failed);
    sent.end();
  });
}

describe.runIf(hasIpv6)("H. addresses", () => {
  let upstream: Server;
  beforeAll(async () => {
    upstream = createServer((got, reply) => reply.end(`${got.headers["x-forwarded-for"]} ${got.headers.host}`));
    upstream.listen(0, "::1");
    await new Promise((listening) => upstream.once("listening", listening));
  });
  afterAll(() => {
    upstream?.close();
    upstream?.closeAllConnections();
  });

  function start(listen: string, route: Record<string, unknown> = {}) {
    return startGateway({
      keyring: { keys: [] },
      config: {
        listen,
        admin: { listen: "[::1]:0" },
        upstreams: [{ name: "six", targets: [`http://[::1]:${(upstream.address() as AddressInfo).port}`] }],
        routes: [{ name: "all", auth: "none", upstream: "six", ...route }],
      },
    });
  }

  it("196 listens on an IPv6 address, for clients and for operators, and forwards to one", async () => {
    const gateway = await start("[::1]:0");
    expect(await ask("::1", gateway.port)).toBe(`200 ::1 [::1]:${gateway.port}`);
    await expect(ask("127.0.0.1", gateway.port)).rejects.toThrow(/ECONNREFUSED/);
    expect((await fetch(`http://[::1]:${gateway.adminPort}/livez`)).status).toBe(200);
    await gateway.stop();
  });

  it("196 on [::] serves both kinds of clients, and calls each by its own address", async () => {
    const gateway = await start("[::]:0");
    expect(await ask("::1", gateway.port)).toBe(`200 ::1 [::1]:${gateway.port}`);
    expect(await ask("127.0.0.1", gateway.port)).toBe(`200 127.0.0.1 127.0.0.1:${gateway.port}`);
    await gateway.stop();
  });

  it("196 names an IPv6 target as a Host field has to", async () => {
    const gateway = await start("127.0.0.1:0", { preserveHost: false });
    const { port } = upstream.address() as AddressInfo;
    expect(await ask("127.0.0.1", gateway.port)).toBe(`200 127.0.0.1 [::1]:${port}`);
    await gateway.stop();
  });
});

describe("H. names that do not lead anywhere", () => {
  it("196 an upstream whose name is not found is 503, and the others are served", async () => {
    const other = createServer((_, reply) => reply.end("other")).listen(0, "127.0.0.1");
    await new Promise((listening) => other.once("listening", listening));
    const gateway = await startGateway({
      keyring: { keys: [] },
      config: {
        upstreams: [
          { name: "lost", targets: ["http://no-such-name.invalid:80"], timeouts: { connect: "20s" } },
          { name: "other", targets: [`http://127.0.0.1:${(other.address() as AddressInfo).port}`] },
        ],
        routes: [
          { name: "lost", match: { path: "/x" }, auth: "none", upstream: "lost" },
          { name: "other", match: { path: "/other" }, auth: "none", upstream: "other" },
        ],
      },
      expectedErrors: ({ code }) => code === "err:sentinel:upstream:service_unavailable",
    });
    const reply = await fetch(`${gateway.origin}/x`);
    expect(reply.status).toBe(503);
    expect(reply.headers.get("retry-after")).toMatch(/^\d+$/);
    expect(await (await fetch(`${gateway.origin}/other`)).text()).toBe("other");
    await gateway.stop();
    other.closeAllConnections();
    other.close();
  });
});
