import { describe, expect, test } from "vitest";
import { formatProblemLine, formatProblems, type Problem, sortProblems } from "../../src/config/problem.ts";

const problem = (over: Partial<Problem> = {}): Problem => ({
  file: "sentinel.yaml",
  line: 3,
  column: 5,
  message: 'unknown member "lisen"; did you mean "listen"?',
  sourceLine: "    lisen: 1",
  ...over,
});

describe("formatProblems", () => {
  test("says file, line and column, then shows the line with a caret under the column", () => {
    expect(formatProblems([problem()], { colour: false })).toBe(
      ['sentinel.yaml:3:5: unknown member "lisen"; did you mean "listen"?', "      lisen: 1", "      ^", ""].join("\n"),
    );
  });

  test("leaves the line out where there is none", () => {
    expect(formatProblems([problem({ sourceLine: "" })], { colour: false })).toBe(
      'sentinel.yaml:3:5: unknown member "lisen"; did you mean "listen"?\n',
    );
  });

  test("keeps the caret in place behind a tab", () => {
    const text = formatProblems([problem({ sourceLine: "\tx: 1", column: 2 })], { colour: false });
    expect(text.split("\n").slice(1, 3)).toEqual(["   x: 1", "   ^"]);
  });

  test("shows a window of a very long line", () => {
    const text = formatProblems([problem({ sourceLine: `${"a".repeat(5000)}!`, column: 5001 })], { colour: false });
    const [, line = "", caret = ""] = text.split("\n");
    expect(line.length).toBeLessThan(120);
    expect(line[caret.indexOf("^")]).toBe("!");
  });

  test("uses colour only when asked to", () => {
    expect(formatProblems([problem()], { colour: true })).toContain("\u001b[31m^");
    expect(formatProblems([problem()], { colour: false })).not.toContain("\u001b");
  });

  test("a line of the file can not steer the terminal or forge a second line", () => {
    const hostile = problem({ message: "bad\nsentinel.yaml:1:1: all is well", sourceLine: "x: \u001b[2J\u202e" });
    const text = formatProblems([hostile], { colour: false });
    expect(text).not.toContain("\u001b");
    expect(text).not.toContain("\u202e");
    expect(text.split("\n")).toHaveLength(4);
    expect(formatProblemLine(hostile)).not.toContain("\n");
  });
});

test("sortProblems orders by place and says each thing once", () => {
  const late = problem({ line: 9 });
  const early = problem({ line: 1, message: "a" });
  expect(sortProblems([late, early, late])).toEqual([early, late]);
});
