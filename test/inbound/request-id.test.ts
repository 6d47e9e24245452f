import { describe, expect, it } from "vitest";
import { newRequestId } from "../../src/inbound/request-id.ts";

describe("newRequestId", () => {
  const ids = Array.from({ length: 100_000 }, () => newRequestId());

  it("is req_ and fifteen lower-case letters and digits", () => {
    for (const id of ids) expect(id).toMatch(/^req_[0-9a-z]{15}$/);
  });

  it("is never the same twice", () => {
    expect(new Set(ids).size).toBe(ids.length);
  });

  it("has every character as often as every other, at each place", () => {
    for (const place of [4, 11, 18]) {
      const counts = new Map<string, number>();
      for (const id of ids) counts.set(id.charAt(place), (counts.get(id.charAt(place)) ?? 0) + 1);
      expect(counts.size).toBe(36);
      // 2,778 expected, 52 the standard deviation: seven of them.
      for (const count of counts.values()) expect(Math.abs(count - ids.length / 36)).toBeLessThan(370);
    }
  });
});
