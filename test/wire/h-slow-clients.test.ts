import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { checkEnvelope } from "../support/oracles.ts";
import { RawClient } from "../support/raw-client.ts";
import { answerOk } from "../support/recording-upstream.ts";
import { auth, Rig } from "../support/rig.ts";
import { closeTimes, connectMany, formatFindings, get, HANG_MS } from "./wire.ts";

const HEADER_TIMEOUT = 500;
const REQUEST_TIMEOUT = 900;
const IDLE_TIMEOUT = 700;

describe("H. clients that take their time", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start({
      limits: {
        headerTimeout: `${HEADER_TIMEOUT}ms`,
        requestTimeout: `${REQUEST_TIMEOUT}ms`,
        idleTimeout: `${IDLE_TIMEOUT}ms`,
      },
    });
  });
  afterAll(() => rig?.stop());
  afterEach(async () => {
    expect(formatFindings(await rig.settle())).toBe("");
    expect(await rig.socketsLeft()).toBeLessThanOrEqual(0);
  });

  /** A stranger who comes meanwhile is served at once. */
  async function serveStranger(): Promise<void> {
    const client = await rig.connect();
    const started = performance.now();
    await client.write(get("/public/stranger"));
    expect((await client.answer())?.status).toBe(200);
    expect(performance.now() - started).toBeLessThan(HANG_MS);
    client.destroy();
  }

  it("173 300 slow headers are 408 and closed in time, while others are served", async () => {
    const clients = await connectMany(rig, 300);
    const dripping = setInterval(() => {
      for (const client of clients) void client.write("X");
    }, 50);
    for (const client of clients) await client.write(`GET /any HTTP/1.1\r\nHost: gw\r\nX-`);
    const times = closeTimes(clients);
    await serveStranger();
    expect(Math.max(...(await times))).toBeLessThan(HEADER_TIMEOUT + HANG_MS);
    clearInterval(dripping);
    for (const client of clients) {
      const answered = await client.answer();
      expect(answered?.status).toBe(408);
      if (answered !== null) expect(checkEnvelope(answered, "GET")).toEqual([]);
    }
  });

  it("173 100 slow bodies are 408 and closed in time, and nothing of them is whole upstream", async () => {
    const clients = await connectMany(rig, 100);
    for (const client of clients) {
      await client.write(`POST /any HTTP/1.1\r\nHost: gw\r\n${auth()}Content-Length: 1000\r\n\r\n`);
    }
    const dripping = setInterval(() => {
      for (const client of clients) void client.write("X");
    }, 100);
    const times = closeTimes(clients);
    await serveStranger();
    expect(Math.max(...(await times))).toBeLessThan(REQUEST_TIMEOUT + HANG_MS);
    clearInterval(dripping);
    for (const client of clients) expect((await client.answer())?.status).toBe(408);
    expect(rig.upstream.requests().filter((each) => each.target === "/any" && each.complete)).toEqual([]);
  });

  it("173 300 silent connections are closed in time, without an answer", async () => {
    const clients = await connectMany(rig, 300);
    const times = closeTimes(clients);
    await serveStranger();
    expect(Math.max(...(await times))).toBeLessThan(IDLE_TIMEOUT + HANG_MS);
    for (const client of clients) expect(client.received.length).toBe(0);
  });

  it("173 a connection between two requests is closed at its limit, not before", async () => {
    const client = await rig.connect();
    await client.write(get("/public"));
    expect((await client.answer())?.status).toBe(200);
    const [time = 0] = await closeTimes([client]);
    expect(time).toBeGreaterThan(IDLE_TIMEOUT - 100);
    expect(time).toBeLessThan(IDLE_TIMEOUT + HANG_MS);
  });

  it("173 empty lines are no request: they keep no connection open, neither behind one nor on a new connection", async () => {
    const clients = await connectMany(rig, 4);
    for (const client of clients.slice(0, 2)) {
      await client.write(get("/public"));
      expect((await client.answer())?.status).toBe(200);
    }
    const dripping = setInterval(() => {
      for (const client of clients) void client.write("\r\n");
    }, 100);
    const times = await closeTimes(clients);
    clearInterval(dripping);
    expect(Math.max(...times)).toBeLessThan(IDLE_TIMEOUT + HEADER_TIMEOUT + HANG_MS);
  });

  it("173 150,000 requests of a client that takes no answer are not read ahead, and it is closed in time", async () => {
    const client = await RawClient.connect(rig.gateway.port, { paused: true });
    const closed = new Promise((done) => client.socket.once("close", done));
    const before = rig.gateway.rssBytes();
    const hundred = Buffer.from(get("/any/taken", `X-Pad: ${"x".repeat(100)}\r\n`).repeat(100));
    for (let n = 0; n < 1500; n++) client.socket.write(hundred);
    await serveStranger();
    await closed;
    expect(rig.gateway.rssBytes() - before).toBeLessThan(100 * 1024 * 1024);
    await serveStranger();
  });

  it("173 an answer under way is outside requestTimeout", async () => {
    rig.upstream.script = async (request, connection) => {
      if (request.target !== "/any/long") return answerOk(request);
      connection.send("HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: 5\r\n\r\n");
      for (const letter of "abcde") {
        await new Promise((done) => setTimeout(done, REQUEST_TIMEOUT / 3));
        connection.send(letter);
      }
      return null;
    };
    const client = await rig.connect();
    await client.write(get("/any/long", auth()));
    expect((await client.answer("GET", 10_000))?.body.toString()).toBe("abcde");
    client.destroy();
    rig.upstream.reset();
  });
});

describe("H. five thousand clients that take their time", () => {
  let rig: Rig;
  beforeAll(async () => {
    // Long enough for all of them to come together on a slow machine.
    rig = await Rig.start({ limits: { headerTimeout: "15s", idleTimeout: "18s" } });
  });
  afterAll(() => rig?.stop());
  afterEach(async () => {
    expect(formatFindings(await rig.settle())).toBe("");
    expect(await rig.socketsLeft()).toBeLessThanOrEqual(0);
  });

  /** All of them at once, and a stranger served in between. */
  async function connectAll(begun: string): Promise<RawClient[]> {
    const clients: RawClient[] = [];
    while (clients.length < 5000) {
      const some = await connectMany(rig, 250);
      if (begun !== "") for (const client of some) await client.write(begun);
      clients.push(...some);
    }
    await expect.poll(() => rig.gateway.sockets(), { timeout: HANG_MS }).toBeGreaterThan(5000);
    const stranger = await rig.connect();
    await stranger.write(get("/public/stranger"));
    expect((await stranger.answer())?.status).toBe(200);
    stranger.destroy();
    for (const client of clients) await client.closed(60_000);
    return clients;
  }

  it("173 half heads are 408 and closed in time", async () => {
    const statuses = new Map<number | undefined, number>();
    for (const client of await connectAll("GET /any HTTP/1.1\r\nHost: gw\r\nX-")) {
      const status = (await client.answer())?.status;
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
    expect([...statuses]).toEqual([[408, 5000]]);
  }, 120_000);

  it("173 silent connections are closed in time, without an answer", async () => {
    const clients = await connectAll("");
    expect(clients.filter((client) => client.received.length > 0)).toEqual([]);
  }, 120_000);
});
