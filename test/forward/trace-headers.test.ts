import { expect, it } from "vitest";
import { replaceFields } from "../../src/forward/trace-headers.ts";

const SENT = ["Host", "a", "TraceParent", "theirs", "X-A", "1", "tracestate", "theirs", "X-A", "2"];

it("puts fields in place of any of their names, in any case, and leaves the others in their order", () => {
  expect(replaceFields(SENT, ["x-a", "3"])).toEqual([...SENT.slice(0, 4), ...SENT.slice(6, 8), "x-a", "3"]);
  expect(replaceFields(SENT, [])).toBe(SENT);
});

it("takes the client's tracestate out with its traceparent, to which it belongs", () => {
  expect(replaceFields(SENT, ["traceparent", "ours"])).toEqual([
    "Host",
    "a",
    "X-A",
    "1",
    "X-A",
    "2",
    "traceparent",
    "ours",
  ]);
});

it.each(["X-Request-Id", "x-request-id", "X-Unkey-Principal", "x_unkey_principal", "X.Request.Id"])(
  "lets no tracer say %s, which is ours to say and is written as it is",
  (name) => {
    const sent = ["X-Unkey-Principal", "{}", "X-Request-Id", "req_1"];
    expect(replaceFields(sent, [name, "a\r\nX-Evil: 1", "b3", "0"])).toEqual([...sent, "b3", "0"]);
    expect(replaceFields(sent, [name, "theirs"])).toEqual(sent);
  },
);
