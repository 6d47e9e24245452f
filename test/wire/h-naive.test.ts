import { describe, expect, it, type TestContext } from "vitest";
import type { RawClient } from "../support/raw-client.ts";
import { answerOk } from "../support/recording-upstream.ts";
import { auth, Rig } from "../support/rig.ts";
import { get, HANG_MS, post } from "./wire.ts";

/** One of its own for each test, closed when that very test ends: side by side, for most of the time is waited. */
async function startNaive({ onTestFinished }: TestContext): Promise<Rig> {
  const rig = await Rig.startNaive();
  onTestFinished(() => rig.stop().catch(() => {})); // What it left behind is the finding.
  return rig;
}

/** The checks of the other files of group H on a gateway without these defences: each is seen to fail there. */
describe.concurrent("H. on a naive gateway", () => {
  /** Longer than Sentinel is given in the other files, all at the same time. */
  const LONGER_MS = HANG_MS + 1500;

  it("173 a slow head, a slow body and a silent connection are not closed in the time that Sentinel is given", async (context) => {
    const rig = await startNaive(context);
    const begun = [
      "GET /any HTTP/1.1\r\nHost: gw\r\nX-",
      `POST /any HTTP/1.1\r\nHost: gw\r\n${auth()}Content-Length: 1000\r\n\r\n`,
      "",
    ];
    const open = begun.map(async (bytes) => {
      const client = await rig.connect();
      if (bytes !== "") await client.write(bytes);
      await expect(client.closed(LONGER_MS)).rejects.toThrow();
      client.destroy();
    });
    await Promise.all(open);
  });

  it("174 a reader that does not read is not closed in the time that Sentinel is given", async (context) => {
    const rig = await startNaive(context);
    rig.upstream.script = (request, connection) => {
      if (request.target !== "/any/endless") return answerOk(request);
      connection.send("HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: 1000000000\r\n\r\n");
      connection.send(Buffer.alloc(64 * 1024 * 1024));
      return null;
    };
    const idle = rig.gateway.sockets();
    const client = await rig.connect();
    client.socket.pause();
    await client.write(get("/any/endless", auth()));
    await rig.upstream.until(() => rig.upstream.connections.length > 0, LONGER_MS);
    // The upstream may give up its side; the client's stays.
    await expect(rig.upstream.until(() => rig.gateway.sockets() <= idle, LONGER_MS)).rejects.toThrow();
    client.destroy();
  });

  it("175 pipelined requests are all begun at once", async (context) => {
    const rig = await startNaive(context);
    let inProgress = 0;
    rig.upstream.script = (request) => {
      if (request.target.startsWith("/any/p")) inProgress += 1;
      return null;
    };
    const client = await rig.connect();
    await client.write(Array.from({ length: 150 }, (_, index) => get(`/any/p${index}`, auth())).join(""));
    await rig.upstream.until(() => inProgress > 100, 5000);
    client.destroy();
  });

  it("176 a body over the limit reaches the upstream", async (context) => {
    const rig = await startNaive(context);
    const client = await rig.connect();
    await client.write(post("/small", "a".repeat(1025), auth()));
    expect((await client.answer())?.status).toBe(200);
    client.destroy();
  });

  it("177 no connection is too many", async (context) => {
    const rig = await startNaive(context);
    const clients = await Promise.all(Array.from({ length: 60 }, () => rig.connect()));
    for (const client of clients) {
      await client.write(get("/public/kept"));
      expect((await client.answer())?.status).toBe(200);
    }
    for (const client of clients) client.destroy();
  });

  it("178 an event loop that falls behind takes new work all the same", async (context) => {
    const rig = await startNaive(context);
    const client = await rig.connect();
    for (let round = 0; round < 8; round += 1) {
      rig.gateway.signal("SIGSTOP");
      await new Promise((done) => setTimeout(done, 320));
      await client.write(get("/any", auth()));
      rig.gateway.signal("SIGCONT");
      expect((await client.answer())?.status).toBe(200);
    }
    client.destroy();
  });

  it("180 a client that leaves while it waits leaves the upstream's request open", async (context) => {
    const rig = await startNaive(context);
    rig.upstream.script = () => null;
    const client = await rig.connect();
    await client.write(get("/any/leave", auth()));
    const mine = () => rig.upstream.connections.filter((each) => !each.closed && each.bytes().includes("/any/leave"));
    await rig.upstream.until(() => mine().length > 0);
    client.reset();
    await expect(rig.upstream.until(() => mine().length === 0, 3000)).rejects.toThrow();
  });

  it("181 a GET on a pooled connection that died is an error to its client", async (context) => {
    const rig = await startNaive(context);
    const warm = await rig.connect();
    rig.upstream.script = (request, connection) => {
      if (request.target !== "/any/dead" || connection.answered === 1) return answerOk(request);
      connection.resetNow();
      return null;
    };
    const statuses: (number | undefined)[] = [];
    for (let round = 0; round < 5; round += 1) {
      await warm.write(get("/any/warm", auth()));
      await warm.answer();
      await warm.write(get("/any/dead", auth()));
      statuses.push((await warm.answer())?.status);
    }
    expect(statuses.filter((status) => status !== 200)).not.toEqual([]);
    warm.destroy();
  });

  it("194 a body of an upstream that ends short looks like one that goes on", async (context) => {
    const rig = await startNaive(context);
    rig.upstream.script = (request, connection) => {
      if (!request.target.startsWith("/any/short")) return answerOk(request);
      setTimeout(() => connection.socket.end(), 20);
      return "HTTP/1.1 200 OK\r\nX-Recorder: 1\r\nContent-Length: 100\r\n\r\npartial";
    };
    const client: RawClient = await rig.connect();
    await client.write(get("/any/short", auth()));
    await client.until(() => client.received.includes("partial"));
    await expect(client.closed(2000)).rejects.toThrow();
    client.destroy();
  });
});
