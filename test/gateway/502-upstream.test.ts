import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { valuesOf } from "../support/http-parsers.ts";
import { fieldOf } from "../support/raw-client.ts";
import { answer, answerOk } from "../support/recording-upstream.ts";
import { auth } from "../support/rig.ts";
import { ask, asked, describeFaults, expectFault, posted, startFaultyGateway } from "./faults.ts";

describeFaults("502, 503, 504", [
  {
    code: "sentinel:upstream:bad_gateway",
    status: 502,
    title: "Bad Gateway",
    name: "an answer that is not HTTP",
    detail: /./,
    send: posted("/any", "abc"),
    upstream: () => "220 smtp.example.com ESMTP\r\n",
    up: 1,
  },
  {
    code: "sentinel:upstream:bad_gateway",
    status: 502,
    title: "Bad Gateway",
    name: "a reset before the answer",
    detail: /./,
    send: posted("/any", "abc"),
    upstream: (_, connection) => {
      connection.resetNow();
      return null;
    },
    up: 1,
  },
  {
    code: "sentinel:upstream:service_unavailable",
    status: 503,
    title: "Service Unavailable",
    name: "nobody listens",
    detail: /./,
    fields: { "retry-after": /^\d+$/ },
    send: asked("/refusing"),
  },
  {
    code: "sentinel:upstream:gateway_timeout",
    status: 504,
    title: "Gateway Timeout",
    name: "no answer in time",
    detail: /./,
    send: posted("/quick", "abc"),
    upstream: () => null,
    up: 1,
  },
]);

describe("508, 500, and errors that are not ours", () => {
  let running: Awaited<ReturnType<typeof startFaultyGateway>>;
  beforeAll(async () => {
    running = await startFaultyGateway();
  });
  afterAll(() => running?.stop());

  it("a request that already went through this instance is 508", async () => {
    await ask(running.gateway, asked("/any"));
    const via = running.upstream
      .requests()
      .flatMap((request) => valuesOf(request, "via"))
      .join();
    const looped = await ask(running.gateway, asked("/any", `${auth()}Via: ${via}\r\n`));
    expectFault(looped, { code: "sentinel:routing:loop_detected", status: 508, title: "Loop Detected", detail: /./ });
  });

  it.each([401, 403, 404, 500, 502, 503])(
    "an upstream's own %i passes untouched, but for its request id",
    async (status) => {
      running.upstream.script = () =>
        answer(status, '{"own":"error"}', ["Content-Type: application/problem+json", "X-Request-Id: theirs"]);
      const got = await ask(running.gateway, asked("/any"));
      running.upstream.script = answerOk;
      expect(got.status).toBe(status);
      expect(got.body.toString()).toBe('{"own":"error"}');
      expect(fieldOf(got, "content-type")).toBe("application/problem+json");
      expect(fieldOf(got, "x-unkey-error-source")).toBeNull();
      expect(fieldOf(got, "x-request-id")).toMatch(/^req_[0-9a-z]{15}$/);
    },
  );
});
