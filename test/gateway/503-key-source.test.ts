import { describe, expect, it } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { RecordingUpstream } from "../support/recording-upstream.ts";
import { rigRoutes } from "../support/rig.ts";
import { ask, asked, closedPort, expectFault } from "./faults.ts";

describe("503", () => {
  it("a key source out of reach is 503 and never a bad key, and open routes are served", async () => {
    const upstream = await RecordingUpstream.start();
    const gateway = await startGateway({
      config: {
        keys: { source: { type: "http", url: `http://127.0.0.1:${await closedPort()}/lookup`, timeout: "300ms" } },
        upstreams: [{ name: "recorder", targets: [upstream.origin] }],
        routes: rigRoutes(),
      },
      // The source's loss is logged; how often is for the source's own tests.
      expectedErrors: (record) => /source|key/i.test(JSON.stringify(record)),
    });
    expectFault(await ask(gateway, asked("/any")), {
      code: "unkey:application:service_unavailable",
      status: 503,
      title: "Service Unavailable",
      detail: "The service is temporarily unavailable. Please try again later.",
      fields: { "retry-after": /^\d+$/ },
    });
    expect((await ask(gateway, asked("/any", "Authorization: Basic x\r\n"))).status).toBe(401);
    expect((await ask(gateway, asked("/public", ""))).status).toBe(200);
    expect((await fetch(`${gateway.adminOrigin}/readyz`)).status).toBe(503);
    expect((await fetch(`${gateway.adminOrigin}/livez`)).status).toBe(200);
    await upstream.stop();
    await gateway.stop();
  });
});
