import { describe, expect, it } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";
import { answerOk, RecordingUpstream } from "../support/recording-upstream.ts";
import { RIG_KEYRING, rigRoutes } from "../support/rig.ts";
import { get } from "./wire.ts";

describe("a gateway that drains", () => {
  it.each([
    ["with a length", "Content-Length: 6\r\n\r\nabc"],
    ["in chunks", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
  ])("keeps its word to a client whose answer was under way %s, and ends idle ones", async (_, framing) => {
    let release = () => {};
    const held = new Promise<void>((done) => {
      release = done;
    });
    const upstream = await RecordingUpstream.start(async (request, connection) => {
      if (request.target !== "/public/held") return answerOk(request);
      connection.send(`HTTP/1.1 200 OK\r\nX-Recorder: 1\r\n${framing}`);
      await held;
      return framing.startsWith("C") ? "def" : "3\r\ndef\r\n0\r\n\r\n";
    });
    const gateway = await startGateway({
      config: {
        drain: { delay: "0ms", timeout: "20s" },
        upstreams: [{ name: "recorder", targets: [upstream.origin] }],
        routes: rigRoutes(),
      },
      keyring: RIG_KEYRING,
    });
    const [busy, idle, fresh] = await Promise.all([1, 2, 3].map(() => RawClient.connect(gateway.port)));
    if (busy === undefined || idle === undefined || fresh === undefined) throw new Error("not connected");
    await idle.write(get("/public"));
    expect((await idle.answer())?.status).toBe(200);
    await busy.write(get("/public/held"));
    await busy.until(() => busy.received.includes("abc"));
    gateway.signal("SIGTERM");
    // Idle ones are ended soon, those without any request too.
    await idle.closed();
    await fresh.closed();
    expect(fresh.received.length).toBe(0);
    expect(busy.ended).toBeNull();
    release();
    const finished = await busy.answer();
    expect(finished?.body.toString()).toBe("abcdef");
    expect(finished?.headers).toContainEqual(["Connection", "keep-alive"]);
    // It was told that it may ask again: it is answered, and told that this was the last time.
    await busy.write(get("/public/again"));
    const again = await busy.answer();
    expect(again?.status).toBe(200);
    expect(again?.headers).toContainEqual(["Connection", "close"]);
    await busy.closed();
    expect(await gateway.exited).toBe(0);
    await upstream.stop();
  });
});
