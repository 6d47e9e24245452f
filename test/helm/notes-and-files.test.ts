import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { parse } from "yaml";
import { CHART, CI_VALUES, describeWith, objectOf, render, run } from "./support.ts";

const GOOD = {
  keyring: { existingSecret: "keyring" },
  config: {
    upstreams: [{ name: "orders", targets: ["http://orders:3000"] }],
    routes: [{ name: "orders", permissions: "orders.*.use", upstream: "orders" }],
  },
};

/** What Helm prints after an install. */
async function notesOf(values: Readonly<Record<string, unknown>>): Promise<string> {
  const args = ["install", "demo", CHART, "--dry-run=client", "--namespace", "gateways", "--values", "-"];
  const { status, stdout, stderr } = await run("helm", args, JSON.stringify({ ...GOOD, ...values }));
  if (status !== 0) throw new Error(stderr);
  return stdout.slice(stdout.indexOf("NOTES:"));
}

describeWith("helm")("the notes after an install", () => {
  it("say what to do next, with the names that were installed", async () => {
    const notes = await notesOf({});
    expect(notes).toContain("helm test demo -n gateways");
    expect(notes).toContain("port-forward service/demo-sentinel 8080:80");
    expect(notes).toContain("create secret generic keyring --from-file=keys.yaml=keys.yaml");
  });

  it("say nothing of what is well", async () => {
    const notes = await notesOf({ networkPolicy: { enabled: true } });
    expect(notes).not.toContain("Worth a look");
  });

  it.each([
    [
      "routes that are open",
      { config: { ...GOOD.config, routes: [{ name: "health", auth: "none", upstream: "orders" }] } },
      "Open to anyone, without a key: health.",
    ],
    [
      "a proxy that is not trusted",
      { ingress: { enabled: true, hosts: [{ host: "a.example" }] } },
      "config.trustedProxies is empty",
    ],
    ["a single pod", { replicaCount: 1 }, "There is one pod"],
    ["an admin port that every pod can read", {}, "networkPolicy.enabled closes it"],
    [
      "a drain that load balancers do not notice",
      { config: { ...GOOD.config, drain: { delay: "1s" } } },
      "drain.delay is 1 s",
    ],
    [
      "a configuration that can not be seen",
      { config: {}, existingConfigMap: "mine", terminationGracePeriodSeconds: 60 },
      "drain.delay and drain.timeout together at most 50 s",
    ],
  ])("warn of %s", async (_, values, warning) => {
    expect(await notesOf(values)).toContain(warning);
  });
});

describeWith("helm")("files that the chart installs as they are", () => {
  it("the alerts, but for those that are disabled, with the labels asked for", async () => {
    const rule = objectOf(await render(CI_VALUES.get("service-monitor") ?? ""), "PrometheusRule");
    const { groups } = parse(readFileSync(join(CHART, "files/alerts.yaml"), "utf8")) as {
      groups: { name: string; rules: { alert: string; labels: Record<string, string> }[] }[];
    };
    const expected = groups.map((group) => ({
      ...group,
      rules: group.rules
        .filter(({ alert }) => alert !== "SentinelDenialSpike")
        .map((alert) => ({ ...alert, labels: { ...alert.labels, team: "platform" } })),
    }));
    expect(rule.spec).toEqual({ groups: expected });
  });

  it("the dashboard", async () => {
    const map = objectOf(await render(CI_VALUES.get("service-monitor") ?? ""), "ConfigMap", "demo-sentinel-dashboard");
    const file = readFileSync(join(CHART, "files/dashboard.json"), "utf8");
    expect(JSON.parse(map.data?.["sentinel.json"] ?? "")).toEqual(JSON.parse(file));
  });
});
