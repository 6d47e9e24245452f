import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_JSON_DEPTH, parseJsonBody, readMember, scanJson } from "../../src/permissions/json-body.ts";

const JSON_TYPE = "application/json";

function parse(text: string, type: string | null = JSON_TYPE) {
  return parseJsonBody(Buffer.from(text), type);
}

describe("the content type", () => {
  it.each([
    "application/json",
    "Application/JSON",
    " application/json ",
    "application/json;charset=utf-8",
    'application/json; charset="UTF-8"',
    "application/json; profile=x; charset=utf-8;",
    "application/vnd.api+json",
    "application/problem+json; charset=utf-8",
    "text/x+json",
  ])("%j is JSON", (type) => {
    expect(parse('{"a":1}', type)).toEqual({ kind: "object", members: { a: 1 } });
  });

  it.each([
    [null, "must come with Content-Type"],
    ["", "has to be application/json"],
    ["text/plain", "has to be application/json"],
    ["text/json", "has to be application/json"],
    ["application/jsonx", "has to be application/json"],
    ["application/json/x", "has to be application/json"],
    ["application/+json", "has to be application/json"],
    ["application/json, text/plain", "has to be application/json"],
    ["application/x-www-form-urlencoded", "has to be application/json"],
    ["application/json; charset=utf-16", "has to be utf-8"],
    ["application/json; charset=utf-7", "has to be utf-8"],
    ["application/json; charset=utf-8; charset=utf-16", "has to be utf-8"],
    ["application/json; charset=utf-8; charset=utf-8", "has to be utf-8"],
    ["application/json; charset", "well-formed"],
    ["application/json; =x", "well-formed"],
    ['application/json; charset="utf-8', "well-formed"],
    ["application/json; a b=c", "well-formed"],
  ])("%j is not", (type, expected) => {
    expect(parse("{}", type)).toEqual({ kind: "refused", expected: expect.stringContaining(expected) });
  });
});

describe("the body", () => {
  it.each([
    ["an empty body", ""],
    ["white space", "  "],
    ["cut off", '{"a":'],
    ["a string without an end", '{"a'],
    ["a string that ends in a backslash", '{"a\\'],
    ["a name with a broken escape", '{"\\x":1}'],
    ["a trailing comma", '{"a":1,}'],
    ["a comment", '{"a":1}//'],
    ["two documents", "{}{}"],
    ["single quotes", "{'a':1}"],
    ["a bare name", "{a:1}"],
    ["NaN", '{"a":NaN}'],
    ["a raw line end in a string", '{"a":"\n"}'],
    ["closing what was never opened", "]}"],
    ["mismatched brackets", '{"a":[}]'],
  ])("refuses %s", (_, text) => {
    expect(parse(text)).toEqual({ kind: "refused", expected: "must be JSON" });
  });

  it.each(["[]", "1", '"a"', "null", "true"])("refuses %s: no object", (text) => {
    expect(parse(text)).toEqual({ kind: "refused", expected: "must be a JSON object" });
  });

  it.each([
    ["a byte order mark", [0xef, 0xbb, 0xbf, 0x7b, 0x7d]],
    ["a byte that is not UTF-8", [0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]],
    ["an overlong slash", [0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x3a, 0x31, 0x7d]],
    ["a surrogate", [0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d]],
    ["UTF-16", [0x7b, 0x00, 0xff, 0xfe]],
  ])("refuses %s", (_, bytes) => {
    expect(parseJsonBody(Buffer.from(bytes), JSON_TYPE)).toEqual({
      kind: "refused",
      expected: "must be valid UTF-8 without a byte order mark",
    });
  });

  it.each([
    ["at the top", '{"a":1,"a":2}'],
    ["with the same value", '{"a":1,"a":1}'],
    ["deep inside", '{"x":[{"y":{"a":1,"b":2,"a":3}}]}'],
    ["spelled with an escape", '{"a":1,"\\u0061":2}'],
    ["spelled with two escapes", '{"/":1,"\\/":2}'],
    ["named __proto__", '{"__proto__":1,"__proto__":2}'],
    ["after a nested object", '{"a":{"b":1},"c":[1,{"d":2}],"a":3}'],
    ["with an empty name", '{"":1,"":2}'],
  ])("refuses a member that is there twice %s", (_, text) => {
    expect(parse(text)).toEqual({ kind: "refused", expected: "must not have a member twice" });
  });

  it.each([
    ["in two objects", '{"a":{"a":1},"b":{"a":1}}'],
    ["as a value", '{"a":"b","b":"a"}'],
    ["in an array", '{"x":["a","a",{"a":1},{"a":1}]}'],
    ["in another case", '{"a":1,"A":2}'],
  ])("takes one name %s", (_, text) => {
    expect(parse(text)).toEqual({ kind: "object", members: JSON.parse(text) });
  });

  it("takes nesting to a limit, and no deeper whatever the size", () => {
    const nested = (depth: number) => `{"a":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`;
    expect(parse(nested(MAX_JSON_DEPTH)).kind).toBe("object");
    expect(parse(nested(MAX_JSON_DEPTH + 1))).toEqual({ kind: "refused", expected: expect.stringContaining("nested") });
    for (const text of ["[".repeat(1_000_000), '{"a":'.repeat(200_000)]) {
      expect(parse(text)).toEqual({ kind: "refused", expected: expect.stringContaining("nested") });
    }
  });

  it("gives what JSON.parse gives for every object without repeats", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue({ maxDepth: 5 })), (value) => {
        const text = JSON.stringify(value);
        expect(parse(text)).toEqual({ kind: "object", members: JSON.parse(text) });
      }),
    );
  });

  it("takes no text that JSON.parse refuses", () => {
    const pieces = fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      '"a"',
      '"b"',
      "1",
      "null",
      '"',
      "\\",
      " ",
      '"\\u0061"',
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 12 }), (list) => {
        const text = list.join("");
        if (parse(text).kind === "object") expect(() => JSON.parse(text)).not.toThrow();
      }),
      { numRuns: 3000 },
    );
  });

  it("finds a repeat wherever it is put, however its name is spelled", () => {
    const name = fc.string({ minLength: 1, maxLength: 5, unit: "grapheme-ascii" });
    fc.assert(
      fc.property(name, fc.jsonValue({ maxDepth: 2 }), fc.nat(5), fc.boolean(), (member, value, depth, inArray) => {
        const escaped = [...member].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`).join("");
        const twice = `{${JSON.stringify(member)}:${JSON.stringify(value)},"${escaped}":1}`;
        const wrap = (text: string): string => (inArray ? `{"w":[0,${text}]}` : `{"w":${text},"z":0}`);
        let text = twice;
        for (let i = 0; i < depth; i += 1) text = wrap(text);
        expect(scanJson(text)).toBe("duplicate");
      }),
    );
  });
});

describe("readMember", () => {
  const read = (text: string, ...path: string[]) => {
    const body = parse(text);
    if (body.kind === "refused") throw new Error(body.expected);
    return readMember(body.members, path);
  };

  it.each([
    ['{"a":"x"}', ["a"], "x"],
    ['{"a":{"b":"x"}}', ["a", "b"], "x"],
    ['{"__proto__":"x"}', ["__proto__"], "x"],
    ['{"__proto__":{"a":"x"}}', ["__proto__", "a"], "x"],
    ['{"a":null}', ["a"], null],
  ])("finds a value: %s at %j", (text, path, value) => {
    expect(read(text, ...path)).toEqual({ kind: "value", value });
  });

  it.each([
    ["{}", ["a"]],
    ["{}", ["__proto__"]],
    ["{}", ["constructor", "name"]],
    ["{}", ["toString"]],
    ['{"a":"x"}', ["a", "length"]],
    ['{"a":["x"]}', ["a", "0"]],
    ['{"a":null}', ["a", "b"]],
    ['{"A":"x"}', ["b"]],
    ['{"__proto__":{"apiId":"x"}}', ["apiId"]],
  ])("finds nothing: %s at %j", (text, path) => {
    expect(read(text, ...path)).toEqual({ kind: "absent" });
  });

  it.each([
    ['{"id":"mine","_id":"x","id_":"y","__id":"z"}', "id"],
    ['{"a_id":"mine","a__id":"x"}', "a_id"],
  ])("tells names apart that no parser takes for one: %s", (text, name) => {
    expect(read(text, name)).toEqual({ kind: "value", value: "mine" });
  });

  // Go's encoding/json and .NET's web defaults match names in any case; the last one wins there.
  it.each([
    ['{"apiId":"mine","APIID":"theirs"}', ["apiId"]],
    ['{"APIID":"theirs"}', ["apiId"]],
    ['{"kids":"mine","\\u212aids":"theirs"}', ["kids"]],
    ['{"ids":"mine","id\\u017f":"theirs"}', ["ids"]],
    ['{"id":"mine","id\\u0000":"theirs"}', ["id"]],
    ['{"a":{"id":"mine","Id":"theirs"}}', ["a", "id"]],
    ['{"a":{"id":"mine"},"A":{"id":"theirs"}}', ["a", "id"]],
    // Protocol Buffers' JSON has two names for each field.
    ['{"apiId":"mine","api_id":"theirs"}', ["apiId"]],
    ['{"api_id":"mine","apiId":"theirs"}', ["api_id"]],
    ['{"api-id":"mine","API_ID":"theirs"}', ["api-id"]],
  ])("is ambiguous where a lenient parser reads another member: %s at %j", (text, path) => {
    expect(read(text, ...path)).toEqual({ kind: "ambiguous" });
  });
});
