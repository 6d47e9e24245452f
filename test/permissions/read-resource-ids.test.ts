import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isFault } from "../../src/faults/fault.ts";
import { parseJsonBody } from "../../src/permissions/json-body.ts";
import { isQueryProblem, parseQuery } from "../../src/permissions/parse-query.ts";
import { isMet } from "../../src/permissions/query.ts";
import { type PlaceholderInputs, readResourceIds } from "../../src/permissions/read-resource-ids.ts";
import { fillRequirement, type Requirement } from "../../src/permissions/requirement.ts";

function requirement(text: string): Requirement {
  const parsed = parseQuery(text);
  if (isQueryProblem(parsed)) throw new Error(parsed.message);
  return parsed;
}

interface Request {
  readonly params?: Record<string, string>;
  readonly query?: string;
  readonly headers?: Record<string, string[]>;
  readonly body?: string;
}

function inputs({ params = {}, query = "", headers = {}, body }: Request): PlaceholderInputs {
  return {
    params: new Map(Object.entries(params)),
    query,
    headerCount: (name) => headers[name]?.length ?? 0,
    headerValue: (name) => (headers[name]?.length === 1 ? (headers[name][0] ?? null) : null),
    body: body === undefined ? null : parseJsonBody(Buffer.from(body), "application/json"),
  };
}

describe("readResourceIds", () => {
  it.each<[string, string, Request, string[]]>([
    ["a path parameter", "a.{path.id}.r", { params: { id: "api_1-X" } }, ["api_1-X"]],
    ["a query parameter", "a.{query.id}.r", { query: "?x=1&id=api_1&y" }, ["api_1"]],
    ["a query without its question mark", "a.{query.id}.r", { query: "id=api_1" }, ["api_1"]],
    ["a parameter whose value is encoded", "a.{query.id}.r", { query: "?id=%61pi_1" }, ["api_1"]],
    ["a parameter whose name is encoded", "a.{query.id}.r", { query: "?%69d=api_1" }, ["api_1"]],
    ["a parameter beside others that hold anything", "a.{query.id}.r", { query: "?q=a;b+c%20*&id=x&z" }, ["x"]],
    ["a header", "a.{header.X-Tenant}.r", { headers: { "x-tenant": ["t1"] } }, ["t1"]],
    ["a body member", "a.{body.a.b}.r", { body: '{"a":{"b":"x","n":1}}' }, ["x"]],
    [
      "each once, in order",
      "a.{path.p}.r AND b.{query.q}.r OR c.{path.p}.r",
      { params: { p: "1" }, query: "?q=2" },
      ["1", "2"],
    ],
    ["255 characters", "a.{path.id}.r", { params: { id: "a".repeat(255) } }, ["a".repeat(255)]],
  ])("reads %s", (_, text, request, expected) => {
    expect(readResourceIds(requirement(text), inputs(request))).toEqual(expected);
  });

  it.each<[string, string, Request, string]>([
    ["absent from the path", "a.{path.id}.r", {}, "{path.id} has no value"],
    ["an empty path parameter", "a.{path.id}.r", { params: { id: "" } }, "{path.id} has no value"],
    ["an escape left in the path", "a.{path.id}.r", { params: { id: "a%2Fb" } }, "{path.id} has a value that is not"],
    ["a star in the path", "a.{path.id}.r", { params: { id: "*" } }, "{path.id} has a value that is not"],
    ["a dot in the path", "a.{path.id}.r", { params: { id: "a.b" } }, "{path.id} has a value that is not"],
    ["256 characters", "a.{path.id}.r", { params: { id: "a".repeat(256) } }, "is not a resource id"],
    ["a line end at the end", "a.{path.id}.r", { params: { id: "a\n" } }, "is not a resource id"],
    ["no query", "a.{query.id}.r", {}, "{query.id} has no value"],
    ["another parameter", "a.{query.id}.r", { query: "?idx=1" }, "{query.id} has no value"],
    ["a parameter without =", "a.{query.id}.r", { query: "?id" }, "{query.id} has no value"],
    ["an empty parameter", "a.{query.id}.r", { query: "?id=" }, "{query.id} has no value"],
    ["an encoded star", "a.{query.id}.r", { query: "?id=%2a" }, "is not a resource id"],
    ["an encoded dot", "a.{query.id}.r", { query: "?id=%2e" }, "is not a resource id"],
    ["a doubly encoded letter", "a.{query.id}.r", { query: "?id=%2561" }, "is not a resource id"],
    ["a plus", "a.{query.id}.r", { query: "?id=a+b" }, "is not a resource id"],
    ["a broken escape", "a.{query.id}.r", { query: "?id=a%2" }, "is not a resource id"],
    ["an escape that is not UTF-8", "a.{query.id}.r", { query: "?id=%ff" }, "is not a resource id"],
    ["a broken escape in any name", "a.{query.id}.r", { query: "?id=a&%zz=1" }, "is not a resource id"],
    ["a non-breaking space", "a.{query.id}.r", { query: "?id=%c2%a0a" }, "is not a resource id"],
    ["a NUL", "a.{query.id}.r", { query: "?id=a%00" }, "is not a resource id"],
    ["repeated", "a.{query.id}.r", { query: "?id=a&id=b" }, "{query.id} has more than one value"],
    ["repeated with one value", "a.{query.id}.r", { query: "?id=a&id=a" }, "more than one value"],
    ["repeated under an encoded name", "a.{query.id}.r", { query: "?id=a&%69%64=b" }, "more than one value"],
    ["repeated without a value", "a.{query.id}.r", { query: "?id=a&id" }, "more than one value"],
    ["repeated in another case (ASP.NET)", "a.{query.id}.r", { query: "?id=a&ID=b" }, "more than one value"],
    ["repeated in camel case (gRPC)", "a.{query.a_id}.r", { query: "?a_id=a&aId=b" }, "more than one value"],
    ["only in another case", "a.{query.id}.r", { query: "?ID=b" }, "is not a resource id"],
    ["repeated as a list (PHP)", "a.{query.id}.r", { query: "?id=a&id[]=b" }, "more than one value"],
    ["repeated as a list that nothing closes", "a.{query.id}.r", { query: "?id=a&id[=b" }, "more than one value"],
    ["repeated with a bracket (PHP)", "a.{query.a_id}.r", { query: "?a_id=a&a[id=b" }, "more than one value"],
    ["repeated with an encoded bracket", "a.{query.a_id}.r", { query: "?a%5Bid=b&a_id=a" }, "is not a resource id"],
    ["repeated after a space (PHP)", "a.{query.id}.r", { query: "?id=a&+id=b" }, "more than one value"],
    ["repeated with a dot (PHP)", "a.{query.a_id}.r", { query: "?a_id=a&a.id=b" }, "more than one value"],
    ["repeated before a NUL", "a.{query.id}.r", { query: "?id=a&id%00x=b" }, "more than one value"],
    [
      "repeated behind a semicolon (CVE-2021-23336)",
      "a.{query.id}.r",
      { query: "?x=1;id=b&id=a" },
      "is not a resource id",
    ],
    ["the other way round", "a.{query.id}.r", { query: "?id=a&x=1;id=b" }, "more than one value"],
    ["cut off by a semicolon", "a.{query.id}.r", { query: "?id=a;x=1" }, "is not a resource id"],
    ["no such header", "a.{header.x-t}.r", {}, "{header.x-t} has no value"],
    ["an empty header", "a.{header.x-t}.r", { headers: { "x-t": [""] } }, "{header.x-t} has no value"],
    ["two headers", "a.{header.x-t}.r", { headers: { "x-t": ["a", "a"] } }, "{header.x-t} has more than one value"],
    ["a list in a header", "a.{header.x-t}.r", { headers: { "x-t": ["a, b"] } }, "is not a resource id"],
    ["no such member", "a.{body.id}.r", { body: "{}" }, "{body.id} has no value"],
    ["an inherited member", "a.{body.constructor.name}.r", { body: "{}" }, "{body.constructor.name} has no value"],
    ["an empty member", "a.{body.id}.r", { body: '{"id":""}' }, "{body.id} has no value"],
    ["a number", "a.{body.id}.r", { body: '{"id":7}' }, "is not a resource id"],
    ["null", "a.{body.id}.r", { body: '{"id":null}' }, "is not a resource id"],
    ["a list with one id", "a.{body.id}.r", { body: '{"id":["a"]}' }, "is not a resource id"],
    ["a star in the body", "a.{body.id}.r", { body: '{"id":"*"}' }, "is not a resource id"],
    ["an escaped star", "a.{body.id}.r", { body: '{"id":"\\u002a"}' }, "is not a resource id"],
    [
      "a member in two cases (Go)",
      "a.{body.id}.r",
      { body: '{"id":"a","ID":"b"}' },
      "{body.id} has more than one value",
    ],
    ["an OR whose other side would do", "a.1.r OR a.{path.id}.r", {}, "{path.id} has no value"],
  ])("refuses %s", (_, text, request, detail) => {
    const result = readResourceIds(requirement(text), inputs(request));
    if (!isFault(result)) throw new Error("was not refused");
    expect(result.code).toBe("user:bad_request:invalid_resource_id");
    expect(result.detail).toContain(detail);
    expect(result.errors).toHaveLength(1);
  });

  it("says where, as the vendor spells it, and how it should be", () => {
    const result = readResourceIds(requirement("a.{header.X-T}.r"), inputs({}));
    expect(result).toMatchObject({
      errors: [
        {
          location: "headers.x-t",
          message: "The resource id {header.x-t} has no value in this request",
          fix: "Send it exactly once, as 1 to 255 of the characters A-Z a-z 0-9 _ -",
        },
      ],
    });
  });

  it.each<[string, Request, string]>([
    ["a body that is not JSON", { body: "id=1" }, "The request body must be JSON"],
    ["a repeated member", { body: '{"id":"a","id":"b"}' }, "The request body must not have a member twice"],
    ["no body", {}, "The request body must be JSON"],
  ])("answers invalid_body to %s", (_, request, detail) => {
    expect(readResourceIds(requirement("a.{body.id}.r"), inputs(request))).toMatchObject({
      code: "user:bad_request:invalid_body",
      detail,
      errors: [{ location: "body", message: detail }],
    });
  });

  it("never repeats what the client sent", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 12 }), (value) => {
        fc.pre(!/^[A-Za-z0-9_-]+$/.test(value) && value.trim().length >= 12);
        const result = readResourceIds(requirement("a.{path.id}.r"), inputs({ params: { id: value } }));
        expect(JSON.stringify(result)).not.toContain(JSON.stringify(value).slice(1, -1));
      }),
    );
  });

  it("lets no value become a wildcard or a second part, wherever it comes from", () => {
    const nasty = fc.oneof(
      fc.string(),
      fc
        .array(fc.constantFrom("*", ".", "a", "%2a", "%2e", "+", "%", "\u0000", "&", ";", "="), { maxLength: 6 })
        .map((l) => l.join("")),
    );
    fc.assert(
      fc.property(nasty, fc.constantFrom("path", "query", "header", "body"), (value, kind) => {
        const wanted = requirement(`a.{${kind}.id}.r`);
        const ids = readResourceIds(
          wanted,
          inputs({
            params: { id: value },
            query: `?id=${value}`,
            headers: { id: [value] },
            body: JSON.stringify({ id: value }),
          }),
        );
        if (isFault(ids)) return;
        expect(ids[0]).toMatch(/^[A-Za-z0-9_-]+$/);
        const query = fillRequirement(wanted, ids);
        expect(isMet(query, new Set(["a.other.r", "a.*.*", "*", `a.${value}*.r`, "a.r"]))).toBe(ids[0] === "other");
      }),
      { numRuns: 2000 },
    );
  });
});
