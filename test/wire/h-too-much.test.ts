import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";
import { answerOk, RecordingUpstream } from "../support/recording-upstream.ts";
import { type Attack, auth, cutOff, RIG_KEYRING, Rig, refused, rigRoutes } from "../support/rig.ts";
import { chunked, closeTimes, connectMany, describeAttacks, formatFindings, get, HANG_MS, post } from "./wire.ts";

const TOO_LARGE = "err:user:bad_request:request_body_too_large";

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
    expect(time).toBeLessThan(HANG_MS);
    const [first] = kept;
    await first?.write(get("/public/again"));
    expect((await first?.answer())?.status).toBe(200);
    for (const client of kept) client.destroy();
    await rig.socketsLeft();
    expect(formatFindings(await rig.settle())).toBe("");
  });

  it("195 /metrics answers at once while requests pour in, and its size is bounded", async () => {
    const clients = await connectMany(rig, 20);
    for (const client of clients) {
      await client.write(Array.from({ length: 200 }, (_, i) => get(`/nowhere/${Math.random()}/${i}`)).join(""));
    }
    const started = performance.now();
    const text = await (await fetch(`${rig.gateway.adminOrigin}/metrics`)).text();
    expect(performance.now() - started).toBeLessThan(HANG_MS);
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
