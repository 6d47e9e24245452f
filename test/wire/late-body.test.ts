import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { answerOk } from "../support/recording-upstream.ts";
import { auth, Rig } from "../support/rig.ts";
import { get } from "./wire.ts";

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
