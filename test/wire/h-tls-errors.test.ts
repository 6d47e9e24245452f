import { once } from "node:events";
import { connect } from "node:net";
import { resolve } from "node:path";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { answerOk } from "../support/recording-upstream.ts";
import { auth, Rig } from "../support/rig.ts";
import { handshake, switching } from "./e-upgrade.attacks.ts";
import { get } from "./wire.ts";

/** A record of application data that no key of the connection made. */
const FORGED = Buffer.concat([Buffer.from("1703030020", "hex"), Buffer.alloc(32, "x")]);
/** More than Node lets a client ask for within ten minutes (`tls.CLIENT_RENEG_LIMIT`). */
const MANY_RENEGOTIATIONS = 10;

const TUNNEL = handshake();
const STATES: Readonly<Record<string, string>> = {
  "before it said a word": "",
  "behind a request": get("/any/x", auth()),
  "behind one that Node's parser read": `\r\n${get("/any/x", auth())}`,
  "within a body": `POST /any/x HTTP/1.1\r\nHost: gw\r\n${auth()}Content-Length: 10\r\n\r\nhello`,
  "in a tunnel": TUNNEL,
};

describe("H. an error of a client's TLS ends its connection", () => {
  let rig: Rig;
  beforeAll(async () => {
    const file = (name: string) => ({ file: resolve(`test/forward/fixtures/${name}`) });
    rig = await Rig.start({ tls: { cert: file("upstream.crt"), key: file("upstream.key") } });
  });
  afterAll(() => rig?.stop());

  async function client(sent: string) {
    const raw = connect(rig.gateway.port, "127.0.0.1");
    const secure = connectTls({ socket: raw, rejectUnauthorized: false, maxVersion: "TLSv1.2" });
    // The alert that it is told; `close` follows.
    for (const socket of [raw, secure]) socket.on("error", () => {});
    const answered = new Promise((done) => secure.once("data", done));
    secure.resume();
    const closed = once(raw, "close");
    await once(secure, "secureConnect");
    if (sent !== "") {
      rig.upstream.reset();
      rig.upstream.script = sent === TUNNEL ? switching() : answerOk;
      secure.write(sent);
      await rig.upstream.until(() => rig.upstream.connections.some((each) => each.seen("strict").length > 0));
      if (!sent.startsWith("POST")) await answered;
    }
    return { raw, secure, closed };
  }

  it.each(Object.entries(STATES))("a record that was tampered with, %s", async (_, sent) => {
    const { raw, closed } = await client(sent);
    raw.write(FORGED);
    await closed;
  });

  it.each(Object.entries(STATES))("a client that renegotiates again and again, %s", async (_, sent) => {
    const { secure, closed } = await client(sent);
    let times = 0;
    while (times < MANY_RENEGOTIATIONS && (await renegotiated(secure))) times += 1;
    expect(times).toBeLessThan(MANY_RENEGOTIATIONS);
    await closed;
  });
});

/** Whether it was done: a connection that ends meanwhile may never say. */
function renegotiated(socket: TLSSocket): Promise<boolean> {
  return new Promise((done) => {
    socket.once("close", () => done(false));
    if (socket.destroyed || !socket.renegotiate({}, (error) => done(error === null))) done(false);
  });
}
