import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { collectScrape, formatScrapes } from "../../src/telemetry/scrape.ts";
import { hasProgram } from "../support/programs.ts";
import { metricsFor } from "../telemetry/support.ts";

const FILES = resolve("helm/sentinel/files");
const hasPromtool = hasProgram("promtool");

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: Record<string, string>;
  readonly annotations: Record<string, string>;
}
interface AlertTests {
  readonly tests: { readonly alert_rule_test: { readonly alertname: string; readonly exp_alerts: unknown[] }[] }[];
}
interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string }[];
}

const rules = (parse(read("alerts.yaml")) as { groups: { rules: Rule[] }[] }).groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(read("dashboard.json")) as { panels: Panel[]; uid: string };
const queries = dashboard.panels.flatMap(({ title, targets = [] }) =>
  targets.map(({ expr }) => [title, expr] as const),
);

function read(name: string): string {
  return readFileSync(resolve(FILES, name), "utf8");
}

async function exposedNames(): Promise<Set<string>> {
  const text = await formatScrapes([await collectScrape(metricsFor({ redis: true }))]);
  return new Set(Array.from(text.matchAll(/^([a-z0-9_]+)[{ ]/gm), ([, name]) => name ?? ""));
}

function namesIn(expr: string): string[] {
  return expr.match(/\b(sentinel|nodejs|process)_[a-z0-9_]+/g) ?? [];
}

describe("every metric that is named exists", () => {
  it("in the alerts", async () => {
    const exposed = await exposedNames();
    const named = rules.flatMap(({ expr }) => namesIn(expr));
    expect(named.length).toBeGreaterThan(rules.length - 1);
    expect(named.filter((name) => !exposed.has(name))).toEqual([]);
  });

  it("in what the alerts say", async () => {
    const exposed = await exposedNames();
    const families = new Set([...exposed].flatMap((name) => [name, name.replace(/_(bucket|sum|count)$/, "")]));
    const named = rules.flatMap(({ annotations }) => Object.values(annotations).flatMap(namesIn));
    expect(named.filter((name) => !families.has(name))).toEqual([]);
  });

  it("in the dashboard", async () => {
    const exposed = await exposedNames();
    const named = queries.flatMap(([, expr]) => namesIn(expr));
    expect(named.length).toBeGreaterThan(20);
    expect(named.filter((name) => !exposed.has(name))).toEqual([]);
  });
});

describe("alerts", () => {
  it.each(rules.map((rule) => [rule.alert, rule] as const))(
    "%s says how bad it is, what it is and what to do",
    (_, rule) => {
      expect(rule.labels.severity).toMatch(/^(warning|critical)$/);
      expect(rule.annotations.summary).toMatch(/\.$|\)\.$/);
      expect(rule.annotations.description).toMatch(/\.$/);
    },
  );

  it.each(rules.map((rule) => rule.alert))("%s has a test in which it fires and one in which it does not", (alert) => {
    const cases = (parse(read("alerts_test.yaml")) as AlertTests).tests
      .flatMap((test) => test.alert_rule_test)
      .filter((test) => test.alertname === alert);
    expect(cases.some((test) => test.exp_alerts.length > 0)).toBe(true);
    expect(cases.some((test) => test.exp_alerts.length === 0)).toBe(true);
  });

  it.skipIf(!hasPromtool)("are what promtool calls correct, and do what their tests say", () => {
    for (const args of [
      ["check", "rules", "alerts.yaml"],
      ["test", "rules", "alerts_test.yaml"],
    ]) {
      const ran = spawnSync("promtool", args, { cwd: FILES, encoding: "utf8" });
      expect(`${ran.stdout}${ran.stderr}`).toContain("SUCCESS");
      expect(ran.status).toBe(0);
    }
  });
});

describe("the dashboard", () => {
  it("has panels that do not lie on one another, each with an id of its own", () => {
    expect(new Set(dashboard.panels.map((panel) => panel.id)).size).toBe(dashboard.panels.length);
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, at) => `${x + (at % w)},${y + Math.floor(at / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.x + gridPos.w))).toBeLessThanOrEqual(24);
  });

  it("shows every metric of ours", () => {
    const shown = queries.flatMap(([, expr]) => namesIn(expr)).join(" ");
    for (const series of Object.keys(metricsFor({ redis: true }).snapshot())) expect(shown).toContain(series);
  });

  it.skipIf(!hasPromtool)("asks nothing that Prometheus can not read", () => {
    const asRules = {
      groups: [
        { name: "d", rules: queries.map(([, expr], at) => ({ record: `q${at}`, expr: withoutVariables(expr) })) },
      ],
    };
    const file = join(mkdtempSync(join(tmpdir(), "dashboard-")), "queries.yaml");
    writeFileSync(file, JSON.stringify(asRules));
    const check = spawnSync("promtool", ["check", "rules", file], { encoding: "utf8" });
    expect(`${check.stdout}${check.stderr}`).toContain(`SUCCESS: ${queries.length} rules found`);
  });
});

function withoutVariables(expr: string): string {
  return expr.replaceAll("$__rate_interval", "1m").replaceAll(/\$(job|route)/g, ".*");
}
