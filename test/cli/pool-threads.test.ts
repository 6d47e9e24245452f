import { existsSync, readdirSync } from "node:fs";
import { expect, it, onTestFinished } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { RIG_KEYRING } from "../support/rig.ts";

/** The threads of a gateway whose pool has been used: for the name of an upstream. */
async function countThreads(env: Readonly<Record<string, string>>): Promise<number> {
  const gateway = await startGateway({
    env,
    keyring: RIG_KEYRING,
    config: {
      upstreams: [{ name: "named", targets: ["http://localhost:9"] }],
      routes: [{ name: "named", match: { pathPrefix: "/" }, auth: "none", upstream: "named" }],
    },
  });
  onTestFinished(() => gateway.stop());
  expect((await fetch(gateway.origin)).status).toBe(503);
  return readdirSync(`/proc/${gateway.pid}/task`).length;
}

it.skipIf(!existsSync("/proc/self/task"))(
  "eight names may be looked up at once, half of the pool's threads, unless the operator set its size",
  async () => {
    const two = await countThreads({ UV_THREADPOOL_SIZE: "2" });
    expect((await countThreads({ UV_THREADPOOL_SIZE: "6" })) - two).toBe(4);
    expect((await countThreads({})) - two).toBe(14);
  },
);
