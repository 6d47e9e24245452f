import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { checkEnvelope } from "../support/oracles.ts";
import { fieldOf } from "../support/raw-client.ts";
import { answerOk } from "../support/recording-upstream.ts";
import { auth, Rig } from "../support/rig.ts";
import { formatFindings, get, post } from "./wire.ts";

describe("H. more work than can be done", () => {
  describe("an event loop that falls behind", () => {
    let rig: Rig;
    beforeAll(async () => {
      rig = await Rig.start({ limits: { maxEventLoopDelay: "200ms" } });
    });
    afterAll(() => rig?.stop());

    it("178 sheds with 503 before any key is read, keeps the connection, and the admin port answers", async () => {
      const client = await rig.connect();
      const statuses: (number | undefined)[] = [];
      for (let round = 0; round < 20 && !statuses.includes(503); round += 1) {
        rig.gateway.signal("SIGSTOP");
        await new Promise((done) => setTimeout(done, 320));
        await client.write(get("/any", auth()));
        rig.gateway.signal("SIGCONT");
        const got = await client.answer();
        statuses.push(got?.status);
        if (got?.status !== 503) continue;
        expect(checkEnvelope(got, "GET")).toEqual([]);
        const admin = await fetch(`${rig.gateway.adminOrigin}/livez`);
        expect(admin.status).toBe(200);
      }
      expect(statuses).toContain(503);
      const record = await rig.gateway.waitForRecord(({ status }) => status === 503);
      expect(record.verdict ?? null).toBeNull();
      await expect
        .poll(
          async () => {
            await client.write(get("/any", auth()));
            return (await client.answer())?.status;
          },
          { timeout: 10_000 },
        )
        .toBe(200);
      client.destroy();
      expect(formatFindings(await rig.settle())).toBe("");
    });
  });

  describe("too many requests in progress", () => {
    let rig: Rig;
    beforeAll(async () => {
      rig = await Rig.start({ limits: { maxInFlight: 3 } });
    });
    afterAll(() => rig?.stop());
    beforeEach(() => rig.upstream.reset());

    /** As many requests in progress as may be; the upstream answers none of them until `release`. */
    async function fill(): Promise<{ readonly release: () => Promise<void> }> {
      let arrived = 0;
      let release = () => {};
      const held = new Promise<void>((done) => {
        release = done;
      });
      rig.upstream.script = async (request) => {
        if (request.target.startsWith("/any/held")) {
          arrived += 1;
          await held;
        }
        return answerOk(request);
      };
      const clients = await Promise.all([1, 2, 3].map(() => rig.connect()));
      for (const client of clients) await client.write(get("/any/held", auth()));
      await expect.poll(() => arrived, { timeout: 5000 }).toBe(3);
      return {
        release: async () => {
          release();
          for (const client of clients) {
            expect((await client.answer())?.status).toBe(200);
            client.destroy();
          }
        },
      };
    }

    it("178 one more is 503 with Retry-After, whoever asks, and served on the same connection once there is room", async () => {
      const { release } = await fill();
      const client = await rig.connect();
      for (const request of [get("/any", auth()), get("/any"), get("/nowhere"), get("/public")]) {
        await client.write(request);
        const shed = await client.answer();
        expect(shed?.status).toBe(503);
        if (shed === null) continue;
        expect(checkEnvelope(shed, "GET")).toEqual([]);
        expect(fieldOf(shed, "retry-after")).toBe("1");
      }
      const metrics = await (await fetch(`${rig.gateway.adminOrigin}/metrics`)).text();
      expect(metrics).toContain('sentinel_requests_shed_total{reason="overload"} 4');
      await release();
      await client.write(get("/any", auth()));
      expect((await client.answer())?.status).toBe(200);
      client.destroy();
      expect(formatFindings(await rig.settle())).toBe("");
    });

    it("178 the connection of a shed request with a body is closed, its body never taken for a request", async () => {
      const { release } = await fill();
      // Node keeps a thousand lines unless it is told otherwise, and goes by those that it does not show.
      for (const fields of ["", "a:\r\n".repeat(1500)]) {
        const client = await rig.connect();
        await client.write(post("/any", get("/any/smuggled", auth()), auth() + fields));
        const shed = await client.answer("POST");
        expect(shed?.status).toBe(503);
        await client.closed();
        expect(client.rest().length).toBe(0);
      }
      await release();
      expect(formatFindings(await rig.settle())).toBe("");
    });
  });
});
