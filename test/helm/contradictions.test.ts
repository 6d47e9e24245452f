import { expect, it } from "vitest";
import { describeWith, objectOf, podSpecsOf, render } from "./support.ts";

type Values = Readonly<Record<string, unknown>>;

const CONFIG = {
  upstreams: [{ name: "orders", targets: ["http://orders:3000"] }],
  routes: [{ name: "orders", permissions: "orders.*.use", upstream: "orders" }],
};
const GOOD: Values = { keyring: { existingSecret: "keyring" }, config: CONFIG };

/** Values beside GOOD's, and what is said of them. */
const CONTRADICTIONS: readonly (readonly [name: string, values: Values, said: string])[] = [
  [
    "a configuration twice",
    { existingConfigMap: "mine" },
    "`config` and `existingConfigMap` are both given: keep one.",
  ],
  ["no configuration", { config: {} }, "There is no configuration"],
  ["no keys", { keyring: { existingSecret: "" } }, "Nothing says where keys come from"],
  [
    "a keyring file without a place",
    { keyring: { existingSecret: "" }, config: { ...CONFIG, keys: { source: { type: "file" } } } },
    "`config.keys.source` is a keyring file: give `keyring.existingSecret`, or its `path`",
  ],
  [
    "a keyring and another source",
    { config: { ...CONFIG, keys: { source: { type: "http", url: "https://keys.internal" } } } },
    "but `config.keys.source.type` is http",
  ],
  [
    "a keyring at two places",
    { config: { ...CONFIG, keys: { source: { type: "file", path: "/other.yaml" } } } },
    "both name the keyring",
  ],
  [
    "Redis nowhere",
    { keyring: { existingSecret: "" }, config: { ...CONFIG, keys: { source: { type: "redis" } } } },
    "`config.keys.source` is redis: say where it is",
  ],
  [
    "Redis at two places",
    { redis: { existingSecret: "redis" }, config: { ...CONFIG, redis: { url: "redis://redis" } } },
    "both say where Redis is",
  ],
  [
    "two certificates",
    { tls: { existingSecret: "cert" }, config: { ...CONFIG, tls: { cert: { file: "a" }, key: { file: "b" } } } },
    "both name a certificate",
  ],
  [
    "clients that can not connect",
    { config: { ...CONFIG, listen: "127.0.0.1:8080" } },
    "`config.listen` is 127.0.0.1:8080, which nothing outside the container can reach",
  ],
  [
    "probes that can not connect",
    { config: { ...CONFIG, admin: { listen: "unix:/run/sentinel.sock" } } },
    "`config.admin.listen` is unix:/run/sentinel.sock, which nothing outside",
  ],
  ["another port", { config: { ...CONFIG, listen: "0.0.0.0:80" } }, "but `containerPorts.http` is 8080"],
  ["one port for two", { containerPorts: { http: 9090 } }, "clients and operators need a port each"],
  [
    "less time than the drain takes",
    { terminationGracePeriodSeconds: 29 },
    "`terminationGracePeriodSeconds` is 29, but drain.delay and drain.timeout take 25 s: give at least 30",
  ],
  [
    "a drain that can not be seen",
    { config: { ...CONFIG, drain: { timeout: "$" + "{DRAIN:-10s}" } } },
    "give `terminationGracePeriodSeconds`",
  ],
  [
    "figures counted twice",
    { serviceMonitor: { enabled: true }, podMonitor: { enabled: true } },
    "everything would be counted twice",
  ],
  [
    "a Service to scrape that is not there",
    { serviceMonitor: { enabled: true }, adminService: { enabled: false } },
    "use `podMonitor`",
  ],
  [
    "a scrape longer than its interval",
    { podMonitor: { enabled: true, interval: "5s" } },
    "`podMonitor.scrapeTimeout` is longer than its `interval`",
  ],
  [
    "an alert that is not",
    { prometheusRule: { disabled: ["SentinelAsleep"] } },
    "names SentinelAsleep, but there is no",
  ],
  [
    "more pods at least than at most",
    { autoscaling: { enabled: true, minReplicas: 5, maxReplicas: 3 } },
    "`autoscaling.minReplicas` is 5 and `maxReplicas` 3.",
  ],
  [
    "a share of nothing",
    { autoscaling: { enabled: true }, resources: { requests: { cpu: null } } },
    "give `resources.requests.cpu`",
  ],
  [
    "nothing to scale by",
    { autoscaling: { enabled: true, targetCPUUtilizationPercentage: 0 } },
    "without anything to go by",
  ],
  ["both kinds of budget", { podDisruptionBudget: { minAvailable: 1, maxUnavailable: 1 } }, "keep one"],
  [
    "a budget that holds every node",
    { podDisruptionBudget: { minAvailable: 2 } },
    "`podDisruptionBudget.minAvailable` is 2 of at least 2 pods: no node could ever be drained.",
  ],
  ["a budget of all", { podDisruptionBudget: { minAvailable: "100%" } }, "no node could ever be drained"],
  ["a budget of none", { podDisruptionBudget: { maxUnavailable: 0 } }, "no node could ever be drained"],
  ["an Ingress for no host", { ingress: { enabled: true } }, "`ingress` is enabled without `ingress.hosts`."],
  ["an HTTPRoute without a Gateway", { httpRoute: { enabled: true } }, "no Gateway would take it up"],
  ["a node's port on no node", { service: { nodePort: 30_080 } }, "`service.type` is ClusterIP"],
  ["a policy for no balancer", { service: { externalTrafficPolicy: "Local" } }, "`service.type` is ClusterIP"],
  [
    "ranges for no balancer",
    { service: { loadBalancerSourceRanges: ["10.0.0.0/8"], type: "NodePort" } },
    "`service.type` is NodePort",
  ],
  [
    "a sidecar with what pods need",
    { mode: "sidecar", ingress: { enabled: true, hosts: [{ host: "a" }] } },
    "`ingress` is enabled, but `mode` is sidecar",
  ],
  [
    "labels of everything that Services select by",
    { commonLabels: { "app.kubernetes.io/name": "edge" } },
    "`commonLabels` names app.kubernetes.io/name, by which the Service finds the pods: leave it out, or give `nameOverride`.",
  ],
  [
    "labels of pods that Services select by",
    { podLabels: { "app.kubernetes.io/instance": "edge" } },
    "`podLabels` names app.kubernetes.io/instance, by which the Service finds the pods: leave it out.",
  ],
  ["a sidecar beside nothing", { mode: "sidecar" }, "no upstream is on 127.0.0.1"],
];

const MISSPELT: readonly (readonly [name: string, values: Values, said: string])[] = [
  ["a value", { replicas: 3 }, "additional properties 'replicas' not allowed"],
  ["a value of a part", { ingress: { enable: true } }, "additional properties 'enable' not allowed"],
  ["a member of the configuration", { config: { ...CONFIG, listn: "0.0.0.0:1" } }, "'listn' not allowed"],
  [
    "a member of a route",
    { config: { ...CONFIG, routes: [{ ...CONFIG.routes[0], path: "/a" }] } },
    "'path' not allowed",
  ],
  ["a value of the wrong type", { replicaCount: "two" }, "at '/replicaCount': got string, want integer"],
  ["a duration", { config: { ...CONFIG, drain: { delay: "5 s" } } }, "at '/config/drain/delay'"],
  ["a port that needs privileges", { containerPorts: { http: 80 } }, "at '/containerPorts/http': minimum"],
];

describeWith("helm")("the chart refuses", () => {
  it.each(CONTRADICTIONS)("%s, in a sentence", async (_, values, said) => {
    await expect(render({ ...GOOD, ...values })).rejects.toThrow(said);
  });

  it.each(MISSPELT)("what does not fit the schema: %s", async (_, values, said) => {
    await expect(render({ ...GOOD, ...values })).rejects.toThrow(said);
  });

  it("everything that is wrong at once", async () => {
    const values = { ...GOOD, ingress: { enabled: true }, httpRoute: { enabled: true } };
    await expect(render(values)).rejects.toThrow(/`ingress` is enabled[^\n]*\n`httpRoute` is enabled/);
  });
});

describeWith("helm")("the chart accepts", () => {
  it.each([
    ["an address of both families", { config: { ...CONFIG, listen: "[::]:8080" } }],
    ["an address from the environment", { config: { ...CONFIG, listen: "$" + "{LISTEN:-0.0.0.0:8080}" } }],
    ["what Helm gives a subchart", { global: { anything: true } }],
    ["what a parent chart's condition names", { enabled: true }],
    ["no probe", { startupProbe: null, livenessProbe: null, readinessProbe: null }],
    ["no security context", { podSecurityContext: null, securityContext: null }],
    [
      "no labels and annotations",
      { commonLabels: null, commonAnnotations: null, podLabels: null, podAnnotations: null },
    ],
    ["a budget in per cent", { podDisruptionBudget: { minAvailable: "50%" } }],
    ["exactly the time that the drain takes and 5 s", { terminationGracePeriodSeconds: 30 }],
  ])("%s", async (_, values) => {
    expect(await render({ ...GOOD, ...values })).not.toEqual([]);
  });

  it("Recreate, without the default's rolling update, which Kubernetes would refuse beside it", async () => {
    const deployment = objectOf(await render({ ...GOOD, strategy: { type: "Recreate" } }), "Deployment");
    expect(deployment.spec).toMatchObject({ strategy: { type: "Recreate" } });
    expect(JSON.stringify(deployment.spec)).not.toContain("rollingUpdate");
  });

  it.each([
    ["5s", "20s", 35],
    ["0s", "0s", 10],
    ["1500ms", "5m", 312],
    ["1m", "1h", 3670],
  ])("a drain of %s and %s: the pod gets %d s to end", async (delay, timeout, seconds) => {
    const [pod] = podSpecsOf(await render({ ...GOOD, config: { ...CONFIG, drain: { delay, timeout } } }));
    expect(pod?.terminationGracePeriodSeconds).toBe(seconds);
  });

  it("large numbers as numbers", async () => {
    const limits = { maxConnections: 123_456_789 };
    const text = objectOf(await render({ ...GOOD, config: { ...CONFIG, limits } }), "ConfigMap").data?.[
      "sentinel.yaml"
    ];
    expect(text).toMatch(/maxConnections: (123456789|1\.23456789e\+08)\n/);
  });
});
