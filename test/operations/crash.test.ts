import { expect, it } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { NamedUpstream } from "./load.ts";

const KEY = "unkey_3ZPnKbQmWvRtYhJsDfGxCa";

/** A defect that SIGUSR2 sets off, in the process of the gateway itself. */
function defect(code: string): string[] {
  return ["--import", `data:text/javascript,process.on("SIGUSR2",()=>{${encodeURIComponent(code)}})`];
}

it.each([
  ["an exception nobody catches", `setTimeout(()=>{throw new Error('bad ${KEY}')})`, "uncaught_exception"],
  ["a rejection nobody handles", `void Promise.reject(new Error('bad ${KEY}'))`, "unhandled_rejection"],
])("%s is one redacted line, a drain, and exit 1", async (_, code, event) => {
  const upstream = await NamedUpstream.start("orders");
  const gateway = await startGateway({
    keyring: { keys: [] },
    config: {
      drain: { delay: "0ms", timeout: "5s" },
      upstreams: [{ name: "orders", targets: [upstream.origin] }],
      routes: [{ name: "all", auth: "none", upstream: "orders" }],
    },
    nodeOptions: defect(code),
    expectedErrors: () => true,
  });
  const reply = fetch(`${gateway.origin}/hold`).then((answer) => answer.text());
  await upstream.held();
  gateway.signal("SIGUSR2");
  await gateway.waitForRecord((record) => record.event === "draining");
  upstream.release();
  expect(await reply).toBe("held by orders");
  expect(await gateway.exited).toBe(1);
  const crashes = gateway.logs().filter((record) => record.event === event);
  expect(crashes).toMatchObject([{ level: 60, error: "Error: bad [redacted]" }]);
  expect(gateway.output()).not.toContain("3ZPnKbQm");
  await upstream.stop();
});
