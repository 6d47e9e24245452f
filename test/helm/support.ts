import { execFile, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { describe } from "vitest";
import { parseAllDocuments } from "yaml";
import { keyringKey } from "../support/keyring.ts";

export const CHART = resolve("helm/sentinel");

/** How to get what is missing; the versions are those of the facts that the golden renders were made with. */
const INSTALL = {
  helm: "go install helm.sh/helm/v4/cmd/helm@v4.3.1",
  kubeconform: "go install github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0",
  kustomize: "go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.1",
} as const;

/** `describe` where all the programs are installed, else its skipping twin and a line that says how to get them. */
export function describeWith(...programs: readonly (keyof typeof INSTALL)[]): typeof describe | typeof describe.skip {
  const missing = programs.filter((program) => spawnSync(program, ["--help"]).error !== undefined);
  for (const program of missing) {
    const advice = `${program} is not installed: ${INSTALL[program]}`;
    if (process.env.CI === "true") throw new Error(advice);
    console.warn(`${advice}. The tests that need it are skipped`);
  }
  return missing.length === 0 ? describe : describe.skip;
}

/** Where the schemas are, made if need be; null where neither they nor Go are here, and this is not CI. */
export function findSchemas(): string | null {
  const made = spawnSync(process.execPath, ["helm/schemas.mjs"], { encoding: "utf8" });
  if (made.status === 0) return made.stdout.trim();
  if (process.env.CI === "true") throw new Error(made.stderr);
  console.warn("no Go here to fetch Kubernetes' schemas with: nothing is checked against them");
  return null;
}

interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export function run(program: string, args: readonly string[], input?: string): Promise<Ran> {
  return new Promise((done, failed) => {
    const child = execFile(program, args, { maxBuffer: 64 * 1024 ** 2 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : error.code;
      if (typeof status === "number") done({ status, stdout, stderr });
      else failed(error);
    });
    child.stdin?.end(input ?? "");
  });
}

/** A Kubernetes object as it was rendered. */
export interface Rendered {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Record<string, string>;
    readonly annotations?: Record<string, string>;
  };
  readonly data?: Record<string, string>;
  readonly spec?: Spec;
}

/** The parts of specifications that tests read; which of them are there depends on the kind. */
interface Spec extends Partial<PodSpec> {
  readonly template?: { readonly metadata?: Rendered["metadata"]; readonly spec: PodSpec };
  readonly selector?: unknown;
}

/** Renders the chart with values given as a file's name or as a mapping. Rejects with what Helm said. */
export async function renderText(
  values: string | Readonly<Record<string, unknown>>,
  chart = CHART,
  { name, namespace } = { name: "demo", namespace: "gateways" },
): Promise<string> {
  const isFile = typeof values === "string";
  const args = ["template", name, chart, "--namespace", namespace, "--values", isFile ? values : "-"];
  const { status, stdout, stderr } = await run("helm", args, isFile ? "" : JSON.stringify(values));
  if (status !== 0) throw new Error(stderr);
  return stdout;
}

export async function render(
  values: string | Readonly<Record<string, unknown>>,
  chart = CHART,
): Promise<readonly Rendered[]> {
  return readObjects(await renderText(values, chart));
}

export function readObjects(text: string): readonly Rendered[] {
  return [...parseAllDocuments(text, { schema: "yaml-1.1" })]
    .map((document) => {
      if (document.errors.length > 0) throw document.errors[0];
      return document.toJS() as Rendered | null;
    })
    .filter((object) => object !== null);
}

/** The one object of a kind, and of a name where there are several. */
export function objectOf(objects: readonly Rendered[], kind: string, name?: string): Rendered {
  const found = objects.filter(
    (object) => object.kind === kind && (name === undefined || object.metadata.name === name),
  );
  const [only] = found;
  if (only === undefined || found.length > 1) throw new Error(`${found.length} objects are a ${kind} ${name ?? ""}`);
  return only;
}

/** Every pod that the objects would lead to: of workloads, and pods of their own. */
export function podSpecsOf(objects: readonly Rendered[]): readonly PodSpec[] {
  return objects.flatMap((object) => {
    if (object.kind === "Pod") return [object.spec as PodSpec];
    return object.spec?.template === undefined ? [] : [object.spec.template.spec];
  });
}

interface EnvVar {
  readonly name: string;
  readonly value?: string;
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly args?: readonly string[];
  readonly env?: readonly EnvVar[];
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string; readonly subPath?: string }[];
  readonly [member: string]: unknown;
}

export interface PodSpec {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly volumes?: readonly {
    readonly name: string;
    readonly configMap?: { readonly name: string };
    readonly secret?: { readonly secretName: string; readonly items?: readonly { key: string; path: string }[] };
  }[];
  readonly [member: string]: unknown;
}

/** Sentinel's own container in a pod, wherever it stands. */
export function sentinelContainer(pod: PodSpec): Container | undefined {
  return [...(pod.initContainers ?? []), ...pod.containers].find(({ args = [] }) => args[0] === "start");
}

/** A keyring, URLs and certificates: what the Secrets that examples name would hold, by key. */
const SECRET_DATA: Readonly<Record<string, string>> = {
  "keys.yaml": JSON.stringify({ keys: [keyringKey("key_ci", "unkey_3ZPnKbQmWvRtYhJsDfGxCa")] }),
  keyring: JSON.stringify({ keys: [] }),
  url: "redis://:secret@redis:6379/0",
  password: "secret",
  token: "secret",
};

export interface PodFolder {
  /** A path in the container as it is below the folder. */
  path(inContainer: string): string;
  remove(): void;
}

/**
 * Lays out what the kubelet would mount into Sentinel's container, below a folder of its own. ConfigMaps are taken from
 * the render; Secrets hold samples, and `secrets` besides.
 */
export function mountPod(
  objects: readonly Rendered[],
  pod: PodSpec,
  secrets: Readonly<Record<string, string>> = {},
): PodFolder {
  const folder = mkdtempSync(join(tmpdir(), "sentinel-pod-"));
  const path = (inContainer: string) => join(folder, inContainer);
  const samples = { ...SECRET_DATA, ...secrets };
  for (const { name, mountPath } of sentinelContainer(pod)?.volumeMounts ?? []) {
    const volume = pod.volumes?.find((candidate) => candidate.name === name);
    if (volume === undefined) throw new Error(`the volume ${name} is mounted and not there`);
    const files: Record<string, string> = {};
    const map = objects.find(({ kind, metadata }) => kind === "ConfigMap" && metadata.name === volume.configMap?.name);
    Object.assign(files, map?.data);
    for (const item of volume.secret?.items ?? []) files[item.path] = samples[item.key] ?? missingSample(item.key);
    if (volume.secret !== undefined && volume.secret.items === undefined) Object.assign(files, samples);
    writeVolume(path(mountPath), files);
  }
  return { path, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/**
 * Writes a volume as the kubelet does: the files in a folder of their own, a link `..data` to it, and each name a link
 * through that. Written again, the link is swapped in one step.
 */
export function writeVolume(folder: string, files: Readonly<Record<string, string>>): void {
  mkdirSync(folder, { recursive: true });
  const contents = mkdtempSync(join(folder, "..2026_"));
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(contents, name), text);
    if (!existsSync(join(folder, name))) symlinkSync(join("..data", name), join(folder, name));
  }
  symlinkSync(basename(contents), join(folder, "..data_tmp"));
  renameSync(join(folder, "..data_tmp"), join(folder, "..data"));
}

function missingSample(key: string): never {
  throw new Error(`no sample of what a Secret holds as ${key}`);
}

/** What `sentinel validate` says of the configuration that a pod would run with; "" when it is valid. */
export async function validatePod(
  objects: readonly Rendered[],
  pod: PodSpec,
  secrets?: Readonly<Record<string, string>>,
): Promise<string> {
  const mounted = mountPod(objects, pod, secrets);
  try {
    const container = sentinelContainer(pod);
    const env = (container?.env ?? []).map(({ name, value }) => `${name}=${value ?? "secret"}`);
    const config = mounted.path(container?.args?.[2] ?? "");
    const program = [process.execPath, resolve("dist/sentinel.js"), "validate", "-c", config];
    const { status, stdout, stderr } = await run("env", [...env, ...program]);
    return status === 0 ? "" : `${stdout}${stderr}`;
  } finally {
    mounted.remove();
  }
}

/** A certificate for a day and its key, as a Secret of type kubernetes.io/tls holds them. */
export function makeCertificate(): Record<string, string> {
  const folder = mkdtempSync(join(tmpdir(), "sentinel-cert-"));
  try {
    const [cert, key] = [join(folder, "tls.crt"), join(folder, "tls.key")];
    const args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    const subject = ["-subj", "/CN=api.example.com", "-days", "1"];
    const made = spawnSync("openssl", [...args, "-keyout", key, "-out", cert, ...subject], { encoding: "utf8" });
    if (made.status !== 0) throw new Error(made.stderr);
    return { "tls.crt": readFileSync(cert, "utf8"), "tls.key": readFileSync(key, "utf8") };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What kubeconform says against every version's schemas; "" when all is well. */
export async function checkAgainstSchemas(schemas: string, text: string): Promise<string> {
  const versions = readdirSync(schemas).filter((name) => name !== "custom");
  const said = await Promise.all(
    versions.map(async (version) => {
      const locations = [version, "custom"].flatMap((part) => [
        "-schema-location",
        join(schemas, part, "{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"),
      ]);
      const { status, stdout, stderr } = await run("kubeconform", ["-strict", ...locations, "-"], text);
      return status === 0 ? "" : `Kubernetes ${version}:\n${stdout}${stderr}`;
    }),
  );
  return said.join("");
}

/** Every `ci/NAME-values.yaml`, by name. */
export const CI_VALUES: ReadonlyMap<string, string> = new Map(
  readdirSync(join(CHART, "ci")).map((file) => [file.replace(/-values\.yaml$/, ""), join(CHART, "ci", file)]),
);
