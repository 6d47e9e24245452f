import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isQueryProblem, parseQuery } from "../../src/permissions/parse-query.ts";
import { createPermission } from "../../src/permissions/permission.ts";
import { isMet, type PermissionQuery } from "../../src/permissions/query.ts";
import { fillRequirement, type QueryTemplate, type Requirement } from "../../src/permissions/requirement.ts";
import { formatPlaceholder } from "../../src/permissions/resource-id.ts";

function parsed(text: string): Requirement {
  const requirement = parseQuery(text);
  if (isQueryProblem(requirement)) throw new Error(`${requirement.column}: ${requirement.message}`);
  return requirement;
}

/** Fully parenthesised, so that the tree shows. */
function show(template: QueryTemplate): string {
  if (template.kind !== "permission") return `${template.kind}(${template.parts.map(show).join(", ")})`;
  const id = typeof template.resourceId === "string" ? template.resourceId : formatPlaceholder(template.resourceId);
  return `${template.resourceType}.${id}.${template.action}`;
}

describe("parseQuery", () => {
  it.each([
    ["one tuple", "api.a.r", "api.a.r"],
    ["a required *", "api.*.r", "api.*.r"],
    ["AND binds tighter", "p.1.r OR p.2.r AND p.3.r", "or(p.1.r, and(p.2.r, p.3.r))"],
    ["AND binds tighter, the other way round", "p.1.r AND p.2.r OR p.3.r", "or(and(p.1.r, p.2.r), p.3.r)"],
    ["parentheses", "(p.1.r OR p.2.r) AND p.3.r", "and(or(p.1.r, p.2.r), p.3.r)"],
    ["parentheses next to operators", "p.1.r AND(p.2.r OR p.3.r)", "and(p.1.r, or(p.2.r, p.3.r))"],
    ["several of one operator", "p.1.r AND p.2.r AND p.3.r", "and(p.1.r, p.2.r, p.3.r)"],
    ["operators in any case", "p.1.r and p.2.r oR p.3.r", "or(and(p.1.r, p.2.r), p.3.r)"],
    ["redundant parentheses", "((((p.1.r))))", "p.1.r"],
    ["tabs and line ends", "\tp.1.r\r\n  AND\n p.2.r ", "and(p.1.r, p.2.r)"],
    ["an operator's letters in a tuple", "ANDp.OR.and AND or.AND.ORx", "and(ANDp.OR.and, or.AND.ORx)"],
    ["placeholders", "api.{path.id}.r AND x.{body.a.b}.r", "and(api.{path.id}.r, x.{body.a.b}.r)"],
    ["a header in lower case", "api.{header.X-Tenant}.r", "api.{header.x-tenant}.r"],
    ["a parameter with dots", "api.{query.filter.id}.r", "api.{query.filter.id}.r"],
  ])("reads %s", (_, text, tree) => {
    expect(show(parsed(text).template)).toBe(tree);
  });

  it("says which placeholders there are, each once and in order", () => {
    const requirement = parsed("a.{path.id}.r AND b.{query.q}.r AND c.{path.id}.w OR d.{header.H}.r AND e.{body.x}.r");
    expect(requirement.placeholders.map(formatPlaceholder)).toEqual([
      "{path.id}",
      "{query.q}",
      "{header.h}",
      "{body.x}",
    ]);
    expect(requirement.needsBody).toBe(true);
    expect(requirement.fixed).toBeNull();
  });

  it("is evaluated as it stands where there is no placeholder", () => {
    const requirement = parsed("api.a.r");
    expect(requirement.fixed).toEqual({ kind: "permission", permission: createPermission("api", "a", "r") });
    expect(fillRequirement(requirement, [])).toBe(requirement.fixed);
    expect(requirement.needsBody).toBe(false);
  });

  it.each([
    ["", 1, "is empty"],
    [" \t\n", 1, "is empty"],
    ["p.1.r AND", 10, "ends after 'AND': expected a permission or '('"],
    ["p.1.r or ", 10, "ends after 'or'"],
    ["(p.1.r AND p.2.r", 17, "the '(' at column 1 is never closed"],
    ["p.1.r AND ((p.2.r)", 19, "the '(' at column 11 is never closed"],
    ["p.1.r AND ()", 12, "Nothing between '(' and ')'"],
    ["(", 2, "ends after '('"],
    ["AND p.1.r", 1, "Unexpected 'AND': expected a permission"],
    ["p.1.r AND OR p.2.r", 11, "Unexpected 'OR'"],
    ["p.1.r p.2.r", 7, "Unexpected 'p.2.r': expected AND, OR or the end"],
    ["p.1.r(p.2.r)", 6, "Unexpected '('"],
    ["(p.1.r) p.2.r", 9, "Unexpected 'p.2.r'"],
    ["p.1.r)", 6, "there is no '(' that it closes"],
    [")", 1, "Unexpected ')': expected a permission"],
    ["(p.1.r AND )", 12, "Unexpected ')'"],
    ["p.1.r @ p.2.r", 7, 'Unexpected character "@"'],
    ["p.1.r && p.2.r", 7, 'Unexpected character "&"'],
    ["p.1.r\u00a0AND p.2.r", 6, "Unexpected character"],
    ["p.😀.r", 3, 'Unexpected character "😀"'],
    ["p.1.r AND \u0000", 11, 'Unexpected character "\\u0000"'],
    ["NOT p.1.r", 1, "'NOT' is no permission: expected exactly three parts"],
    ["p.1.r AND read", 11, "expected exactly three parts"],
    ["p.1.r.x", 1, "expected exactly three parts"],
    ["p..r", 3, "the resource id is empty"],
    ["*.1.r", 1, "`*` can not be the resource type"],
    ["p.*.*", 5, "`*` can not be the action"],
    ["p.1*.r", 3, "never for a piece of one"],
    ["p.{path.id}x.r", 12, "expected '.' after '}'"],
    ["p.x{path.id}.r", 3, "a placeholder stands only for a whole resource id"],
    ["{path.t}.1.r", 1, "a placeholder stands only for a whole resource id"],
    ["p.1.{path.a}", 5, "a placeholder stands only for a whole resource id"],
    ["p.{path.id", 3, "this '{' is never closed"],
    ["p.{a{path.id}.r", 5, "Unexpected '{'"],
    ["p.path}.r", 7, "Unexpected '}'"],
    ["p.{path}.r", 3, "has no name: write {path.NAME}"],
    ["p.{path.}.r", 3, "has no name"],
    ["p.{path.a.b}.r", 3, "may hold only letters"],
    ["p.{body}.r", 3, "has no name"],
    ["p.{body.a..b}.r", 3, "may hold only letters"],
    ["p.{query.}.r", 3, "has no name"],
    ["p.{header.a.b}.r", 3, "may hold only letters"],
    ["p.{header.}.r", 3, "has no name"],
    ["p.{header.Authorization}.r", 3, "can not come from Authorization"],
    ["p.{cookie.a}.r", 3, "a placeholder is {path.NAME}"],
    ["p.{}.r", 3, "a placeholder is {path.NAME}"],
    ["p.1.r OR p.{path.*}.r", 12, "may hold only letters"],
  ])("refuses %j at column %d", (text, column, message) => {
    expect(parseQuery(text)).toEqual({ column, message: expect.stringContaining(message) });
  });

  it("takes 1000 characters and no more", () => {
    const longest = `${"(".repeat(497)}p.1.rx${")".repeat(497)}`;
    expect(longest).toHaveLength(1000);
    expect(show(parsed(longest).template)).toBe("p.1.rx");
    expect(parseQuery(`${longest} `)).toEqual({ column: 1001, message: expect.stringContaining("at most 1000") });
  });

  it("takes 100 permissions and no more", () => {
    const tuples = Array.from({ length: 101 }, () => "p.1.r");
    expect(isQueryProblem(parseQuery(tuples.slice(1).join(" OR ")))).toBe(false);
    expect(parseQuery(tuples.join(" OR "))).toEqual({ column: 901, message: expect.stringContaining("at most 100") });
  });

  it.each([
    ["opening parentheses", "("],
    ["closing parentheses", ")"],
    ["operators", "AND "],
    ["braces", "{"],
  ])("answers a megabyte of %s at once", (_, text) => {
    expect(isQueryProblem(parseQuery(text.repeat(1_000_000 / text.length)))).toBe(true);
  });

  it("reads back every query it can write, and evaluates it the same", () => {
    const leaf = fc.constantFrom("t.1.r", "t.2.r", "t.*.w", "u.x-1.r").map((tuple): Tree => tuple);
    const tree = fc.letrec<{ node: Tree }>((tie) => ({
      node: fc.oneof(
        { maxDepth: 4 },
        leaf,
        fc.record({
          kind: fc.constantFrom("and" as const, "or" as const),
          parts: fc.array(tie("node"), { minLength: 2, maxLength: 3 }),
        }),
      ),
    })).node;
    const space = fc.constantFrom(" ", "  ", "\n", "\t ");
    fc.assert(
      fc.property(tree, space, fc.subarray(["t.1.r", "t.2.r", "t.*.w", "u.*.r"]), (wanted, gap, grants) => {
        const text = write(wanted, gap);
        fc.pre(text.length <= 1000);
        const query = parsed(text).fixed;
        expect(query).not.toBeNull();
        expect(isMet(query as PermissionQuery, new Set(grants))).toBe(holds(wanted, new Set(grants)));
      }),
    );
  });

  it("never throws, and points inside the text or right after it", () => {
    const pieces = fc.constantFrom("(", ")", "AND", "or", " ", "p.1.r", "{", "}", ".", "*", "{path.a}", "x", "@", "é");
    const text = fc.oneof(
      fc.string(),
      fc.array(pieces, { maxLength: 30 }).map((list) => list.join("")),
    );
    fc.assert(
      fc.property(text, (input) => {
        const result = parseQuery(input);
        if (!isQueryProblem(result)) return;
        expect(result.column).toBeGreaterThanOrEqual(1);
        expect(result.column).toBeLessThanOrEqual(input.length + 1);
      }),
      { numRuns: 1000 },
    );
  });
});

describe("a filled requirement", () => {
  it("holds the value as an id, as it came: never a wildcard, never another part", () => {
    const requirement = parsed("api.{path.id}.read AND (api.{path.id}.write OR x.{query.q}.read)");
    const id = fc.stringMatching(/^[A-Za-z0-9_-]{1,20}$/);
    fc.assert(
      fc.property(id, id, (a, b) => {
        const query = fillRequirement(requirement, [a, b]);
        expect(isMet(query, new Set([`api.${a}.read`, `x.${b}.read`]))).toBe(true);
        expect(isMet(query, new Set([`api.${a}.read`, `api.*.write`]))).toBe(true);
        expect(isMet(query, new Set([`api.${a}x.read`, `api.*.write`]))).toBe(false);
      }),
    );
  });

  it("is refused without a value for each placeholder", () => {
    expect(() => fillRequirement(parsed("api.{path.id}.r"), [])).toThrow("without a value");
  });
});

type Tree = string | { kind: "and" | "or"; parts: Tree[] };

function write(tree: Tree, gap: string): string {
  if (typeof tree === "string") return tree;
  return `(${tree.parts.map((part) => write(part, gap)).join(`${gap}${tree.kind}${gap}`)})`;
}

function holds(tree: Tree, grants: Set<string>): boolean {
  if (typeof tree !== "string") {
    return tree.kind === "and"
      ? tree.parts.every((part) => holds(part, grants))
      : tree.parts.some((part) => holds(part, grants));
  }
  const [type, , action] = tree.split(".");
  return grants.has(tree) || grants.has(`${type}.*.${action}`);
}
