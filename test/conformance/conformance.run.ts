import { readFileSync, writeFileSync } from "node:fs";
import { expect, it } from "vitest";
import type { Finding } from "../support/oracles.ts";
import { type Attack, Rig } from "../support/rig.ts";
import { hopByHop } from "../wire/a-hop-by-hop.attacks.ts";
import { chunkedBodies, hostileAnswers, requestFraming } from "../wire/b-framing.attacks.ts";
import { hosts, respellings, routing } from "../wire/c-targets.attacks.ts";
import { credentials } from "../wire/d-credentials.attacks.ts";
import { upgrades } from "../wire/e-upgrade.attacks.ts";

/** Runs the attacks of test/wire against four gateways and writes docs/conformance.md. */
const GROUPS: readonly (readonly [title: string, attacks: readonly Attack[]])[] = [
  ["A. hop-by-hop fields and what a proxy owes", hopByHop],
  ["B. framing of requests", requestFraming],
  ["B. bodies and pipelines", chunkedBodies],
  ["B. answers of hostile upstreams", hostileAnswers],
  ["C. spellings of the path", respellings],
  ["C. hosts and absolute targets", hosts],
  ["C. routes", routing],
  ["D. credentials, identity and trust in fields", credentials],
  ["E. upgrades", upgrades],
];

interface Subject {
  readonly name: string;
  readonly start: () => Promise<Rig>;
  /** Milliseconds that an answer may take: what hangs, hangs. */
  readonly within: number;
}

const SUBJECTS: readonly Subject[] = [
  { name: "Sentinel", start: () => Rig.start(), within: 4000 },
  ...["http-proxy", "http-proxy-3", "httpxy"].map((library) => ({
    name: `${library} ${versionOf(library)}`,
    start: () => Rig.startNaive(undefined, library),
    within: 300,
  })),
];

function versionOf(library: string): string {
  const manifest = new URL(`../../bench/node_modules/${library}/package.json`, import.meta.url);
  return (JSON.parse(readFileSync(manifest, "utf8")) as { version: string }).version;
}

/** The worst first; how errors are worded, and whether a connection stays open, is not held against the others. */
const WORST: readonly (readonly [kind: Finding["kind"], word: string])[] = [
  ["crash", "process ends"],
  ["smuggled", "smuggles"],
  ["leak", "leaks"],
  ["credential", "wrong identity"],
  ["unmarked", "wrong identity"],
  ["path", "other path"],
  ["unauthorised", "lets through"],
  ["hang", "hangs"],
  ["unsent", "differs"],
  ["claim", "differs"],
  ["status", "differs"],
];

const SEVERE: ReadonlySet<string> = new Set(["process ends", "smuggles", "wrong identity", "other path"]);

function worstOf(findings: readonly Finding[]): string | null {
  // An open connection shows as a hang where a close was waited for; with its right answer that is no hang.
  const answered = findings.some(({ kind }) => kind === "open");
  const counted = findings.filter(({ kind }) => !(answered && kind === "hang"));
  return WORST.find(([kind]) => counted.some((finding) => finding.kind === kind))?.[1] ?? null;
}

/** For each attack, in order, the worst that happened; null: it held. */
async function runAll({ start, within }: Subject): Promise<(string | null)[]> {
  const results: (string | null)[] = [];
  let rig = await start();
  for (const [, attacks] of GROUPS) {
    for (const attack of attacks) {
      const worst = worstOf(await rig.run({ ...attack, within: Math.min(attack.within ?? within, within) }));
      results.push(worst);
      // What went up on a pooled connection stays there, and would be held against the next case.
      if (SEVERE.has(worst ?? "")) {
        await rig.stop().catch(() => {}); // It may have died: that is the result.
        rig = await start();
      }
    }
  }
  await rig.stop().catch(() => {});
  return results;
}

function tally(words: readonly (string | null)[]): string {
  const held = words.filter((word) => word === null).length;
  const rest = new Map<string, number>();
  for (const word of words) if (word !== null) rest.set(word, (rest.get(word) ?? 0) + 1);
  const details = [...rest].map(([word, count]) => `${word} ${count}`).join(", ");
  return details === "" ? `${held}` : `${held} (${details})`;
}

function formatPage(results: readonly (readonly (string | null)[])[]): string {
  const all = GROUPS.flatMap(([title, attacks]) => attacks.map((attack) => ({ title, name: attack.name })));
  const head = `| | cases | ${SUBJECTS.map(({ name }) => name).join(" | ")} |\n|${" --- |".repeat(SUBJECTS.length + 2)}`;
  const rows = GROUPS.map(([title, attacks]) => {
    const cells = results.map((each) => tally(each.filter((_, index) => all[index]?.title === title)));
    return `| ${title} | ${attacks.length} | ${cells.join(" | ")} |`;
  });
  const totals = `| **all** | ${all.length} | ${results.map((each) => `**${each.filter((word) => word === null).length}**`).join(" | ")} |`;
  const severe = all.flatMap(({ name }, index) => {
    const words = results.map((each) => each[index] ?? null);
    if (!words.some((word) => SEVERE.has(word ?? ""))) return [];
    return [
      `| ${name.replaceAll("|", "\\|").replaceAll("<", "&lt;")} | ${words.map((word) => word ?? "held").join(" | ")} |`,
    ];
  });
  const severeHead = `| case | ${SUBJECTS.map(({ name }) => name).join(" | ")} |\n|${" --- |".repeat(SUBJECTS.length + 1)}`;
  return `# Conformance

The attacks of \`test/wire\`, sent to four gateways on Node ${process.version.split(".")[0]?.slice(1)}: Sentinel, and the same small gateway (\`test/support/naive-gateway.mjs\`:
\`new URL\` for the path, \`req.headers.authorization\` for the key) built on three proxy libraries. The libraries are not
gateways: where a case fails in the code around them, it fails for all three. How errors are worded and whether a
connection is kept is not counted against them. Made by \`npm ci --prefix bench && npm run conformance\`.

Cases held, and in brackets how the others ended, by the worst that was seen:
- *process ends*: the gateway's process was gone;
- *smuggles*: a request arrived upstream that nobody decided on, or three readings of the bytes sent there disagree;
- *wrong identity*: a request arrived upstream with another credential or principal than was decided on, or without what
  the gateway adds to each;
- *other path*: a request arrived upstream with another path than was decided on and logged;
- *lets through*: a request that had to be refused reached the upstream; *hangs*: no answer and no close in time;
- *differs*: another answer, or something was not passed on as it should be.

${head}
${rows.join("\n")}
${totals}

## Cases that end a process, smuggle, or mix up who asks for what

${severeHead}
${severe.join("\n")}
`;
}

it("writes the table", async () => {
  const results: (string | null)[][] = [];
  for (const subject of SUBJECTS) results.push(await runAll(subject));
  writeFileSync(new URL("../../docs/conformance.md", import.meta.url), formatPage(results));
  expect(results[0]?.filter((word) => word !== null)).toEqual([]);
});
