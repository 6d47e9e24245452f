import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { answerOk } from "../support/recording-upstream.ts";
import { type Attack, auth, cutOff, failed, Rig } from "../support/rig.ts";
import { connectMany, describeAttacks, formatFindings, get, HANG_MS, post } from "./wire.ts";

/** The limits of `/quick` are 300 ms, those of the rig's other routes five seconds. */
const QUICKER_THAN_THE_RIG_MS = 4500;

describeAttacks({
  title: "H. upstreams that stall",
  attacks: [
    {
      name: "179 an upstream that says nothing is 504 at its limit",
      send: get("/quick", auth()),
      upstream: () => null,
      expect: failed(504, "err:sentinel:upstream:gateway_timeout"),
      within: QUICKER_THAN_THE_RIG_MS,
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
      within: QUICKER_THAN_THE_RIG_MS,
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
      within: QUICKER_THAN_THE_RIG_MS,
    },
    {
      name: "179 an answer that stalls in its body is cut off, and never looks whole",
      send: get("/quick", auth()),
      upstream: () => "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: 100\r\n\r\npartial",
      expect: cutOff(),
      within: QUICKER_THAN_THE_RIG_MS,
    },
  ] satisfies Attack[],
});

describe("H. exchanges that end early", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start({}, { response: "2m", idle: "2m" });
  });
  afterAll(() => rig?.stop());
  beforeEach(() => rig.upstream.reset());

  const phases = {
    "while it uploads": `POST /any/leave HTTP/1.1\r\nHost: gw\r\n${auth()}Content-Length: 1000\r\n\r\nabc`,
    "while it waits": get("/any/leave", auth()),
    "within the next head": `${get("/any/leave", auth())}GET /any/next HT`,
    "within the head behind the next": `${get("/any/leave", auth())}${get("/any/leave/next", auth())}GET /any/third HT`,
    "within the next body": `${get("/any/leave", auth())}${post("/any/leave/next", "abc", auth()).slice(0, -1)}`,
    "while it downloads": get("/any/leave/body", auth()),
  };
  it.each(Object.entries(phases))(
    "180 a client that leaves %s ends the upstream's request at once, not at a time-out",
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
        await rig.upstream.until(() => mine().length === 0, HANG_MS);
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
      if (request.method === "POST" || (request.target === "/any/dead" && connection.answered > 1)) {
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
    expect(got?.status).toBe(502);
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
