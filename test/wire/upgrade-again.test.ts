import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";
import { answerOk, RecordingUpstream } from "../support/recording-upstream.ts";
import { auth, RIG_KEYRING, Rig, rigRoutes } from "../support/rig.ts";

/** Node warns on stderr of eleven listeners for one event; the rig takes what is on stderr for an error. */
describe("one connection that asks to change protocol again and again", () => {
  let upstream: RecordingUpstream;
  let gateway: RunningGateway;

  beforeAll(async () => {
    upstream = await RecordingUpstream.start();
    gateway = await startGateway({
      config: { upstreams: [{ name: "recorder", targets: [upstream.origin] }], routes: rigRoutes() },
      keyring: RIG_KEYRING,
    });
  });
  afterAll(async () => {
    await gateway.stop();
    await upstream.stop();
  });

  it("is served fifty ordinary answers and leaves nothing behind on its socket", async () => {
    const client = await RawClient.connect(gateway.port);
    for (let round = 0; round < 50; round += 1) {
      const fields = `Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n${auth("OK")}`;
      await client.write(`POST /any/${round} HTTP/1.1\r\nHost: gw.test\r\n${fields}\r\nhi`);
      expect((await client.answer("POST"))?.status).toBe(200);
    }
    for (let round = 0; round < 20; round += 1) {
      const ordinary = `GET /any/a${round} HTTP/1.1\r\nHost: gw.test\r\n${auth("OK")}\r\n`;
      const upgrade = `GET /any/b${round} HTTP/1.1\r\nHost: gw.test\r\nConnection: Upgrade\r\nUpgrade: foo\r\n${auth("OK")}\r\n`;
      await client.write(ordinary + upgrade);
      expect((await client.answer("GET"))?.status).toBe(200);
      expect((await client.answer("GET"))?.status).toBe(200);
    }
    client.destroy();
    expect(upstream.requests()).toHaveLength(90);
    expect(gateway.output()).not.toContain("MaxListenersExceededWarning");
  });
});

/** Node's parser lets go of the socket at an Upgrade, also at one that has to wait for an answer before it. */
describe("an Upgrade that waits behind another request", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start();
  });
  afterAll(() => rig?.stop());

  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: gw\r\n${auth()}\r\n`;
  const upgrade = (protocol: string, fields = "") =>
    `GET /ws/${protocol} HTTP/1.1\r\nHost: gw\r\n${auth()}Connection: Upgrade\r\nUpgrade: ${protocol}\r\n${fields}\r\n`;

  function hold(path: string): Promise<() => void> {
    return new Promise((held) => {
      rig.upstream.script = (request) =>
        request.target === path ? new Promise((answer) => held(() => answer(answerOk(request)))) : answerOk(request);
    });
  }

  it.each(["websocket", "h2c"])("does not hide that its client has left (%s)", async (protocol) => {
    rig.upstream.reset();
    const held = hold(`/any/${protocol}`);
    const client = await rig.connect();
    await client.write(get(`/any/${protocol}`) + upgrade(protocol));
    await held;
    const connection = rig.upstream.connections.findLast(
      (each) => !each.closed && each.seen("strict").at(-1)?.target === `/any/${protocol}`,
    );
    client.destroy();
    await rig.upstream.until(() => connection?.closed === true);
  });

  it("is served what came behind it, in pieces too", async () => {
    rig.upstream.reset();
    const held = hold("/any/slow");
    const client = await rig.connect();
    await client.write(`${get("/any/slow")}${upgrade("foo", "Content-Length: 6\r\n")}abc`);
    const answer = await held;
    await client.write("def");
    await client.write(get("/any/last"));
    // Behind the bytes: it has read them.
    expect((await fetch(`${rig.gateway.origin}/public`)).status).toBe(200);
    answer();
    for (let each = 0; each < 3; each += 1) expect((await client.answer())?.status).toBe(200);
    const bodies = rig.upstream.requests().filter(({ target }) => target === "/ws/foo");
    expect(bodies.map(({ body }) => body.toString())).toEqual(["abcdef"]);
    client.destroy();
  });
});
