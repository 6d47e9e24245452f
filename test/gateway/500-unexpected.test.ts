import { describe, expect, it } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { RecordingUpstream } from "../support/recording-upstream.ts";
import { auth, KEYS, RIG_KEYRING, rigRoutes } from "../support/rig.ts";
import { ask, asked, expectFault } from "./faults.ts";

/** Breaks the hashing of one key inside the process: a defect that no request should be able to cause. */
const BREAK_HASHING = `
import crypto from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
const broken = ${JSON.stringify(KEYS.UNKNOWN)};
const fail = (data) => { if (data === broken) throw new Error("hashing is broken"); };
const { createHash, hash } = crypto;
crypto.createHash = (...args) => {
  const made = createHash(...args);
  const { update } = made;
  made.update = function (data, ...rest) { fail(data); return update.call(this, data, ...rest); };
  return made;
};
if (hash) crypto.hash = (algorithm, data, ...rest) => { fail(data); return hash(algorithm, data, ...rest); };
syncBuiltinESMExports();
`;

describe("500", () => {
  it("a defect of ours is told as one, and the next request is served", async () => {
    const upstream = await RecordingUpstream.start();
    const gateway = await startGateway({
      nodeOptions: ["--import", `data:text/javascript,${encodeURIComponent(BREAK_HASHING)}`],
      config: { upstreams: [{ name: "recorder", targets: [upstream.origin] }], routes: rigRoutes() },
      keyring: RIG_KEYRING,
      expectedErrors: (record) => record.code === "err:unkey:application:unexpected_error",
    });
    expectFault(await ask(gateway, asked("/any", auth("UNKNOWN"))), {
      code: "unkey:application:unexpected_error",
      status: 500,
      title: "Internal Server Error",
      detail: "An unexpected error occurred while processing your request",
    });
    const record = await gateway.waitForRecord(({ code }) => code === "err:unkey:application:unexpected_error");
    expect(record.cause).toContain("hashing is broken");
    expect((await ask(gateway, asked("/any"))).status).toBe(200);
    await upstream.stop();
    await gateway.stop();
  });
});
