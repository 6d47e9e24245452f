import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatRequestHead } from "../../src/forward/request-writer.ts";
import { upstreamRequest } from "./support.ts";

const ORIGIN = { hostname: "127.0.0.1", port: 80, tls: null };

function head(changes: { method?: string; path?: string; headers?: string[] }): string {
  return formatRequestHead(upstreamRequest(ORIGIN, changes));
}

/** What NOT_CLEAN is for a value: anything that is no tab, no printable byte, or no byte at all. */
const NOT_A_VALUE = /[^\t\x20-\x7e\x80-\xff]/;
const NOT_A_NAME = /^$|[^!#$%&'*+\-.^_`|~0-9A-Za-z]/;

describe("formatRequestHead", () => {
  it("is one line for the request, one for each field, and an empty one", () => {
    const headers = ["Host", "a", "X-Long", "b".repeat(40)];
    expect(head({ method: "PUT", path: "/x?y", headers })).toBe(
      `PUT /x?y HTTP/1.1\r\nHost: a\r\nX-Long: ${"b".repeat(40)}\r\n\r\n`,
    );
  });

  it("throws for whatever is no field value, however long, and writes every other as it is", () => {
    const value = fc.string({ unit: "binary", maxLength: 40 });
    fc.assert(
      fc.property(value, value, (one, other) => {
        const headers = ["Host", "a", "One", one, "Other", other];
        if (NOT_A_VALUE.test(one) || NOT_A_VALUE.test(other)) expect(() => head({ headers })).toThrow(TypeError);
        else expect(head({ headers })).toBe(`GET / HTTP/1.1\r\nHost: a\r\nOne: ${one}\r\nOther: ${other}\r\n\r\n`);
      }),
      { numRuns: 2000 },
    );
  });

  it.each([...Array(300).keys()])("of a value with the code %i in the middle", (code) => {
    for (const around of ["x", "x".repeat(20)]) {
      const value = around + String.fromCharCode(code) + around;
      const made = () => head({ headers: ["A", value] });
      if (NOT_A_VALUE.test(value)) expect(made).toThrow(TypeError);
      else expect(made()).toContain(`A: ${value}\r\n`);
    }
  });

  it("throws for whatever is no field name, also where a clean one stood before", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 20 }), (name) => {
        expect(head({ headers: ["Host", "a", "Name", "b"] })).toContain("Name: b");
        const made = () => head({ headers: ["Host", "a", name, "b"] });
        if (NOT_A_NAME.test(name)) expect(made).toThrow(TypeError);
        else expect(made()).toContain(`\r\n${name}: b\r\n`);
        expect(() => head({ headers: ["Host", "a", `${name}\r\nX`, "b"] })).toThrow(TypeError);
      }),
      { numRuns: 1000 },
    );
  });

  it.each(["/a b", "/a\r\nX: y", "/a\u010a", "/\x7f", "/é"])("throws for the path %j", (path) => {
    expect(() => head({ path })).toThrow(TypeError);
  });

  it.each(["", "GET /", "GE\r\nT", "A".repeat(65)])("throws for the method %j", (method) => {
    expect(() => head({ method })).toThrow(TypeError);
  });
});
