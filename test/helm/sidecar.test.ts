import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadConfig } from "../../src/config/load.ts";
import {
  checkAgainstSchemas,
  describeWith,
  findSchemas,
  mountPod,
  objectOf,
  type PodSpec,
  podSpecsOf,
  type Rendered,
  readObjects,
  renderText,
  run,
  sentinelContainer,
  validatePod,
} from "./support.ts";

const EXAMPLES = resolve("helm/examples");

/** What a sidecar has to be, however its pod came about. */
function owesASidecar(make: () => Promise<string>): void {
  let text: string;
  let objects: readonly Rendered[];
  let pod: PodSpec;

  beforeAll(async () => {
    text = await make();
    objects = readObjects(text);
    [pod] = podSpecsOf(objects) as [PodSpec];
  });

  it("holds only what the Kubernetes versions know", async () => {
    const schemas = findSchemas();
    if (schemas !== null) expect(await checkAgainstSchemas(schemas, text)).toBe("");
  });

  it("starts before the service, ends after it, and holds it back until it turns", () => {
    const sidecar = pod.initContainers?.find(({ name }) => name === "sentinel");
    expect(sidecar).toMatchObject({
      restartPolicy: "Always",
      startupProbe: { httpGet: { path: "/livez", port: "sentinel-admin" } },
      readinessProbe: { httpGet: { path: "/readyz", port: "sentinel-admin" } },
      livenessProbe: { httpGet: { path: "/livez", port: "sentinel-admin" } },
    });
    expect(pod.containers.some(({ name }) => name === "sentinel")).toBe(false);
  });

  it("is small and may nothing", () => {
    expect(sentinelContainer(pod)).toMatchObject({
      resources: { requests: { cpu: "50m", memory: "64Mi" }, limits: { memory: "256Mi" } },
      securityContext: {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        runAsNonRoot: true,
        runAsUser: 65532,
        capabilities: { drop: ["ALL"] },
        seccompProfile: { type: "RuntimeDefault" },
      },
    });
  });

  it("can start with its configuration, and sends on to 127.0.0.1 alone", async () => {
    expect(await validatePod(objects, pod)).toBe("");
    const mounted = mountPod(objects, pod);
    const loaded = await loadConfig(mounted.path("/etc/sentinel/config/sentinel.yaml"), {});
    mounted.remove();
    const targets = loaded.ok ? loaded.config.upstreams.flatMap((upstream) => upstream.targets) : [];
    expect(targets).toEqual(["http://127.0.0.1:3000"]);
    expect(loaded).toMatchObject({ config: { drain: { delay: 0, timeout: 5000 } } });
  });

  it("is what the Service points at; the service itself is on 127.0.0.1", () => {
    expect(objectOf(objects, "Service").spec).toMatchObject({ ports: [{ targetPort: "sentinel" }] });
    expect(sentinelContainer(pod)?.ports).toContainEqual(
      expect.objectContaining({ name: "sentinel", containerPort: 8080 }),
    );
    expect(pod.containers[0]?.env).toContainEqual({ name: "HOST", value: "127.0.0.1" });
  });

  it("leaves the service time to be forgotten by load balancers", () => {
    expect(pod.containers[0]).toMatchObject({ lifecycle: { preStop: { sleep: { seconds: 5 } } } });
  });
}

describeWith("kubeconform")("the sidecar in plain YAML", () => {
  owesASidecar(async () => readFileSync(join(EXAMPLES, "sidecar/orders.yaml"), "utf8"));
});

describeWith("kubeconform", "kustomize")("the sidecar as a kustomize patch", () => {
  owesASidecar(async () => {
    const { status, stdout, stderr } = await run("kustomize", ["build", join(EXAMPLES, "kustomize")]);
    if (status !== 0) throw new Error(stderr);
    return stdout;
  });
});

describeWith("kubeconform", "helm")("the sidecar by the chart's templates", () => {
  // The same distance apart as in the project, so that the parent finds its dependency.
  const folder = mkdtempSync(join(tmpdir(), "parent-chart-"));
  const parent = join(folder, "examples/parent-chart");
  afterAll(() => rmSync(folder, { recursive: true }));

  beforeAll(async () => {
    cpSync("helm/sentinel", join(folder, "sentinel"), { recursive: true });
    cpSync(join(EXAMPLES, "parent-chart"), parent, { recursive: true });
    const { status, stderr } = await run("helm", ["dependency", "update", "--skip-refresh", parent]);
    if (status !== 0) throw new Error(stderr);
  });

  describe("in a parent chart", () => {
    owesASidecar(() => renderText({}, parent));
  });

  it("is what was reviewed", async () => {
    await expect(await renderText({}, parent)).toMatchFileSnapshot("golden/parent-chart.yaml");
  });

  it("passes helm lint", async () => {
    const { status, stdout, stderr } = await run("helm", ["lint", "--strict", parent]);
    expect(status, `${stdout}${stderr}`).toBe(0);
  });

  it("is found by its PodMonitor", async () => {
    const objects = readObjects(await renderText({}, parent));
    const label = objectOf(objects, "Deployment").spec?.template?.metadata?.labels?.["sentinel-sidecar"];
    expect(label).toBe("demo-sentinel");
    const selector = { matchLabels: { "sentinel-sidecar": label } };
    expect(objectOf(objects, "PodMonitor").spec).toMatchObject({ selector });
  });

  it("refuses to be used in the other mode", async () => {
    await expect(renderText({ sentinel: { mode: "gateway" } }, parent)).rejects.toThrow("Set `mode: sidecar`");
  });

  it("can be configured by the parent's values alone, which are checked too", async () => {
    await expect(renderText({ sentinel: { config: { listn: "x" } } }, parent)).rejects.toThrow("'listn' not allowed");
  });
});
