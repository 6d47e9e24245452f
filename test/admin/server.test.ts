import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { type AdminOptions, startAdminServer } from "../../src/admin/server.ts";
import { parseListenAddress } from "../../src/config/addresses.ts";
import { collectScrape } from "../../src/telemetry/scrape.ts";
import { bundle, exchangeOf, metricsFor } from "../telemetry/support.ts";
import { ask, stateOf } from "./support.ts";

async function start(options: Partial<Omit<AdminOptions, "listen">> = {}, address = "127.0.0.1:0") {
  const metrics = metricsFor();
  const events: string[] = [];
  const listen = parseListenAddress(address, true);
  if ("wrong" in listen) throw new Error(`${address} ${listen.wrong}`);
  const server = await startAdminServer({
    state: () => stateOf(),
    scrapes: async () => [await collectScrape(metrics)],
    log: (level, event) => events.push(`${level} ${event}`),
    ...options,
    listen,
  });
  onTestFinished(() => server.close());
  return { server, metrics, events, ask: (path: string, how = {}) => ask(server.address, path, how) };
}

describe("/livez", () => {
  it("is 200 whatever the state", async () => {
    const admin = await start({
      state: () => {
        throw new Error("nothing works");
      },
    });
    expect(await admin.ask("/livez")).toMatchObject({ status: 200, body: "ok\n" });
  });
});

describe("/readyz", () => {
  it("is 200 with the generation when every check is ok", async () => {
    const admin = await start();
    const reply = await admin.ask("/readyz");
    expect(reply.status).toBe(200);
    expect(reply.headers["content-type"]).toBe("application/json");
    expect(JSON.parse(reply.body)).toEqual({
      ready: true,
      generation: 3,
      checks: { configuration: { ok: true }, listener: { ok: true }, keys: { ok: true }, draining: { ok: true } },
    });
  });

  it("is 503 and says why not", async () => {
    const checks = [
      { name: "configuration", ok: true, reason: "" },
      { name: "keys", ok: false, reason: "redis has not answered yet" },
    ] as const;
    const admin = await start({ state: () => stateOf({ checks }) });
    const reply = await admin.ask("/readyz?verbose");
    expect(reply.status).toBe(503);
    expect(JSON.parse(reply.body)).toMatchObject({
      ready: false,
      checks: { configuration: { ok: true }, keys: { ok: false, reason: "redis has not answered yet" } },
    });
  });
});

describe("/metrics", () => {
  it("is Prometheus' text format with the figures of the moment", async () => {
    const admin = await start();
    admin.metrics.requestEnded(exchangeOf());
    const reply = await admin.ask("/metrics");
    expect(reply.status).toBe(200);
    expect(reply.headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(reply.body).toContain('sentinel_requests_total{route="read-api",method="GET",status="200"} 1\n');
    expect(reply.body).toContain("process_resident_memory_bytes");
  });

  it("costs one scrape however many scrape at once", async () => {
    let scrapes = 0;
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const metrics = metricsFor();
    const admin = await start({
      scrapes: async () => {
        scrapes++;
        await gate;
        return [await collectScrape(metrics)];
      },
    });
    const replies = Promise.all(Array.from({ length: 10 }, () => admin.ask("/metrics")));
    await admin.ask("/livez");
    open();
    expect((await replies).every((reply) => reply.status === 200)).toBe(true);
    expect(scrapes).toBeLessThan(3);
  });

  it("is 500, logged, when a scrape fails, and the next one works", async () => {
    let fails = true;
    const metrics = metricsFor();
    const admin = await start({
      scrapes: async () => {
        if (fails) throw new Error("no worker answers");
        return [await collectScrape(metrics)];
      },
    });
    const reply = await admin.ask("/metrics");
    expect(reply).toMatchObject({ status: 500, body: "internal error; see the log\n" });
    expect(admin.events).toEqual(["error admin_failed"]);
    fails = false;
    expect((await admin.ask("/metrics")).status).toBe(200);
  });
});

describe("everything else", () => {
  it.each(["/health", "/metrics/", "/__proto__", "/constructor", "//", "/%2e"])("%s is 404", async (path) => {
    const admin = await start();
    expect((await admin.ask(path)).status).toBe(404);
  });

  it.each(["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])("%s is 405 with Allow", async (method) => {
    const admin = await start();
    const reply = await admin.ask("/readyz", { method });
    expect(reply.status).toBe(405);
    expect(reply.headers.allow).toBe("GET, HEAD");
  });

  it("HEAD has the headers alone", async () => {
    const admin = await start();
    const reply = await admin.ask("/livez", { method: "HEAD" });
    expect(reply).toMatchObject({ status: 200, body: "" });
    expect(reply.headers["content-length"]).toBe("3");
  });

  it("does not take a body that nobody reads for the next request", async () => {
    const admin = await start();
    const reply = await admin.ask("/livez", { method: "GET", body: "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n" });
    expect(reply.headers.connection).toBe("close");
    expect((await admin.ask("/livez")).headers.connection).toBe("keep-alive");
  });
});

describe("a unix socket", () => {
  const path = () => join(mkdtempSync(join(tmpdir(), "admin-")), "s.sock");

  it("serves, for its owner and group only, and is gone afterwards", async () => {
    const file = path();
    const admin = await start({}, `unix:${file}`);
    expect(admin.server.address).toBe(`unix:${file}`);
    expect((await admin.ask("/livez")).status).toBe(200);
    expect(statSync(file).mode & 0o777).toBe(0o660);
    await admin.server.close();
    expect(existsSync(file)).toBe(false);
  });

  it("takes the place of one that a killed process left", async () => {
    const file = path();
    const program = `import { createServer } from "node:net";
      createServer().listen(${JSON.stringify(file)}, () => process.kill(process.pid, "SIGKILL"));`;
    await once(spawn(process.execPath, [bundle(program)]), "exit");
    expect(existsSync(file)).toBe(true);
    const admin = await start({}, `unix:${file}`);
    expect((await admin.ask("/livez")).status).toBe(200);
  });

  it("fails where another process answers", async () => {
    const file = path();
    const other = createServer().listen(file);
    await once(other, "listening");
    onTestFinished(() => void other.close());
    await expect(start({}, `unix:${file}`)).rejects.toThrow("EADDRINUSE");
  });

  it("never removes a file that is no socket", async () => {
    const file = path();
    writeFileSync(file, "precious");
    await expect(start({}, `unix:${file}`)).rejects.toThrow("EADDRINUSE");
    expect(existsSync(file)).toBe(true);
  });
});

describe("a port", () => {
  it("that is taken is an error", async () => {
    const admin = await start();
    await expect(start({}, admin.server.address.slice("http://".length))).rejects.toThrow("EADDRINUSE");
  });

  it("listens on IPv6", async () => {
    const admin = await start({}, "[::1]:0");
    expect(admin.server.address).toMatch(/^http:\/\/\[::1\]:\d+$/);
    expect((await admin.ask("/livez")).status).toBe(200);
  });

  it("closes connections that are kept alive", async () => {
    const admin = await start();
    const { hostname, port } = new URL(admin.server.address);
    const socket = connect(Number(port), hostname);
    socket.write("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    await once(socket, "data");
    const closed = once(socket, "close");
    await admin.server.close();
    await closed;
  });
});
