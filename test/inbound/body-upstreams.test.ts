import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePort } from "../support/free-port.ts";
import { answer, answerOk, type HeadScript, type Script } from "../support/recording-upstream.ts";
import { auth, rigRoutes } from "../support/rig.ts";
import { get, post } from "../wire/wire.ts";
import { BothWays, bytesOf, eachPlace, expectAlike, headOf, type Scene, type Situation, served } from "./both-ways.ts";

const MIB = 1024 * 1024;
/** More than sockets take by themselves. */
const LARGE = 24 * MIB;
const TARGET = "/any/x";

/** The upstream's answer is in pieces, each of which is read by itself. */
function inPieces(...pieces: readonly string[]): Script {
  return async (_, connection) => {
    for (const piece of pieces) {
      connection.send(piece);
      await new Promise((done) => setImmediate(done));
    }
    return null;
  };
}

/** Says something once the head is there, and whatever comes of the body. */
function early(say: HeadScript): HeadScript {
  return (head, connection) => (head.target === TARGET ? say(head, connection) : false);
}

describe("a request with a body and its upstream, on both ways", () => {
  let ways: BothWays;
  beforeAll(async () => {
    const nobody = `http://127.0.0.1:${await freePort()}`;
    ways = await BothWays.start(
      {
        routes: [
          ...rigRoutes(),
          { name: "large", match: { pathPrefix: "/large" }, maxBodySize: "64MiB", upstream: "recorder" },
          {
            name: "stalled",
            match: { pathPrefix: "/stalled" },
            maxBodySize: "64MiB",
            timeouts: { response: "500ms", idle: "500ms" },
            upstream: "recorder",
          },
          { name: "gone", match: { pathPrefix: "/gone" }, upstream: "nobody" },
          { name: "half-gone", match: { pathPrefix: "/half" }, upstream: "half" },
          { name: "sick", match: { pathPrefix: "/sick" }, upstream: "sick" },
        ],
      },
      {},
      (recorder) => [
        { name: "nobody", targets: [nobody] },
        { name: "half", targets: [nobody, recorder] },
        { name: "sick", targets: [nobody], healthCheck: { path: "/health", interval: "200ms" } },
      ],
    );
  });
  afterAll(() => ways?.stop());

  const hello = post(TARGET, "hello", auth());
  const [head, tail] = [`${headOf(TARGET, 10, auth())}hello`, "world"];
  const chunkedHead = "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nTransfer-Encoding: chunked\r\n";

  const answers: Readonly<Record<string, Situation>> = {
    "12 KiB": { ...served(hello), script: () => answer(200, "x".repeat(12 * 1024)) },
    "a byte more": { ...served(hello), script: () => answer(200, "x".repeat(12 * 1024 + 1)) },
    "a megabyte": { ...served(hello), script: () => answer(200, bytesOf(MIB)) },
    "a megabyte, and a GET behind": {
      ...served(hello + get("/any/y", auth()), 2),
      script: () => answer(200, bytesOf(MIB)),
    },
    pieces: {
      ...served(hello),
      script: inPieces("HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: 6\r\n\r\n", "ab", "cd", "ef"),
    },
    "chunks and trailers": {
      ...served(hello),
      script: () => `${chunkedHead}Trailer: X-End\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-End: yes\r\n\r\n`,
    },
    "chunks that come one by one": {
      ...served(hello),
      script: inPieces(`${chunkedHead}\r\n`, "3\r\nabc\r\n", "2\r\nde\r\n", "0\r\n\r\n"),
    },
    "no chunk": { ...served(hello), script: () => `${chunkedHead}\r\n0\r\n\r\n` },
    "hints first": {
      ...served(hello),
      script: () => `HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n${answer(200, "hinted")}`,
    },
    "a 100 first": { ...served(hello), script: () => `HTTP/1.1 100 Continue\r\n\r\n${answer(200, "went on")}` },
    "no content": {
      send: hello,
      answers: [204],
      ends: "kept",
      up: 1,
      script: () => "HTTP/1.1 204 No Content\r\nX-Recorder: 1\r\n\r\n",
    },
    "a status of its own": { send: hello, answers: [422], ends: "kept", up: 1, script: () => answer(422, "no") },
    "an end of its connection": {
      ...served(hello),
      script: (_, connection) => {
        connection.send("HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nConnection: close\r\n\r\nabc");
        connection.socket.end();
        return null;
      },
    },
    "what is no HTTP": { send: hello, answers: [502], ends: "kept", up: 1, script: () => "SSH-2.0-x\r\n\r\n" },
    "two lengths": {
      send: hello,
      answers: [502],
      ends: "kept",
      up: 1,
      script: () => answer(200, "abc", ["Content-Length: 4"]),
    },
    "a FIN": {
      send: hello,
      answers: [502],
      ends: "kept",
      up: 1,
      script: (_, connection) => {
        connection.socket.end();
        return null;
      },
    },
    "a reset": {
      send: hello,
      answers: [502],
      ends: "kept",
      up: 1,
      script: (_, connection) => {
        connection.resetNow();
        return null;
      },
    },
  };
  it.each(eachPlace(answers))("is answered alike: with %s (%s)", async (what, before, situation) => {
    await expectAlike(ways, what, before, situation);
  });

  it.each([
    ["a FIN", "end"],
    ["a reset", "reset"],
  ] as const)("does not look whole when its answer breaks off with %s", async (what, how) => {
    for (const framing of ["Content-Length: 100\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"]) {
      await ways.alike({
        name: `broken off with ${what}`,
        script: (_, connection) => {
          connection.send(`HTTP/1.1 200 OK\r\nX-Recorder: 1\r\n${framing}`);
          return null;
        },
        play: async (scene) => {
          await scene.send(hello);
          await scene.client.until(() => scene.client.received.includes("abc"));
          const serving = scene.upstreamOf(TARGET);
          if (how === "end") serving.socket.end();
          else serving.resetNow();
          await scene.client.closed();
          scene.noteReceived();
        },
      });
    }
  });

  const gone = (bytes: string, ends: Situation["ends"]): Situation => ({ send: bytes, answers: [503], ends, up: 0 });
  const unreachable: Readonly<Record<string, Situation>> = {
    // Read here, it was received; in front of Node's server nobody had asked for it.
    "its body came with the head": { ...gone(hello.replace(TARGET, "/gone"), "kept"), bytesInVary: true },
    "half of its body came": gone(head.replace(TARGET, "/gone"), "end"),
    "none of its body came": gone(headOf("/gone", 5, auth()), "end"),
    "it has no bytes": gone(post("/gone", "", auth()), "kept"),
    "its body is a megabyte": gone(post("/gone", bytesOf(MIB), auth()), "end"),
  };
  it.each(eachPlace(unreachable))(
    "is told that its upstream can not be reached: %s (%s)",
    async (what, before, situation) => {
      await expectAlike(ways, what, before, situation);
    },
  );

  it.each([
    ["with its head", [hello.replace(TARGET, "/half")], "hello"],
    ["behind its head", [head.replace(TARGET, "/half"), tail], "helloworld"],
  ])("goes to another target where one can not be reached, whole and once: %s", async (where, parts, body) => {
    const sight = await ways.alike({
      name: `half gone, ${where}`,
      play: async (scene) => {
        // Whichever target has its turn first.
        for (let round = 0; round < 2; round++) {
          await scene.sendApart(parts);
          expect((await scene.answer("POST"))?.status).toBe(200);
        }
      },
    });
    expect(sight.upstream.map((seen) => seen.body)).toEqual([body, body]);
  });

  it("is told that no target is healthy", async () => {
    const out = Object.values(ways.rigs).map(({ gateway }) => {
      return gateway.waitForRecord(({ event, upstream }) => event === "target_out" && upstream === "sick", 15_000);
    });
    await Promise.all(out);
    const sick: Readonly<Record<string, Situation>> = Object.fromEntries(
      Object.entries(unreachable).map(([what, situation]) => [
        what,
        { ...situation, send: String(situation.send).replace("/gone", "/sick") },
      ]),
    );
    for (const [what, before, situation] of eachPlace(sick)) {
      await expectAlike(ways, `sick, ${what}`, before, situation);
    }
  });

  /** What the upstream does in the middle of the upload: the rest comes behind its answer. */
  const earlyAnswers: Readonly<Record<string, readonly [say: HeadScript, status: number | null]>> = {
    "answers, and reads on": [
      (_, connection) => {
        connection.send(answer(200, "early"));
        return true;
      },
      200,
    ],
    "refuses, and reads on": [
      (_, connection) => {
        connection.send(answer(403, "early"));
        return true;
      },
      403,
    ],
    "answers, and says that it closes": [
      (_, connection) => {
        connection.send(answer(413, "early", ["Connection: close"]));
        return true;
      },
      413,
    ],
    "answers, and closes": [
      (_, connection) => {
        connection.send(answer(413, "early", ["Connection: close"]));
        connection.socket.end();
        return true;
      },
      413,
    ],
    "answers with 20 KiB": [
      (_, connection) => {
        connection.send(answer(200, bytesOf(20 * 1024)));
        return true;
      },
      200,
    ],
    "answers in chunks": [
      (_, connection) => {
        connection.send(`${chunkedHead}\r\n5\r\nearly\r\n0\r\n\r\n`);
        return true;
      },
      200,
    ],
    "ends its side": [
      (_, connection) => {
        connection.socket.end();
        return true;
      },
      502,
    ],
    resets: [
      (_, connection) => {
        connection.resetNow();
        return true;
      },
      502,
    ],
    "says what is no HTTP": [
      (_, connection) => {
        connection.send("SSH-2.0-x\r\n\r\n");
        return true;
      },
      502,
    ],
  };
  it.each(eachPlace(earlyAnswers))(
    "is over when its upstream %s in the middle of it (%s)",
    async (what, before, given) => {
      const [say, status] = given;
      await ways.alike({
        name: `${what} (${before})`,
        headScript: early(say),
        // Whoever resets may have read the beginning of the body by then, or not.
        upstreamVaries: what === "resets",
        play: async (scene) => {
          if (before !== "first") await scene.asksBefore();
          await scene.send(head);
          expect((await scene.answer("POST"))?.status).toBe(status);
          await scene.closed();
          expect(scene.client.ended).toBe("end");
          await scene.client.write(tail + get("/any/never", auth()));
          await scene.beat();
        },
      });
    },
  );

  it("is answered once its body is whole when its upstream begins to answer in the middle of it", async () => {
    await ways.alike({
      name: "an answer that begins early",
      headScript: early((_, connection) => {
        connection.send(`${chunkedHead}\r\n5\r\nearly\r\n`);
        return true;
      }),
      play: async (scene) => {
        await scene.send(head);
        await scene.client.until(() => scene.client.received.includes("early"));
        await scene.client.write(tail);
        await scene.upstreamHas(TARGET, ({ complete }) => complete);
        scene.upstreamOf(TARGET).send("4\r\nlate\r\n0\r\n\r\n");
        expect((await scene.answer("POST"))?.body.toString()).toBe("earlylate");
        await scene.closed();
      },
    });
  });

  it("goes on before its body is there, byte by byte as it comes", async () => {
    await ways.alike({
      name: "byte by byte",
      play: async (scene) => {
        await scene.send(headOf(TARGET, 10, auth()));
        await scene.upstreamHas(TARGET, ({ body }) => body.length === 0);
        for (let sent = 1; sent <= 10; sent++) {
          await scene.client.write(String(sent % 10));
          await scene.upstreamHas(TARGET, ({ body }) => body.length === sent);
        }
        expect((await scene.answer("POST"))?.status).toBe(200);
        await scene.kept();
      },
    });
  });

  /** Whoever waits for the upstream to read is not asked for more than fits into sockets. */
  async function uploadsWhileStalled(scene: Scene, goOn: () => Promise<void>): Promise<void> {
    const rss = scene.rig.gateway.rssBytes();
    let taken = false;
    const sending = scene.send(post("/large", "x".repeat(LARGE), auth())).then(() => {
      taken = true;
    });
    await scene.upstreamHas("/large");
    for (let round = 0; round < 50; round++) await scene.beat();
    expect(taken).toBe(false);
    expect(scene.rig.gateway.rssBytes() - rss).toBeLessThan(16 * MIB);
    await goOn();
    await sending;
  }
  const stall: HeadScript = (_, connection) => {
    connection.socket.pause();
    return false;
  };

  it("waits in its client while its upstream does not read, and is whole when that goes on", async () => {
    const sight = await ways.alike({
      name: "an upstream that goes on to read",
      headScript: (seen, connection) =>
        seen.target === "/large" && seen.body.length < MIB ? stall(seen, connection) : false,
      play: (scene) =>
        uploadsWhileStalled(scene, async () => {
          const connection = scene.upstreamOf("/large");
          const reading = setInterval(() => connection.socket.resume(), 1);
          expect((await scene.answer("POST"))?.status).toBe(200);
          clearInterval(reading);
          await scene.kept();
        }),
    });
    expect(sight.upstream.find(({ target }) => target === "/large")?.body).toMatch(new RegExp(`^${LARGE} bytes`));
  });

  it("is given up when its upstream does not read for its time", async () => {
    await ways.alike({
      name: "an upstream that never reads",
      bytesInVary: true,
      headScript: (seen, connection) => (seen.target === "/stalled" ? stall(seen, connection) : false),
      play: async (scene) => {
        const sending = scene.send(post("/stalled", "x".repeat(LARGE), auth()));
        expect((await scene.answer("POST"))?.status).toBe(504);
        await scene.closed();
        scene.upstreamOf("/stalled").socket.destroy();
        await sending;
      },
    });
  });

  it("is told when its upstream says nothing for its time", async () => {
    await ways.alike({
      name: "an upstream that is silent",
      script: (request) => (request.target === "/stalled" ? null : answerOk(request)),
      play: async (scene) => {
        await scene.send(post("/stalled", "hello", auth()));
        expect((await scene.answer("POST"))?.status).toBe(504);
        await scene.upstreamIsLeft("/stalled");
        await scene.kept();
      },
    });
  });

  it("is recorded alike, whatever its upstream did", async () => {
    await ways.recordedAlike();
  });
});
