import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";
import { answer, RecordingUpstream } from "../support/recording-upstream.ts";
import { RIG_KEYRING } from "../support/rig.ts";
import { get, post } from "./wire.ts";

/** An upstream that comes back where it was. Its connections end with each answer: none is there to be found dead. */
class Restarting {
  readonly #server = createServer((_, response) => response.writeHead(200, { Connection: "close" }).end("ok"));
  #port = 0;

  static async start(): Promise<Restarting> {
    const upstream = new Restarting();
    await upstream.start();
    return upstream;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<void> {
    await new Promise<void>((done) => this.#server.listen(this.#port, "127.0.0.1", done));
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    await new Promise((done) => this.#server.close(done));
  }
}

describe("H. several targets", () => {
  it("184 a target that refuses is put out after five failures and comes back", async () => {
    const upstream = await RecordingUpstream.start();
    const sockets = new Set<Socket>();
    const flaky = createTcpServer((socket) => {
      sockets.add(socket);
      socket.on("data", () => socket.write(answer(200, "flaky")));
      socket.on("error", () => {}); // The gateway's end of it; nothing to learn.
    });
    await new Promise<void>((done) => flaky.listen(0, "127.0.0.1", done));
    const address = flaky.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    await new Promise<void>((done) => flaky.close(() => done()));
    const gateway = await startGateway({
      config: {
        upstreams: [
          { name: "two", targets: [upstream.origin, `http://127.0.0.1:${port}`], timeouts: { connect: "10s" } },
        ],
        routes: [{ name: "open", match: { pathPrefix: "/" }, auth: "none", upstream: "two" }],
      },
      keyring: RIG_KEYRING,
    });
    const client = await RawClient.connect(gateway.port);
    const statuses: number[] = [];
    for (let round = 0; round < 200; round += 1) {
      await client.write(post("/x", "abc"));
      statuses.push((await client.answer())?.status ?? 0);
    }
    // Nothing was sent to the target that refuses, so even a POST is tried on the other one.
    expect(statuses.filter((status) => status !== 200)).toEqual([]);

    await new Promise<void>((done) => flaky.listen(port, "127.0.0.1", done));
    let bodies: string[] = [];
    const until = performance.now() + 20_000;
    while (!bodies.includes("flaky") && performance.now() < until) {
      await client.write(get("/x"));
      bodies = [...bodies, (await client.answer())?.body.toString() ?? ""];
      await new Promise((done) => setTimeout(done, 20));
    }
    expect(bodies).toContain("flaky");
    client.destroy();
    await gateway.stop();
    for (const socket of sockets) socket.destroy();
    await new Promise((done) => flaky.close(done));
    await upstream.stop();
  });

  it("184 targets that restart one after the other cost no request, however soon", async () => {
    const first = await Restarting.start();
    const second = await Restarting.start();
    const gateway = await startGateway({
      config: {
        upstreams: [{ name: "two", targets: [first.origin, second.origin], timeouts: { connect: "10s" } }],
        routes: [{ name: "open", match: { pathPrefix: "/" }, auth: "none", upstream: "two" }],
      },
      keyring: RIG_KEYRING,
    });
    const client = await RawClient.connect(gateway.port);
    const askTwenty = async () => {
      for (let round = 0; round < 20; round++) {
        await client.write(post("/x", "abc"));
        expect((await client.answer())?.status).toBe(200);
      }
    };
    for (const target of [first, second, first, second]) {
      await target.stop();
      await askTwenty();
      await target.start();
    }
    await askTwenty();
    client.destroy();
    await gateway.stop();
    await first.stop();
    await second.stop();
  });

  it("184 a target whose health check fails gets nothing until it passes again", async () => {
    const healthy = await RecordingUpstream.start();
    let sick = false;
    const other = await RecordingUpstream.start((request) =>
      request.target === "/healthz" ? answer(sick ? 503 : 200, "") : answer(200, "other"),
    );
    const gateway = await startGateway({
      config: {
        upstreams: [
          {
            name: "two",
            targets: [healthy.origin, other.origin],
            healthCheck: { path: "/healthz", interval: "50ms", timeout: "1s" },
          },
        ],
        routes: [{ name: "open", match: { pathPrefix: "/" }, auth: "none", upstream: "two" }],
      },
      keyring: RIG_KEYRING,
    });
    const client = await RawClient.connect(gateway.port);
    const ask = async () => {
      await client.write(get("/x"));
      return (await client.answer())?.body.toString() === "other";
    };
    const becomes = (state: 0 | 1) =>
      expect
        .poll(async () => await (await fetch(`${gateway.adminOrigin}/metrics`)).text(), { timeout: 20_000 })
        .toContain(`sentinel_upstream_healthy{upstream="two",target="${other.origin}"} ${state}`);
    await becomes(1);
    expect([await ask(), await ask()].filter(Boolean)).toHaveLength(1);
    sick = true;
    await becomes(0);
    for (let round = 0; round < 20; round += 1) expect(await ask()).toBe(false);
    sick = false;
    await becomes(1);
    expect([await ask(), await ask()].filter(Boolean)).toHaveLength(1);
    client.destroy();
    await gateway.stop();
    await healthy.stop();
    await other.stop();
  });
});
