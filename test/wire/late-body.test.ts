import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { answerOk } from "../support/recording-upstream.ts";
import { auth, Rig, rigRoutes } from "../support/rig.ts";
import { get, post } from "./wire.ts";

/**
 * An upstream that sends a body where none belongs, a moment after the head, would have it read as the answer to whoever
 * uses the connection next. What is in such a body may be anybody's words.
 */
describe("a body that comes behind an answer that has none", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start();
  });
  afterAll(() => rig?.stop());

  it.each([
    ["HEAD", "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: 60\r\n\r\n"],
    ["HEAD", "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ["GET", "HTTP/1.1 204 No Content\r\nX-Recorder: 1\r\nContent-Length: 60\r\n\r\n"],
    ["GET", "HTTP/1.1 304 Not Modified\r\nX-Recorder: 1\r\nTransfer-Encoding: chunked\r\n\r\n"],
  ])("reaches nobody (%s, %j)", async (method, head) => {
    rig.upstream.script = (request) => (request.target === "/any/bait" ? head : answerOk(request));
    const [baiting, asking] = [await rig.connect(), await rig.connect()];
    await baiting.write(get("/any/bait", auth(), method));
    await baiting.answer(method);
    await asking.write(get("/any/asked", auth()));
    const answered = await asking.answer();
    expect(answered?.body.toString()).toContain("/any/asked");
    const baited = rig.upstream.connections.map((each) => each.seen("strict").map(({ target }) => target));
    expect(baited.flatMap((targets) => targets.slice(0, -1))).not.toContain("/any/bait");
    baiting.destroy();
    asking.destroy();
  });
});

/** What was not sent yet would have to be taken first: the next request would wait for an upstream that may never read on. */
describe("an answer that comes before the request was sent whole", () => {
  let rig: Rig;
  beforeAll(async () => {
    const routes = rigRoutes().map((route) =>
      route.name === "create-key" ? { ...route, maxBodySize: "16MiB", timeouts: { response: "2s" } } : route,
    );
    rig = await Rig.start({ routes });
  });
  afterAll(() => rig?.stop());

  it("leaves its connection to nobody else", async () => {
    rig.upstream.headScript = (head, connection) => {
      if (head.target !== "/v2/keys.createKey") return false;
      connection.socket.pause();
      connection.send("HTTP/1.1 413 Recorded\r\nX-Recorder: 1\r\nContent-Length: 0\r\n\r\n");
      return true;
    };
    const [uploading, asking] = [await rig.connect(), await rig.connect()];
    const body = JSON.stringify({ apiId: "api_1", padding: "x".repeat(12 * 1024 * 1024) });
    const sending = uploading.write(post("/v2/keys.createKey", body, `${auth()}Content-Type: application/json\r\n`));
    expect((await uploading.answer("POST"))?.status).toBe(413);
    await sending;
    await asking.write(get("/any/asked", auth()));
    expect((await asking.answer())?.status).toBe(200);
    uploading.destroy();
    asking.destroy();
  });
});

/** A Content-Length that counts characters leaves the last bytes of the text over: they may be anybody's words. */
describe("what an upstream says right behind its answer", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start();
  });
  afterAll(() => rig?.stop());

  it("is not the answer to a request that was waiting", async () => {
    rig.upstream.script = (request, connection) => {
      if (request.target !== "/any/bait") return answerOk(request);
      setImmediate(() => connection.send("HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: 6\r\n\r\nforged"));
      return answerOk(request);
    };
    const client = await rig.connect();
    for (let round = 0; round < 20; round += 1) {
      await client.write(get("/any/bait", auth()) + get("/any/asked", auth()));
      expect((await client.answer())?.body.toString()).toContain("/any/bait");
      expect((await client.answer())?.body.toString()).toContain("/any/asked");
    }
    client.destroy();
  });
});
