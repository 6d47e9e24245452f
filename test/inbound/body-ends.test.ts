import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { answer, answerOk, type Script } from "../support/recording-upstream.ts";
import { auth, rigRoutes } from "../support/rig.ts";
import { get, post } from "../wire/wire.ts";
import { BEFORE, BothWays, bytesOf, eachPlace, headOf, type Scene } from "./both-ways.ts";

const TARGET = "/any/x";
const JSON_HEAD = `${auth()}Content-Type: application/json\r\n`;
const MIB = 1024 * 1024;

/** The upstream keeps what it was asked for, and says nothing. */
const silent: Script = (request) => (request.target === TARGET ? null : answerOk(request));

describe("a client that leaves its request with a body, on both ways", () => {
  let ways: BothWays;
  beforeAll(async () => {
    ways = await BothWays.start({}, { response: "2m", idle: "2m" });
  });
  afterAll(() => ways?.stop());

  /** How far it came: what is sent, and what the upstream has of the body before the client leaves; null: it is not asked. */
  const phases: Readonly<Record<string, readonly [bytes: string, bodyBytes: number | null]>> = {
    "behind the head": [headOf(TARGET, 10, auth()), 0],
    "in the middle of the body": [`${headOf(TARGET, 10, auth())}hello`, 5],
    "a byte before the end": [`${headOf(TARGET, 10, auth())}helloworl`, 9],
    "behind the body": [post(TARGET, "helloworld", auth()), 10],
    "behind an empty body": [post(TARGET, "", auth()), 0],
    "with a GET behind the body": [post(TARGET, "helloworld", auth()) + get("/any/never", auth()), 10],
    "with half a POST behind the body": [post(TARGET, "helloworld", auth()) + headOf("/any/never", 5, auth()), 10],
    "in the head": ["POST /any/x HTTP/1.1\r\nHost: gw\r\nContent-Le", null],
    "behind the head, where the body is read": [headOf("/v2/keys.createKey", 17, JSON_HEAD), null],
    "in the middle of a body that is read": [`${headOf("/v2/keys.createKey", 17, JSON_HEAD)}{"apiId"`, null],
  };

  for (const how of ["halfClose", "reset", "destroy"] as const) {
    it.each(eachPlace(phases))(`leaves nothing behind (${how}): %s (%s)`, async (what, before, [bytes, bodyBytes]) => {
      await ways.alike({
        name: `${how} ${what}`,
        script: silent,
        play: async (scene) => {
          if (before !== "first") await scene.asksBefore();
          await scene.send(bytes);
          if (bodyBytes !== null) await scene.upstreamHas(TARGET, ({ body }) => body.length === bodyBytes);
          else await scene.beat();
          scene.client[how]();
          if (bodyBytes !== null) await scene.upstreamIsLeft(TARGET);
          await scene.client.closed();
          if (how === "halfClose") expect(scene.client.received.includes("/any/never")).toBe(false);
        },
      });
    });
  }

  it.each([
    ["a body", post("/any/x", "hello")],
    ["no bytes", post("/any/x", "")],
    ["half a body", `${headOf("/any/x", 10, "")}hello`],
  ])("gets the refusal that is there at once, where it ends its side with %s", async (what, bytes) => {
    await ways.alike({
      name: `refused with ${what} and a FIN`,
      play: async (scene) => {
        scene.client.socket.cork();
        void scene.send(bytes);
        scene.client.halfClose();
        scene.client.socket.uncork();
        expect((await scene.answer("POST"))?.status).toBe(401);
        await scene.closed();
      },
    });
  });

  it.each(["halfClose", "reset"] as const)("ends its answer too (%s)", async (how) => {
    await ways.alike({
      name: `${how} in the middle of the answer`,
      script: (request) =>
        request.target === TARGET
          ? "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: 1000\r\n\r\npartial"
          : answerOk(request),
      play: async (scene) => {
        await scene.send(post(TARGET, "hello", auth()));
        await scene.client.until(() => scene.client.received.includes("partial"));
        scene.client[how]();
        await scene.upstreamIsLeft(TARGET);
        await scene.client.closed();
        scene.noteReceived();
      },
    });
  });

  it("gets a large answer as fast as it reads, and its next one", async () => {
    const body = "0123456789abcdef".repeat((6 * MIB) / 16);
    await ways.alike({
      name: "a slow reader",
      script: (request) => (request.target === TARGET ? answer(200, body) : answerOk(request)),
      play: async (scene) => {
        const { socket } = scene.client;
        socket.pause();
        await scene.send(post(TARGET, "hello", auth()));
        await scene.upstreamHas(TARGET);
        await scene.client.write(post("/any/y", "world", auth()));
        for (let round = 0; round < 20; round++) await scene.beat();
        socket.resume();
        expect((await scene.answer("POST"))?.body.equals(Buffer.from(body))).toBe(true);
        expect((await scene.answer("POST"))?.body.toString()).toContain("/any/y");
        await scene.kept();
      },
    });
  });

  it("is recorded alike, wherever it left", async () => {
    await ways.recordedAlike();
  });
});

/** Whether the upstream hears of such a request, and how much of it was read, is a matter of microseconds. */
describe("a client that ends its side at once, on both ways", () => {
  let ways: BothWays;
  beforeAll(async () => {
    ways = await BothWays.start({}, { response: "2m", idle: "2m" });
  });
  afterAll(() => ways?.stop());

  /** What a client gets that ends its side in the packet of its request; null: nothing. */
  const atOnce: Readonly<Record<string, readonly [bytes: string, status: number | null]>> = {
    "the body": [post(TARGET, "hello", auth()), null],
    "no bytes": [post(TARGET, "", auth()), null],
    "half of the body": [`${headOf(TARGET, 10, auth())}hello`, 400],
    "the head": [headOf(TARGET, 10, auth()), 400],
    "half of a body that is read": [`${headOf("/v2/keys.createKey", 17, JSON_HEAD)}{"apiId"`, 400],
    "half of the head": ["POST /any/x HTTP/1.1\r\nHost: gw\r\nContent-Le", 400],
    "the body of a key that is none": [post(TARGET, "hello", auth("UNKNOWN")), 401],
    "half of the body of a key that is none": [`${headOf(TARGET, 10, auth("UNKNOWN"))}hello`, 401],
    "too many bytes": [headOf("/small", 2000, auth()), 413],
  };
  it.each(eachPlace(atOnce))(
    "comes to the same where it ends its side with %s (%s)",
    async (what, before, [bytes, status]) => {
      await ways.alike({
        name: `a FIN with ${what} (${before})`,
        upstreamVaries: true,
        script: silent,
        play: async (scene) => {
          if (before !== "first") await scene.asksBefore();
          scene.client.socket.cork();
          void scene.send(bytes);
          scene.client.halfClose();
          scene.client.socket.uncork();
          const got = await scene.answer("POST");
          expect(got?.status ?? null).toBe(status);
          await scene.closed();
        },
      });
    },
  );

  it("is recorded alike, but for the bytes", async () => {
    await ways.recordedAlike(["bytesIn"]);
  });
});

describe("a client that takes its time with a body, on both ways", () => {
  let ways: BothWays;
  beforeAll(async () => {
    ways = await BothWays.start({
      limits: { headerTimeout: "400ms", requestTimeout: "700ms", idleTimeout: "10s" },
      routes: [
        ...rigRoutes(),
        { name: "impatient", match: { pathPrefix: "/impatient" }, timeouts: { idle: "200ms" }, upstream: "recorder" },
      ],
    });
  });
  afterAll(() => ways?.stop());

  /** Told 408, and its connection ends. */
  async function isToldInTime(scene: Scene): Promise<void> {
    const got = await scene.answer("POST");
    expect(got?.status).toBe(408);
    expect(got?.body.toString()).toContain("request_timeout");
    await scene.closed();
  }

  const json = "/v2/keys.createKey";
  /** What comes before it stops, and whether the upstream has been asked by then. */
  const stops: Readonly<Record<string, readonly [bytes: string, asked: boolean]>> = {
    "behind the head": [headOf("/any/head", 10, auth()), true],
    "in the middle": [`${headOf("/any/middle", 10, auth())}hello`, true],
    "a byte before the end": [`${headOf("/any/end", 10, auth())}helloworl`, true],
    "in the middle of 200 KiB": [headOf("/any/much", 200 * 1024, auth()) + bytesOf(100 * 1024), true],
    "for the time that its upstream has": [`${headOf("/impatient", 10, auth())}hello`, true],
    "behind the head, where the body is read": [headOf(json, 17, JSON_HEAD), false],
    "in the middle, where the body is read": [`${headOf(json, 17, JSON_HEAD)}{"apiId"`, false],
    "in the head": ["POST /any/x HTTP/1.1\r\nHost: gw\r\nContent-Le", false],
  };

  it.each(BEFORE)("is told when it stops, wherever it does (%s)", async (before) => {
    const stop =
      (bytes: string, asked: boolean) =>
      async (scene: Scene): Promise<void> => {
        if (before !== "first") await scene.asksBefore();
        await scene.send(bytes);
        await isToldInTime(scene);
        if (asked) await scene.upstreamIsLeft(bytes.split(" ")[1] ?? "");
      };
    const sight = await ways.alike({
      name: `stops (${before})`,
      play: (scene) =>
        scene.together(Object.fromEntries(Object.entries(stops).map(([what, given]) => [what, stop(...given)]))),
    });
    const begun = sight.upstream.filter(({ target }) => target !== "/any/before");
    expect(begun.length).toBe(5);
    expect(begun.filter(({ complete }) => complete)).toEqual([]);
  });

  it("is told when it stops, or does not come to an end, in other ways", async () => {
    let release = () => {};
    const held = new Promise<void>((done) => {
      release = done;
    });
    await ways.alike({
      name: "other ways to stop",
      // As many bytes as were read when the time was over.
      bytesInVary: true,
      headScript: (head, connection) => {
        if (head.target !== "/any/early") return false;
        connection.send("HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: 10\r\n\r\nearly");
        return true;
      },
      script: async (request) => {
        if (request.target === "/any/held") await held;
        return answerOk(request);
      },
      play: (scene) =>
        scene.together({
          "a byte now and then, where the body is read": async (each) => {
            await each.send(headOf(json, 1000, JSON_HEAD));
            const trickle = setInterval(() => void each.client.write(" "), 20);
            await isToldInTime(each);
            clearInterval(trickle);
          },
          "behind a GET that waits for its answer": async (each) => {
            await each.send(get("/any/held", auth()));
            await each.upstreamHas("/any/held");
            await each.client.write(`${headOf("/any/behind", 10, auth())}hello`);
            await each.beat();
            release();
            expect((await each.answer())?.status).toBe(200);
            await isToldInTime(each);
            await each.upstreamIsLeft("/any/behind");
          },
          "behind a POST in its packet": async (each) => {
            await each.send(post("/any/whole", "hello", auth()) + headOf("/any/half", 10, auth()));
            expect((await each.answer("POST"))?.status).toBe(200);
            await isToldInTime(each);
            await each.upstreamIsLeft("/any/half");
          },
          // The time for a request is over, and its answer has begun: both may go on.
          "once its answer has begun": async (each) => {
            await each.send(`${headOf("/any/early", 10, auth())}hello`);
            await each.client.until(() => each.client.received.includes("early"));
            const other = await scene.rig.connect();
            await other.write(headOf("/any/other", 10, auth()));
            expect((await other.answer())?.status).toBe(408);
            other.destroy();
            await each.client.write("world");
            await each.upstreamHas("/any/early", ({ complete }) => complete);
            each.upstreamOf("/any/early").send(" late");
            expect((await each.answer("POST"))?.body.toString()).toBe("early late");
            await each.closed();
          },
        }),
    });
  });

  it("is not told so where it sends a byte now and then, and is done in time", async () => {
    await ways.alike({
      name: "slow, and done",
      play: async (scene) => {
        await scene.send(headOf("/impatient", 8, auth()));
        for (let sent = 1; sent <= 8; sent++) {
          await scene.client.write("x");
          await scene.upstreamHas("/impatient", ({ body }) => body.length === sent);
        }
        expect((await scene.answer("POST"))?.status).toBe(200);
        await scene.kept();
      },
    });
  });

  it("is recorded alike, wherever it stopped", async () => {
    await ways.recordedAlike();
  });

  it("is what takes the time, not the gateway: also where the gateway would have read the body", () => {
    for (const rig of Object.values(ways.rigs)) {
      const late = rig.gateway.logs().filter(({ path, status }) => path === json && status === 408);
      expect(late.length).toBe(5);
      for (const { durationMs, gatewayMs } of late) expect(Number(gatewayMs)).toBeLessThan(Number(durationMs) - 300);
    }
  });
});

describe.concurrent("a gateway that drains while bodies come, on both ways", () => {
  /** Each client sends what there is at once; the gateway is told to end; then each goes on. */
  async function drains(
    drainTimeout: string,
    clients: Readonly<Record<string, readonly [first: string, goOn: (scene: Scene) => Promise<void>]>>,
  ): Promise<void> {
    const ways = await BothWays.start({ drain: { delay: "0ms", timeout: drainTimeout } });
    try {
      await ways.alike({
        name: "drained",
        gatewayEnds: true,
        play: async (scene) => {
          const idle = await scene.rig.connect();
          let missing = Object.keys(clients).length;
          const plays = Object.entries(clients).map(([name, [first, goOn]]) => {
            const play = async (each: Scene) => {
              await each.send(first);
              await each.beat();
              missing -= 1;
              if (missing === 0) scene.rig.gateway.signal("SIGTERM");
              // Nobody who is idle is left: it has begun.
              await idle.closed();
              await goOn(each);
            };
            return [name, play] as const;
          });
          await scene.together(Object.fromEntries(plays));
          scene.client.destroy();
        },
      });
      const recorded = await ways.recordedAlike();
      expect(recorded.flatMap(({ records }) => records).length).toBe(Object.keys(clients).length);
    } finally {
      await ways.stop();
    }
  }

  it("takes the rest of each, answers it, and says that it closes", async () => {
    const goOn = (rest: string) => async (scene: Scene) => {
      await scene.client.write(rest + get("/any/never", auth()));
      const got = await scene.answer("POST");
      expect(got?.status).toBe(200);
      expect(got?.headers).toContainEqual(["Connection", "close"]);
      await scene.closed();
    };
    await drains("20s", {
      "behind the head": [headOf("/any/head", 10, auth()), goOn("helloworld")],
      "in the middle": [`${headOf("/any/middle", 10, auth())}hello`, goOn("world")],
      "where it is read": [`${headOf("/v2/keys.createKey", 17, JSON_HEAD)}{"apiId"`, goOn(':"api_1"}')],
    });
  });

  it("cuts what does not come in its time, and has it in its log", async () => {
    await drains("1500ms", {
      "in the middle": [
        `${headOf(TARGET, 10, auth())}hello`,
        async (scene) => {
          await scene.closed();
          scene.noteReceived();
        },
      ],
    });
  });
});
