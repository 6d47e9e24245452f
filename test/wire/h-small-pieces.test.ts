import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { auth, Rig } from "../support/rig.ts";
import { chunked, connectMany, formatFindings } from "./wire.ts";

const MIB = 1024 * 1024;

/** What the process held at its worst, in bytes. Since it began: each test has a gateway of its own. */
function mostHeld(rig: Rig): number {
  return 1024 * Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${rig.pid}/status`, "latin1"))?.[1]);
}

describe.runIf(process.platform === "linux")(
  "H. what comes in many small pieces costs about as much memory as it is bytes",
  () => {
    let rig: Rig;
    beforeAll(async () => {
      rig = await Rig.start();
    });
    afterAll(() => rig?.stop());

    it("a JSON body that is read, in chunks of one byte", async () => {
      const before = mostHeld(rig);
      const body = JSON.stringify({ apiId: "api_1" }).padEnd(900_000, " ");
      const chunks = `${[...body].map((byte) => `1\r\n${byte}\r\n`).join("")}0\r\n\r\n`;
      const clients = await connectMany(rig, 6);
      for (const client of clients) {
        await client.write(chunked("/v2/keys.createKey", chunks, `${auth()}Content-Type: application/json\r\n`));
      }
      for (const client of clients) expect((await client.answer("POST", 30_000))?.status).toBe(200);
      const more = mostHeld(rig) - before;
      console.info(`a body in chunks of one byte: ${Math.round(more / MIB)} MiB more at most, for 6 of 0.9 MB`);
      expect(more).toBeLessThan(150 * MIB);
      for (const client of clients) client.destroy();
      expect(formatFindings(await rig.settle())).toBe("");
    }, 60_000);
  },
);
