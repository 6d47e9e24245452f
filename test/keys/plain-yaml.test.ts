import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Document, type Node, parseDocument, stringify } from "yaml";
import { parsePlainYaml } from "../../src/keys/plain-yaml.ts";

/** What the library reads; null where it finds a mistake. */
function byLibrary(text: string): unknown {
  const document = parseDocument(text, { prettyErrors: false });
  return document.errors.length + document.warnings.length > 0 ? null : document.contents;
}

/** A tree without places, so that two readers' can be compared: kinds, values and, where dates hang on it, the source. */
function shape(node: unknown): unknown {
  const { items, key, value, source } = node as Record<string, unknown>;
  if (Array.isArray(items)) return items.map(shape);
  if (key !== undefined) return { key: shape(key), value: shape(value) };
  return [value, typeof value === "string" ? null : source];
}

function expectSameAsLibrary(text: string): void {
  const plain = parsePlainYaml(text);
  if (plain === null) return;
  const full = byLibrary(text);
  expect(full, `the library refuses or warns of ${JSON.stringify(text)}`).not.toBeNull();
  expect(shape(plain), JSON.stringify(text)).toEqual(shape(full));
  expect((plain as Node).toJS(new Document())).toEqual((full as Node).toJS(new Document()));
}

describe("what is plain", () => {
  it.each([
    [
      "a keyring as the command line writes it",
      "keys:\n  - id: key_a\n    permissions:\n      - api.*.read\n    enabled: false\n",
    ],
    ["lists as far left as their name", "keys:\n- id: a\n  roles:\n  - b\nroles: []\n"],
    ["a date", "createdAt: 2027-06-01\nupdatedAt: 2027-06-01T00:00:00+02:00"],
    ["comments", "# first\nkeys: # here\n    # deep\n  - id: a # and here\n# last"],
    ["short forms", "roles: [a.b.c, d]\nidentity: { externalId: u, meta: { n: 1 } }"],
    ["quotes", `name: "CI: a #1"\nother: 'it "is"'`],
    [
      "a hash",
      "hash: FbbDyNvesllHaCyuOnZ/KrBK6jLxqvALodX93jAPHtM=\nother: 1+bDyNvesllHaCyuOnZ/KrBK6jLxqvALodX93jAPHtM=",
    ],
    ["JSON", JSON.stringify({ keys: [{ id: "a", enabled: true, meta: { n: [1, {}] } }] })],
    ["JSON over many lines", JSON.stringify({ keys: [{ id: "a", roles: ["b"], meta: {} }] }, null, 2)],
    ["an empty list", "keys: []"],
  ])("is read without the library: %s", (_, text) => {
    expect(parsePlainYaml(text)).not.toBeNull();
    expectSameAsLibrary(text);
  });
});

describe("what is not plain", () => {
  it.each([
    ["nothing", ""],
    ["an anchor", "a: &x b\nc: *x"],
    ["a tag", "a: !!str b"],
    ["a text over two lines", "name: a\n  b\n"],
    ["a block text", "name: |\n  a\n"],
    ["an escape", 'name: "a\\n"'],
    ["a doubled quote", "name: 'it''s'"],
    ["a tab", "a:\tb"],
    ["a name that is given twice", "a: b\na: c"],
    ["a name that is given twice in { }", "a: { b: c, b: d }"],
    ["a name that is no string", "true: b"],
    ["no value", "a:\n"],
    ["null", "a: null"],
    ["Yes in another spelling", "a: True"],
    ["hexadecimal", "a: 0x1f"],
    ["a fraction", "a: 1.5"],
    ["a number with zeros before it", "a: 012"],
    ["an exponent", "a: 1e3"],
    ["a second document", "a: b\n---\nc: d"],
    ["a directive", "%YAML 1.1\n---\na: b"],
    ["a member that is further right than the first", "a: b\n  c: d"],
    ["a colon in a value", "a: b: c"],
    ["a comma too much", "a: [b, ]"],
    ["a bracket that is not closed", "a: [b"],
    ["more behind a bracket", "a: [b] c"],
    ["a comment that touches a bracket", "a: [b]#c"],
    ["[ ] over two lines in a block", "a: [b,\n  c]"],
    ["an invisible character", "a: b\u200b"],
    ["a line separator", "a: b\u2028c: d"],
    ["depth without end", `a: ${"[".repeat(100)}${"]".repeat(100)}`],
  ])("is left to the library: %s", (_, text) => {
    expect(parsePlainYaml(text)).toBeNull();
  });
});

describe("whatever is written", () => {
  const label = fc.oneof(
    fc.constantFrom(
      "key_a",
      "a b",
      "2027-01-01",
      "a:b",
      "a#b",
      "a #b",
      "- a",
      "true",
      "Null",
      "~",
      "1",
      "-1",
      "0x1",
      "1e3",
    ),
    fc.constantFrom(
      "é",
      "a: b",
      "",
      " a",
      "[a]",
      "{a}",
      "'a'",
      '"a"',
      "a\\b",
      "a,b",
      "<<",
      "a\nb",
      "*a",
      "&a",
      "=",
      "+1",
      "1_0",
    ),
    fc.string({ maxLength: 6 }),
  );
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { depthSize: "small" },
      label,
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      tie("list"),
      tie("map"),
    ),
    list: fc.array(tie("any"), { maxLength: 3 }),
    map: fc.dictionary(fc.oneof(fc.constantFrom("id", "hash", "roles", "meta", "null"), label), tie("any"), {
      maxKeys: 3,
    }),
  })).any;

  it("values as any writer writes them are read as the library reads them", () => {
    fc.assert(
      fc.property(value, (given) => {
        expectSameAsLibrary(stringify(given));
        expectSameAsLibrary(JSON.stringify(given));
        expectSameAsLibrary(JSON.stringify(given, null, 2));
        expectSameAsLibrary(stringify(given, { indentSeq: false, defaultStringType: "QUOTE_SINGLE" }));
        expectSameAsLibrary(stringify(given, { collectionStyle: "flow" }));
      }),
      { numRuns: 1000 },
    );
  });

  it("pieces of YAML in any order are read as the library reads them, or left to it", () => {
    const piece = fc.constantFrom(
      ...'a,b: ,id:,- ,-,  ,    ,\n,\n  ,\n    ,\n- ,\n  - ,#,# c, #c,[,],{,},",\',:,a:b,true,null,1,01,+1,---,...,"x",\'y\',"k":, : ,?,|,>,&a,*a,!t,%,=,@,~,a b,/,_'.split(
        ",",
      ),
      ",",
      ", ",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), (pieces) => expectSameAsLibrary(pieces.join(""))),
      { numRuns: 30_000 },
    );
  });

  it("lines of a keyring, indented anyhow, are read as the library reads them, or left to it", () => {
    const line = fc.tuple(
      fc.constantFrom(0, 0, 1, 2, 2, 3, 4, 4, 6),
      fc.constantFrom(
        "keys:",
        "- id: a",
        "id: b",
        "- b",
        "roles:",
        "roles: [a, b]",
        "meta: { a: 1 }",
        "# c",
        "",
        "-",
        "x",
        "- c: # d",
        '"a": b',
      ),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 9 }), (lines) =>
        expectSameAsLibrary(lines.map(([indent, text]) => " ".repeat(indent) + text).join("\n")),
      ),
      { numRuns: 30_000 },
    );
  });
});
