import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";
import { RecordingUpstream } from "../support/recording-upstream.ts";
import { auth, RIG_KEYRING, rigRoutes } from "../support/rig.ts";

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
