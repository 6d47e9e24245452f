import { describe, expect, it } from "vitest";
import { isQueryProblem, parseQuery } from "../../src/permissions/parse-query.ts";
import { formatUnmet, isMet, type PermissionQuery, unmet } from "../../src/permissions/query.ts";

function query(text: string): PermissionQuery {
  const requirement = parseQuery(text);
  if (isQueryProblem(requirement) || requirement.fixed === null) throw new Error(`not a fixed query: ${text}`);
  return requirement.fixed;
}

/** The 403's sentence, or null where the grants are enough. */
function refusal(text: string, grants: string[]): string | null {
  const missing = unmet(query(text), new Set(grants));
  expect(missing === null).toBe(isMet(query(text), new Set(grants)));
  return missing === null ? null : formatUnmet(missing);
}

const one = (tuple: string) => `Your key does not have the required '${tuple}' permission`;
const some = (...tuples: string[]) =>
  `Your key does not have one of the required permissions ${tuples.map((tuple) => `'${tuple}'`).join(", ")}`;

describe("what a 403 names", () => {
  it.each([
    ["nothing, when it is granted", "a.1.r", ["a.1.r"], null],
    ["nothing, when every id is granted", "a.1.r", ["a.*.r"], null],
    ["the tuple", "a.1.r", [], one("a.1.r")],
    ["the first that is missing of an AND", "a.1.r AND b.1.r AND c.1.r", ["a.1.r"], one("b.1.r")],
    ["every alternative of an OR", "a.1.r OR b.1.r", ["c.1.r"], some("a.1.r", "b.1.r")],
    ["an alternative by its own first missing tuple", "a.1.r AND b.1.r OR c.1.r", ["a.1.r"], some("b.1.r", "c.1.r")],
    ["an OR that is an AND's first missing part", "x.1.r AND (a.1.r OR b.1.r)", ["x.1.r"], some("a.1.r", "b.1.r")],
    ["the tuple before that OR", "x.1.r AND (a.1.r OR b.1.r)", ["a.1.r"], one("x.1.r")],
    ["nested ORs as one list", "(a.1.r OR b.1.r) OR (c.1.r AND d.1.r)", ["c.1.r"], some("a.1.r", "b.1.r", "d.1.r")],
    ["a tuple once", "a.1.r AND b.1.r OR a.1.r AND c.1.r", [], one("a.1.r")],
    ["nothing, when one alternative holds", "a.1.r AND b.1.r OR c.1.r", ["c.1.r"], null],
    ["the `*` that is required", "a.*.r", ["a.1.r"], one("a.*.r")],
  ])("%s", (_, text, grants, expected) => {
    expect(refusal(text, grants)).toBe(expected);
  });

  it("never lists what the key holds", () => {
    expect(refusal("a.1.r OR b.1.r", ["secret.project.read"])).not.toContain("secret");
  });

  it.each(["and", "or"] as const)("takes an %s without parts, which only code can build, as not satisfied", (kind) => {
    const empty: PermissionQuery = { kind, parts: [] };
    expect(isMet(empty, new Set(["a.1.r"]))).toBe(false);
    const missing = unmet(empty, new Set(["a.1.r"]));
    expect(missing).not.toBeNull();
    expect(formatUnmet(missing as PermissionQuery)).toBe("Your key does not have the required permissions");
  });
});
