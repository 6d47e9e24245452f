import { mkdtempSync, rmSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";
import { RecordingUpstream } from "../support/recording-upstream.ts";
import { auth, RIG_KEYRING, rigRoutes } from "../support/rig.ts";
import { get, HANG_MS } from "./wire.ts";

describe("H. the end", () => {
  it("185 SIGTERM under load loses no request, says not ready first, and exits with 0", async () => {
    const upstream = await RecordingUpstream.start();
    const gateway = await startGateway({
      config: {
        // What a balancer takes to look elsewhere, on a machine that may hang for a moment.
        drain: { delay: "2s", timeout: "5s" },
        upstreams: [{ name: "recorder", targets: [upstream.origin] }],
        routes: rigRoutes(),
      },
      keyring: RIG_KEYRING,
    });
    const halfOpen = await RawClient.connect(gateway.port);
    await halfOpen.write("GET /any HTTP/1.1\r\n");
    const failures: string[] = [];
    const ask = () =>
      new Promise<void>((done) => {
        const sent = httpRequest(
          { port: gateway.port, host: "127.0.0.1", path: "/public/load", agent: false },
          (got) => {
            if (got.statusCode !== 200) failures.push(String(got.statusCode));
            got.resume().on("end", done);
          },
        );
        sent.on("error", (error: NodeJS.ErrnoException) => {
          failures.push(String(error.code));
          done();
        });
        sent.end();
      });
    // Never more of them under way than a machine that is busy gets on with: not all of a backlog is taken before the end.
    let underWay = 0;
    const load = setInterval(() => {
      if (underWay >= 32) return;
      underWay += 1;
      void ask().finally(() => {
        underWay -= 1;
      });
    }, 2);
    await gateway.waitForRecord((record) => record.path === "/public/load");
    gateway.signal("SIGTERM");
    await gateway.waitForRecord((record) => record.event === "draining");
    await ask();
    const ready = await fetch(`${gateway.adminOrigin}/readyz`);
    expect(ready.status).toBe(503);
    expect((await fetch(`${gateway.adminOrigin}/livez`)).status).toBe(200);
    // Here a load balancer looks elsewhere. Everything it sent before is answered.
    clearInterval(load);
    expect(await gateway.exited).toBe(0);
    expect(failures).toEqual([]);
    halfOpen.destroy();
    await upstream.stop();
  });

  it("186 a second signal ends at once", async () => {
    const upstream = await RecordingUpstream.start(() => null);
    const gateway = await startGateway({
      config: {
        drain: { delay: "0ms", timeout: "30s" },
        upstreams: [{ name: "recorder", targets: [upstream.origin] }],
        routes: rigRoutes(),
      },
      keyring: RIG_KEYRING,
    });
    const client = await RawClient.connect(gateway.port);
    await client.write(get("/any", auth()));
    await upstream.until(() => upstream.requests().length > 0);
    gateway.signal("SIGTERM");
    await gateway.waitForRecord((record) => typeof record.event === "string" && /drain|stop|shut/i.test(record.event));
    gateway.signal("SIGTERM");
    const started = performance.now();
    await gateway.exited;
    expect(performance.now() - started).toBeLessThan(HANG_MS);
    client.destroy();
    await upstream.stop();
  });

  it.each([0, 20, 40, 60, 80, 120])(
    "186 SIGTERM %i ms after the start ends it, whatever it was doing, and without a complaint",
    async (ms) => {
      const upstream = await RecordingUpstream.start();
      const early = `data:text/javascript,setTimeout(()=>process.kill(process.pid,"SIGTERM"),${ms})`;
      const ended = await startGateway({
        config: { upstreams: [{ name: "recorder", targets: [upstream.origin] }], routes: rigRoutes() },
        keyring: RIG_KEYRING,
        nodeOptions: ["--import", early],
      }).then(
        (gateway) => gateway.exited,
        (error: Error) => error.message,
      );
      // Before it listens nothing is there to be ended in order: then the signal itself may be the end.
      if (ended !== 0) expect(ended).toMatch(/^the gateway ended with (0|null) before such a record:\s*$/);
      await upstream.stop();
    },
  );

  it("186 after SIGKILL the next one takes its address and its admin socket, at once", async () => {
    const upstream = await RecordingUpstream.start();
    const folder = mkdtempSync(join(tmpdir(), "sentinel-killed-"));
    const start = (port: number) =>
      startGateway({
        config: {
          listen: `127.0.0.1:${port}`,
          admin: { listen: `unix:${join(folder, "admin.sock")}` },
          upstreams: [{ name: "recorder", targets: [upstream.origin] }],
          routes: rigRoutes(),
        },
        keyring: RIG_KEYRING,
      });
    const first = await start(0);
    const client = await RawClient.connect(first.port);
    await client.write(get("/any", auth()));
    expect((await client.answer())?.status).toBe(200);
    first.signal("SIGKILL");
    expect(await first.exited).toBeNull();
    const second = await start(first.port);
    const again = await RawClient.connect(first.port);
    await again.write(get("/any", auth()));
    expect((await again.answer())?.status).toBe(200);
    for (const each of [client, again]) each.destroy();
    await second.stop();
    await upstream.stop();
    rmSync(folder, { recursive: true });
    rmSync(first.folder, { recursive: true });
  });

  it.each([
    ["not YAML", "routes: ["],
    ["unknown members", "nonsense: true\nupstreams: []\nroutes: []\n"],
    ["nothing", ""],
    [
      "an alias bomb",
      `a: &a [x,x,x,x,x,x,x,x,x]\n${"bcdefghi"
        .split("")
        .map(
          (name, index) =>
            `${name}: &${name} [${"*"
              .concat("abcdefghi"[index] ?? "a")
              .concat(",")
              .repeat(9)}]`,
        )
        .join("\n")}\n`,
    ],
  ])("190 a configuration of %s is exit 1, soon", async (_, config) => {
    await expect(startGateway({ config })).rejects.toThrow(/ended with 1/);
  });
});
