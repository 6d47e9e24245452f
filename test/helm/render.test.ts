import { readFileSync } from "node:fs";
import { beforeAll, expect, it } from "vitest";
import { parse } from "yaml";
import {
  CHART,
  CI_VALUES,
  checkAgainstSchemas,
  describeWith,
  findSchemas,
  makeCertificate,
  objectOf,
  podSpecsOf,
  type Rendered,
  readObjects,
  renderText,
  run,
  sentinelContainer,
  validatePod,
} from "./support.ts";
import { diffLines } from "./text-diff.ts";

const describeHelm = describeWith("helm", "kubeconform");
const certificate = makeCertificate();

it("there is a set of values for every switch", () => {
  expect(CI_VALUES.size).toBeGreaterThanOrEqual(15);
});

describeHelm.each([...CI_VALUES])("the chart with ci/%s-values.yaml", (name, file) => {
  let text: string;
  let objects: readonly Rendered[];

  beforeAll(async () => {
    text = await renderText(file);
    objects = readObjects(text);
  });

  it("is what helm lint calls right", async () => {
    const { status, stdout, stderr } = await run("helm", ["lint", "--strict", CHART, "--values", file]);
    expect(status, `${stdout}${stderr}`).toBe(0);
  });

  it("renders only what the Kubernetes versions know", async () => {
    const schemas = findSchemas();
    if (schemas !== null) expect(await checkAgainstSchemas(schemas, text)).toBe("");
  });

  it("gives the gateway a configuration that it can start with", async () => {
    const pods = podSpecsOf(objects).filter((pod) => sentinelContainer(pod) !== undefined);
    const isSidecar = name === "sidecar";
    expect(pods).toHaveLength(isSidecar ? 0 : 1);
    for (const pod of pods) {
      const configMap = {
        kind: "ConfigMap",
        apiVersion: "v1",
        metadata: { name: "gateway-config" },
        data: OTHERS_CONFIG,
      };
      expect(await validatePod([...objects, configMap], pod, certificate)).toBe("");
    }
  });

  it("lets no container do what it does not need", () => {
    for (const pod of podSpecsOf(objects)) {
      expect(pod.automountServiceAccountToken).toBe(false);
      expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
      for (const container of pod.containers.filter(({ image }) => image.includes("sentinel"))) {
        expect(container.securityContext).toMatchObject(RESTRICTED);
        expect(container.volumeMounts?.some((mount) => mount.subPath !== undefined) ?? false).toBe(false);
      }
    }
  });

  it("routes nobody's request to the pod of helm test", () => {
    const testPod = objects.find(({ kind }) => kind === "Pod");
    for (const service of objects.filter(({ kind }) => kind === "Service")) {
      const matches = Object.entries(service.spec?.selector as Record<string, string>).every(
        ([label, value]) => testPod?.metadata.labels?.[label] === value,
      );
      expect(matches).toBe(false);
    }
  });

  it("is what was reviewed: helm/golden holds it, or how it differs from ci/minimal-values.yaml", async () => {
    const shown = elide(text);
    const minimal = CI_VALUES.get("minimal") as string;
    const golden = name === "minimal" ? shown : diffLines(elide(await renderText(minimal)), shown);
    await expect(golden).toMatchFileSnapshot(`golden/${name}.${name === "minimal" ? "yaml" : "diff"}`);
  });
});

const MINIMAL = CI_VALUES.get("minimal") as string;

describeHelm("what strict readers of YAML refuse", () => {
  it.each(["true", "null", "2026", "1e3"])("a release called %s, which is text all the same", async (name) => {
    for (const { metadata, spec } of readObjects(await renderText(MINIMAL, CHART, { name, namespace: "1234" }))) {
      expect([metadata.namespace, metadata.labels?.["app.kubernetes.io/instance"]]).toEqual(["1234", name]);
      const selector = JSON.stringify(spec?.selector ?? "instance");
      expect(selector.includes(`"${name}"`) || !selector.includes('instance":')).toBe(true);
    }
  });

  it("a label or annotation that is given twice: what is said of one object counts", async () => {
    const given = {
      ...(parse(readFileSync(MINIMAL, "utf8")) as object),
      commonLabels: { release: "common", "app.kubernetes.io/version": "common" },
      podLabels: { release: "pods" },
      podAnnotations: { "kubectl.kubernetes.io/default-container": "mine" },
      serviceMonitor: { enabled: true, labels: { release: "prometheus" } },
    };
    const objects = readObjects(await renderText(given));
    const { template } = objectOf(objects, "Deployment").spec ?? {};
    expect(objectOf(objects, "ServiceMonitor").metadata.labels?.release).toBe("prometheus");
    expect(objectOf(objects, "ConfigMap").metadata.labels).toMatchObject({
      release: "common",
      "app.kubernetes.io/version": "common",
    });
    expect(template?.metadata?.labels?.release).toBe("pods");
    expect(template?.metadata?.annotations?.["kubectl.kubernetes.io/default-container"]).toBe("mine");
  });
});

const RESTRICTED = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  capabilities: { drop: ["ALL"] },
  seccompProfile: { type: "RuntimeDefault" },
};

/** What ci/existing-config-map-values.yaml leaves to somebody else. */
const OTHERS_CONFIG = {
  "sentinel.yaml": `
admin: { listen: "0.0.0.0:9090" }
keys: { source: { type: file, path: ../keyring/keys.yaml } }
upstreams: [{ name: orders, targets: ["http://orders:3000"] }]
routes: [{ name: orders, upstream: orders }]
`,
};

/** Files that are rendered as they are have tests of their own. */
function elide(text: string): string {
  return text
    .replace(/^( *sentinel\.json: \|)\n(?: {4}.*\n)+/m, "$1\n    (files/dashboard.json)\n")
    .replace(/^( +- \|)\n +\/\/ Run by `helm test`(?:.|\n)*?\n( +env:)/m, "$1\n          (files/test-answers.js)\n$2");
}
