import { request as httpRequest } from "node:http";
import { createServer as createTcpServer, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { checkEnvelope } from "../support/oracles.ts";
import { RawClient } from "../support/raw-client.ts";
import { answer, answerOk, RecordingUpstream } from "../support/recording-upstream.ts";
import { type Attack, auth, cutOff, failed, RIG_KEYRING, Rig, refused, rigRoutes } from "../support/rig.ts";
import { chunked, describeAttacks, formatFindings, get, post } from "./wire.ts";

const HEADER_TIMEOUT = 500;
const REQUEST_TIMEOUT = 900;
const IDLE_TIMEOUT = 700;
const TOO_LARGE = "err:user:bad_request:request_body_too_large";

/** Milliseconds from now until each of the connections is closed by the gateway. */
async function closeTimes(clients: readonly RawClient[]): Promise<number[]> {
  const started = performance.now();
  return Promise.all(
    clients.map(async (client) => {
      await client.closed(10_000);
      return performance.now() - started;
    }),
  );
}

async function connectMany(rig: Rig, count: number): Promise<RawClient[]> {
  return Promise.all(Array.from({ length: count }, () => rig.connect()));
}

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
    expect(performance.now() - started).toBeLessThan(1000);
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
    expect(Math.max(...(await times))).toBeLessThan(HEADER_TIMEOUT + 1500);
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
    expect(Math.max(...(await times))).toBeLessThan(REQUEST_TIMEOUT + 2500);
    clearInterval(dripping);
    for (const client of clients) expect((await client.answer())?.status).toBe(408);
    expect(rig.upstream.requests().filter((each) => each.target === "/any" && each.complete)).toEqual([]);
  });

  it("173 300 silent connections are closed in time, without an answer", async () => {
    const clients = await connectMany(rig, 300);
    const times = closeTimes(clients);
    await serveStranger();
    expect(Math.max(...(await times))).toBeLessThan(IDLE_TIMEOUT + 1500);
    for (const client of clients) expect(client.received.length).toBe(0);
  });

  it("173 a connection between two requests is closed at its limit, not before", async () => {
    const client = await rig.connect();
    await client.write(get("/public"));
    expect((await client.answer())?.status).toBe(200);
    const [time = 0] = await closeTimes([client]);
    expect(time).toBeGreaterThan(IDLE_TIMEOUT - 100);
    expect(time).toBeLessThan(IDLE_TIMEOUT + 2500);
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
    expect(Math.max(...times)).toBeLessThan(IDLE_TIMEOUT + HEADER_TIMEOUT + 5000);
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
    rig = await Rig.start({ limits: { headerTimeout: "8s", idleTimeout: "10s" } });
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
    await expect.poll(() => rig.gateway.sockets(), { timeout: 6000 }).toBeGreaterThan(5000);
    const stranger = await rig.connect();
    await stranger.write(get("/public/stranger"));
    expect((await stranger.answer())?.status).toBe(200);
    stranger.destroy();
    for (const client of clients) await client.closed(30_000);
    return clients;
  }

  it("173 half heads are 408 and closed in time", async () => {
    const statuses = new Map<number | undefined, number>();
    for (const client of await connectAll("GET /any HTTP/1.1\r\nHost: gw\r\nX-")) {
      const status = (await client.answer())?.status;
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
    expect([...statuses]).toEqual([[408, 5000]]);
  }, 60_000);

  it("173 silent connections are closed in time, without an answer", async () => {
    const clients = await connectAll("");
    expect(clients.filter((client) => client.received.length > 0)).toEqual([]);
  }, 60_000);
});

describe("H. clients that take too much", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start({ limits: { maxConnections: 40 } });
  });
  afterAll(() => rig?.stop());
  beforeEach(() => rig.upstream.reset());

  it("175 ten thousand pipelined requests on one socket: at most 100 in progress, a second client served, all answered in order", async () => {
    let inProgress = 0;
    let most = 0;
    let release = () => {};
    const held = new Promise<void>((done) => {
      release = done;
    });
    rig.upstream.script = async (request) => {
      if (!request.target.startsWith("/any/p")) return answerOk(request);
      inProgress += 1;
      most = Math.max(most, inProgress);
      await held;
      inProgress -= 1;
      return answerOk(request);
    };
    const client = await rig.connect();
    const batch = Array.from({ length: 10_000 }, (_, index) => get(`/any/p${index}`, auth())).join("");
    const writing = client.write(batch);
    await rig.upstream.until(() => inProgress > 0);
    const stranger = await rig.connect();
    await stranger.write(get("/public/stranger"));
    expect((await stranger.answer())?.status).toBe(200);
    stranger.destroy();
    release();
    client.socket.removeAllListeners("data");
    let text = "";
    let count = 0;
    const order: number[] = [];
    await new Promise<void>((done) => {
      const take = (data: Buffer) => {
        text += data.toString("latin1");
        for (let end = text.indexOf("}"); end !== -1; end = text.indexOf("}")) {
          order.push(Number(/\/any\/p(\d+)"/.exec(text.slice(0, end + 1))?.[1]));
          text = text.slice(end + 1);
          count += 1;
        }
        if (count >= 10_000) done();
      };
      take(client.received);
      client.socket.on("data", take);
    });
    await writing;
    expect(order).toEqual(Array.from({ length: 10_000 }, (_, index) => index));
    expect(most).toBeLessThanOrEqual(100);
    client.destroy();
    expect(formatFindings(await rig.settle())).toBe("");
  }, 60_000);

  it("177 more connections than allowed are refused at once, and those there are go on", async () => {
    const kept = await connectMany(rig, 40);
    for (const client of kept) {
      await client.write(get("/public/kept"));
      expect((await client.answer())?.status).toBe(200);
    }
    const extra = await rig.connect();
    const [time = 0] = await closeTimes([extra]);
    expect(time).toBeLessThan(500);
    const [first] = kept;
    await first?.write(get("/public/again"));
    expect((await first?.answer())?.status).toBe(200);
    for (const client of kept) client.destroy();
    await rig.socketsLeft();
    expect(formatFindings(await rig.settle())).toBe("");
  });

  it("195 /metrics answers within a second while requests pour in, and its size is bounded", async () => {
    const clients = await connectMany(rig, 20);
    for (const client of clients) {
      await client.write(Array.from({ length: 200 }, (_, i) => get(`/nowhere/${Math.random()}/${i}`)).join(""));
    }
    const started = performance.now();
    const text = await (await fetch(`${rig.gateway.adminOrigin}/metrics`)).text();
    expect(performance.now() - started).toBeLessThan(2000);
    expect(text.length).toBeLessThan(200_000);
    expect(text).not.toContain("/nowhere/");
    for (const client of clients) client.destroy();
  });

  it("194 a log sink that hangs does not hold up requests", async () => {
    rig.gateway.holdOutput(true);
    const client = await rig.connect();
    try {
      for (let round = 0; round < 3000; round += 1) {
        await client.write(get(`/nowhere/${round}-${"x".repeat(500)}`));
        expect((await client.answer("GET", 10_000))?.status).toBe(404);
      }
    } finally {
      client.destroy();
      rig.gateway.holdOutput(false);
    }
    expect(formatFindings(await rig.settle())).toBe("");
  }, 90_000);
});

describeAttacks({
  title: "H. bodies over the limit",
  attacks: [
    {
      name: "176 a Content-Length over the limit is 413 before the body is read",
      send: `POST /small HTTP/1.1\r\nHost: gw\r\n${auth()}Content-Length: 1025\r\n\r\n`,
      expect: refused(413, TOO_LARGE),
    },
    {
      name: "176 no 100 is sent for a body over the limit",
      send: `POST /small HTTP/1.1\r\nHost: gw\r\n${auth()}Expect: 100-continue\r\nContent-Length: 1025\r\n\r\n`,
      expect: refused(413, TOO_LARGE),
      claim: ({ answers }) => expect(answers[0]?.interim).toEqual([]),
    },
    {
      name: "176 a chunked body over the limit is 413, and never whole upstream",
      send: chunked("/small", `${"100\r\n".concat("a".repeat(256), "\r\n").repeat(5)}0\r\n\r\n`, auth()),
      expect: [0, 1].flatMap((up) => [{ ...refused(413, TOO_LARGE), up }, cutOff(up)]),
      claim: ({ requests }) => expect(requests.filter((each) => each.complete)).toEqual([]),
    },
    {
      name: "176 a body of exactly the limit passes",
      send: post("/small", "a".repeat(1024), auth()),
      expect: { answers: [{ status: 200 }], closed: false, up: 1 },
    },
    {
      name: "176 a body over the limit without a key is 401",
      send: `POST /small HTTP/1.1\r\nHost: gw\r\nContent-Length: 1025\r\n\r\n`,
      expect: refused(401, "err:unkey:authentication:missing"),
    },
  ] satisfies Attack[],
});

describeAttacks({
  title: "H. upstreams that stall",
  attacks: [
    {
      name: "179 an upstream that says nothing is 504 at its limit",
      send: get("/quick", auth()),
      upstream: () => null,
      expect: failed(504, "err:sentinel:upstream:gateway_timeout"),
      within: 1500,
    },
    {
      name: "179 headers at a byte a time are 504 at the limit",
      send: get("/quick", auth()),
      upstream: async (_, connection) => {
        for (const byte of "HTTP/1.1 200 OK\r\nX-Slow: aaaaaaaaaaaaa") {
          if (connection.closed) return null;
          connection.send(byte);
          await new Promise((done) => setTimeout(done, 50));
        }
        return null;
      },
      expect: failed(504, "err:sentinel:upstream:gateway_timeout"),
      within: 1500,
    },
    {
      name: "179 interim answers do not stop the clock",
      send: get("/quick", auth()),
      upstream: async (_, connection) => {
        for (let round = 0; round < 7 && !connection.closed; round += 1) {
          connection.send("HTTP/1.1 102 Processing\r\n\r\n");
          await new Promise((done) => setTimeout(done, 100));
        }
        return null;
      },
      expect: failed(504, "err:sentinel:upstream:gateway_timeout"),
      within: 1500,
    },
    {
      name: "179 an answer that stalls in its body is cut off, and never looks whole",
      send: get("/quick", auth()),
      upstream: () => "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: 100\r\n\r\npartial",
      expect: cutOff(),
      within: 1500,
    },
  ] satisfies Attack[],
});

describe("H. exchanges that end early", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start();
  });
  afterAll(() => rig?.stop());
  beforeEach(() => rig.upstream.reset());

  const phases = {
    "while it uploads": `POST /any/leave HTTP/1.1\r\nHost: gw\r\n${auth()}Content-Length: 1000\r\n\r\nabc`,
    "while it waits": get("/any/leave", auth()),
    "while it downloads": get("/any/leave/body", auth()),
  };
  it.each(Object.entries(phases))(
    "180 a client that leaves %s ends the upstream's request within a second",
    async (_, bytes) => {
      rig.upstream.script = (request) =>
        request.target.startsWith("/any/leave")
          ? request.target.endsWith("body")
            ? "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: 1000\r\n\r\npartial"
            : null
          : answerOk(request);
      for (const how of ["reset", "destroy"] as const) {
        const client = await rig.connect();
        await client.write(bytes);
        const mine = () =>
          rig.upstream.connections.filter((each) => !each.closed && each.bytes().includes("/any/leave"));
        await rig.upstream.until(() => mine().length > 0);
        if (bytes.includes("body")) await client.until(() => client.received.includes("partial"));
        client[how]();
        await rig.upstream.until(() => mine().length === 0, 1000);
      }
      rig.upstream.script = answerOk;
      expect(formatFindings(await rig.settle())).toBe("");
      expect(await rig.socketsLeft()).toBeLessThanOrEqual(0);
    },
  );

  it("180 a client that leaves in its head leaves nothing", async () => {
    for (let round = 0; round < 100; round += 1) {
      const client = await rig.connect();
      await client.write("GET /any HTTP/1.1\r\nHost: g");
      client.reset();
    }
    expect(formatFindings(await rig.settle())).toBe("");
    expect(await rig.socketsLeft()).toBeLessThanOrEqual(0);
  });

  it("181 a GET on a pooled connection that died is tried once more, a POST whose body went out is not", async () => {
    const seen: string[] = [];
    rig.upstream.script = (request, connection) => {
      if (request.target.startsWith("/fence")) return answerOk(request);
      seen.push(`${request.method} ${connection.answered}`);
      if (request.target === "/any/dead" && connection.answered > 1) {
        connection.resetNow();
        return null;
      }
      return answerOk(request);
    };
    const client = await rig.connect();
    await client.write(get("/any/warm", auth()));
    await client.answer();
    await client.write(get("/any/dead", auth()));
    expect((await client.answer())?.status).toBe(200);
    await client.write(get("/any/warm", auth()));
    await client.answer();
    const before = seen.length;
    await client.write(post("/any/dead", "abc", auth()));
    const got = await client.answer();
    // A POST may go out on a connection that never carried anything; on a used one that dies it is 502, once.
    expect([200, 502]).toContain(got?.status);
    expect(seen.length - before).toBe(1);
    client.destroy();
    expect((await rig.settle()).filter(({ what }) => !what.startsWith("sent twice"))).toEqual([]);
  });

  it("182 many requests at once through few connections are all answered, with our headers on each", async () => {
    const clients = await connectMany(rig, 50);
    const answers = await Promise.all(
      clients.map(async (client, index) => {
        await client.write(index % 2 === 0 ? post("/any/many", "abc", auth()) : get("/any/many", auth()));
        return client.answer();
      }),
    );
    expect(answers.map((got) => got?.status)).toEqual(clients.map(() => 200));
    for (const client of clients) client.destroy();
    expect(formatFindings(await rig.settle())).toBe("");
  });

  it("183 an upstream that closes idle connections whenever it likes costs a GET nothing", async () => {
    rig.upstream.script = (request, connection) => {
      const delay = request.target.length % 4;
      setTimeout(() => connection.socket.end(), delay);
      return answerOk(request);
    };
    const client = await rig.connect();
    for (let round = 0; round < 1000; round += 1) {
      await client.write(get(`/any/${"r".repeat(round % 5)}`, auth()));
      const got = await client.answer();
      if (got?.status !== 200) expect([round, got?.status]).toEqual([round, 200]);
    }
    client.destroy();
  }, 60_000);
});

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
          { name: "two", targets: [upstream.origin, `http://127.0.0.1:${port}`], timeouts: { connect: "300ms" } },
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
        .poll(async () => await (await fetch(`${gateway.adminOrigin}/metrics`)).text(), { timeout: 10_000 })
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

describe("H. descriptors", () => {
  it("177 with 256 descriptors the gateway refuses what it can not take, and recovers", async () => {
    const upstream = await RecordingUpstream.start();
    const gateway = await startGateway({
      descriptors: 256,
      config: { upstreams: [{ name: "recorder", targets: [upstream.origin] }], routes: rigRoutes() },
      keyring: RIG_KEYRING,
    });
    const clients = await Promise.all(
      Array.from({ length: 400 }, () => RawClient.connect(gateway.port).catch(() => null)),
    );
    expect(gateway.alive).toBe(true);
    for (const client of clients) client?.destroy();
    const client = await RawClient.connect(gateway.port);
    await client.write(get("/public"));
    expect((await client.answer("GET", 10_000))?.status).toBe(200);
    client.destroy();
    await gateway.stop();
    await upstream.stop();
  });
});

describe("H. the end", () => {
  it("185 SIGTERM under load loses no request, says not ready first, and exits with 0", async () => {
    const upstream = await RecordingUpstream.start();
    const gateway = await startGateway({
      config: {
        drain: { delay: "400ms", timeout: "3s" },
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
    const load = setInterval(() => void ask(), 2);
    await gateway.waitForRecord((record) => record.path === "/public/load");
    gateway.signal("SIGTERM");
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
    expect(performance.now() - started).toBeLessThan(2000);
    client.destroy();
    await upstream.stop();
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
    const started = performance.now();
    await expect(startGateway({ config })).rejects.toThrow(/ended with 1/);
    expect(performance.now() - started).toBeLessThan(4000);
  });
});
