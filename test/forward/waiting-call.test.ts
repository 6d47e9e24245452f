import { describe, expect, it } from "vitest";
import type { UpstreamCall } from "../../src/forward/forwarder.ts";
import { WaitingCall } from "../../src/forward/waiting-call.ts";

/** Writes down what it is told. */
function recordingCall(): UpstreamCall & { readonly told: string[] } {
  const told: string[] = [];
  return {
    told,
    write: (chunk) => {
      told.push(`write ${chunk}`);
      return "full";
    },
    end: () => told.push("end"),
    pause: () => told.push("pause"),
    resume: () => told.push("resume"),
    abort: () => told.push("abort"),
  };
}

describe("an exchange that waits for a connection", () => {
  it("is told in order what it was told before it began", () => {
    const call = recordingCall();
    const waiting = new WaitingCall(() => call);
    expect(waiting.write(Buffer.from("one"))).toBe("kept");
    waiting.write(Buffer.from("two"));
    waiting.end();
    expect(call.told).toEqual([]);
    waiting.begin(null);
    expect(call.told).toEqual(["write one", "write two", "end"]);
  });

  it("is what its connection makes of it once it has begun", () => {
    const call = recordingCall();
    const waiting = new WaitingCall(() => call);
    waiting.begin(null);
    expect(waiting.write(Buffer.from("one"))).toBe("full");
    waiting.end();
    waiting.pause();
    waiting.resume();
    waiting.abort();
    expect(call.told).toEqual(["write one", "end", "pause", "resume", "abort"]);
  });

  it("says when it was given up, so that it is not begun", () => {
    const waiting = new WaitingCall(() => recordingCall());
    waiting.pause();
    waiting.resume();
    waiting.abort();
    expect(waiting.aborted).toBe(true);
  });
});
