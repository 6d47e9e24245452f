import { readdirSync, readFileSync } from "node:fs";
import { join, posix, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { CATALOGUE, type Check } from "./catalogue.ts";

const TESTS = resolve("test");

/** The files whose names of tests begin with the number of a check. */
const NUMBERED = readdirSync(join(TESTS, "wire"))
  .filter((name) => name.endsWith(".ts"))
  .map((name) => `wire/${name}`);

/**
 * A number that begins the name of a test: behind `name:`, `it(`, the `(` after `it.each(...)`, the `[` of one of its
 * rows, or as what `ambiguous(` puts in front of its names. A test that is skipped for good (`it.skip(`) is none.
 */
const NAMES = /(?:\bname:\s*|\bit\(\s*|\)\(\s*|\[\s*)["`](\d{3}) |\bambiguous\(\s*"(\d{3})"/g;

function numbersIn(text: string): string[] {
  return [...text.matchAll(NAMES)].map(([, named, put]) => named ?? put ?? "");
}

/** By number, the files of test/wire that hold it. */
const holders = new Map<string, string[]>();
for (const file of NUMBERED) {
  for (const number of new Set(numbersIn(readFileSync(join(TESTS, file), "utf8")))) {
    holders.set(number, [...(holders.get(number) ?? []), file]);
  }
}

const checks = CATALOGUE.flatMap((group) => group.checks);

function splitReference(reference: string): { file: string; name: string } {
  const at = reference.indexOf(": ");
  return { file: reference.slice(0, at), name: reference.slice(at + 2) };
}

/** Whether the words stand there, as part of a test's name. */
function isNamed({ file, name }: { file: string; name: string }): boolean {
  return name.length > 5 && readFileSync(join(TESTS, file), "utf8").includes(name);
}

function filesOf({ number, alsoIn }: Check): string[] {
  return [...new Set([...(holders.get(number) ?? []), ...alsoIn.map((reference) => splitReference(reference).file)])];
}

function formatRow(check: Check): string {
  const links = filesOf(check).map((file) => {
    const path = posix.normalize(`test/${file}`);
    return `[${path.replace(/^test\//, "")}](../${path})`;
  });
  return `| ${check.number}${check.gate ? " ★" : ""} | ${check.what} | ${links.join(", ")} | ${check.otherwise ?? ""} |`;
}

function formatChecks(): string {
  const held = checks.filter((check) => filesOf(check).length > 0).length;
  const gates = checks.filter(({ gate }) => gate).length;
  const tables = CATALOGUE.map(
    ({ title, checks: rows }) =>
      `## ${title}\n\n| | check | held by | where Sentinel decides otherwise |\n| --- | --- | --- | --- |\n${rows.map(formatRow).join("\n")}\n`,
  );
  return `# The catalogue of checks

What a gateway is asked by people who try to get around it, and the tests that ask. The numbers are stable: a test whose
name begins with one holds it, \`npx vitest run test/wire -t 043\` runs what is asked under it. ${held} of the ${checks.length} are
held by tests, the others ask about what Sentinel does not have; a release waits for the ${gates} with a star. Made from the tests themselves by \`npm run generate\`: the tests
fail where a check is held by nothing, and where this page is not what they make of it.

${tables.join("\n")}`;
}

describe("the catalogue of checks", () => {
  it("is held by tests, each check of it, but for what there is no such thing here to ask about", () => {
    const bare = checks.filter((check) => filesOf(check).length === 0 && (check.gate || check.otherwise === null));
    expect(bare.map(({ number, what, gate }) => `${number}${gate ? " (a release waits for it)" : ""} ${what}`)).toEqual(
      [],
    );
  });

  it("is held by what is named there", () => {
    const references = checks.flatMap(({ alsoIn }) => alsoIn);
    expect(references.filter((reference) => !isNamed(splitReference(reference)))).toEqual([]);
  });

  it("has every number that a test's name begins with", () => {
    const known = new Set(checks.map(({ number }) => number));
    expect([...holders.keys()].filter((number) => !known.has(number))).toEqual([]);
  });

  it("has the numbers from 001 to 200, each once, and 40 for which a release waits", () => {
    expect(checks.map(({ number }) => Number(number))).toEqual(Array.from({ length: 200 }, (_, index) => index + 1));
    expect(checks.filter(({ gate }) => gate)).toHaveLength(40);
  });

  it("reads the number off a name, and takes no other number for one", () => {
    const text = `it("043 a"); name: "055 b"; it.each([["062 c", 1]])("%s"); ambiguous("063", x);
      it.each(rows)("064 d"); includes("100 Continue"); naiveFails: ["094"]; it.skip("101 e"); // 102 f`;
    expect(numbersIn(text)).toEqual(["043", "055", "062", "063", "064"]);
  });

  it("docs/checks.md is what the tests make of it (npm run generate)", async () => {
    await expect(formatChecks()).toMatchFileSnapshot(resolve("docs/checks.md"));
  });
});
