import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { auth } from "../support/rig.ts";
import { BothWays, headOf, type Scene } from "./both-ways.ts";

/** What one read brings at most: behind so many bytes the next read is made in the same turn, and finds the end. */
const READ_BYTES = 64 * 1024;

/** The bytes and the client's end are with the gateway before it looks. */
async function sendAndEnd({ rig, client }: Scene, bytes: string): Promise<void> {
  rig.gateway.signal("SIGSTOP");
  try {
    await client.write(bytes);
    await new Promise<void>((done) => client.socket.end(done));
  } finally {
    rig.gateway.signal("SIGCONT");
  }
}

describe("a client that ends its side within a body, in the turn that brought the head", () => {
  let ways: BothWays;
  beforeAll(async () => {
    ways = await BothWays.start();
  });
  afterAll(() => ways?.stop());

  it.each([
    ["of a body that is sent on", "/any/x", auth()],
    ["of one that is read", "/v2/keys.createKey", `${auth()}Content-Type: application/json\r\n`],
    ["of a request that is refused", "/any/x", ""],
  ])("%s is answered at once, and its connection ends", async (name, path, fields) => {
    await ways.alike({
      name,
      bytesInVary: true,
      play: async (scene) => {
        await sendAndEnd(scene, String(scene.dress(headOf(path, 1_000_000, fields))).padEnd(READ_BYTES, "x"));
        expect((await scene.answer())?.status).toBe(fields === "" ? 401 : 400);
        await scene.closed();
      },
    });
  });

  it("is in the log alike", () => ways.recordedAlike());
});
