import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { restartMembers } from "../../src/assembly/running-config.ts";
import { loadConfig } from "../../src/config/load.ts";
import { type Config, configSchema } from "../../src/config/schema.ts";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { keyringKey } from "../support/keyring.ts";
import { RecordingUpstream } from "../support/recording-upstream.ts";
import {
  describeWith,
  mountPod,
  objectOf,
  type PodFolder,
  type PodSpec,
  podSpecsOf,
  type Rendered,
  render,
  sentinelContainer,
  writeVolume,
} from "./support.ts";

type Values = Readonly<Record<string, unknown>>;

const CONFIG_FILE = "/etc/sentinel/config/sentinel.yaml";
const upstreams = [{ name: "orders", targets: ["http://orders:3000"] }];
const routes = [{ name: "orders", permissions: "orders.*.use", upstream: "orders" }];
const BASE = { keyring: { existingSecret: "keyring" }, config: { upstreams, routes } };
const REDIS = { keyring: { existingSecret: "" }, redis: { existingSecret: "redis" } };
const redisConfig = (members: Values) => ({ upstreams, routes, keys: { source: { type: "redis" } }, ...members });

/** Two sets of values, by what changes between them. Every member of the configuration is among them. */
const CHANGES: readonly (readonly [member: string, values: Values])[] = [
  [
    "routes",
    {
      config: {
        upstreams,
        routes: [...routes, { name: "open", match: { path: "/open" }, auth: "none", upstream: "orders" }],
      },
    },
  ],
  ["upstreams", { config: { routes, upstreams: [{ name: "orders", targets: ["http://orders:4000"] }] } }],
  ["trustedProxies", { config: { upstreams, routes, trustedProxies: ["10.0.0.0/8"] } }],
  ["errors", { config: { upstreams, routes, errors: { typeBase: "https://example.com/errors" } } }],
  ["drain", { config: { upstreams, routes, drain: { delay: "6s", timeout: "19s" } } }],
  ["log.level", { config: { upstreams, routes, log: { level: "debug" } } }],
  ["log.sampleSuccess", { config: { upstreams, routes, log: { sampleSuccess: 0.5 } } }],
  ["log.format", { config: { upstreams, routes, log: { format: "pretty" } } }],
  ["limits.headerLines", { config: { upstreams, routes, limits: { headerLines: 50 } } }],
  ["limits.maxConnections", { config: { upstreams, routes, limits: { maxConnections: 50 } } }],
  ["limits.headerTimeout", { config: { upstreams, routes, limits: { headerTimeout: "5s" } } }],
  ["serverTiming", { config: { upstreams, routes, serverTiming: true } }],
  ["workers", { config: { upstreams, routes, workers: 2 } }],
  ["listen", { containerPorts: { http: 8081 } }],
  ["admin.listen", { containerPorts: { admin: 9091 } }],
  ["tls", { config: { upstreams, routes, tls: { cert: "a", key: "b" } } }],
  ["keys.prefix", { config: { upstreams, routes, keys: { prefix: "sk_" } } }],
  ["keys.source", { ...REDIS, config: redisConfig({}) }],
  ["keys.cache", { config: { upstreams, routes, keys: { cache: { fresh: "1s" } } } }],
  ["redis", { config: { upstreams, routes, redis: { url: "redis://redis" } } }],
];

const describeHelm = describeWith("helm");

describeHelm("pods are replaced for what a running gateway can not take up, and only for that", () => {
  let before: { checksum: string; config: Config };

  beforeAll(async () => {
    before = await renderConfig(BASE);
  });

  it.each(CHANGES)("%s", async (_, values) => {
    const after = await renderConfig({ ...BASE, ...values });
    const needsRestart = restartMembers(before.config, after.config);
    expect({ replaced: after.checksum !== before.checksum }).toEqual({ replaced: needsRestart.length > 0 });
  });

  it("is shown for every member of the configuration", () => {
    const shown = new Set(CHANGES.map(([member]) => member.split(".")[0]));
    expect(Object.keys(configSchema.shape).filter((member) => !shown.has(member))).toEqual([]);
  });

  it("a new version of the chart alone replaces none", async () => {
    const labels = objectOf(await render(BASE), "Deployment").spec?.template?.metadata?.labels ?? {};
    expect(Object.keys(labels)).toEqual(["app.kubernetes.io/instance", "app.kubernetes.io/name"]);
  });
});

async function renderConfig(values: Values): Promise<{ checksum: string; config: Config }> {
  const objects = await render(values);
  const annotations = objectOf(objects, "Deployment").spec?.template?.metadata?.annotations ?? {};
  const mounted = mountPod(objects, gatewayPod(objects));
  try {
    const loaded = await loadConfig(mounted.path(CONFIG_FILE), {});
    if (!loaded.ok) throw new Error(loaded.problems.map(({ message }) => message).join("\n"));
    // Each render lies in a folder of its own, which is part of the keyring's absolute name.
    const { keys } = loaded.config;
    const source = keys.source.type === "file" ? { ...keys.source, path: "keys.yaml" } : keys.source;
    return { checksum: annotations["checksum/restart"] ?? "", config: { ...loaded.config, keys: { ...keys, source } } };
  } finally {
    mounted.remove();
  }
}

function gatewayPod(objects: readonly Rendered[]): PodSpec {
  const pod = podSpecsOf(objects).find((candidate) => sentinelContainer(candidate) !== undefined);
  if (pod === undefined) throw new Error("no pod runs the gateway");
  return pod;
}

describeHelm("a gateway that runs as the chart says", () => {
  const KEY = "unkey_3ZPnKbQmWvRtYhJsDfGxCa";
  const headers = { authorization: `Bearer ${KEY}` };
  let upstream: RecordingUpstream;
  let gateway: RunningGateway;
  let mounted: PodFolder;
  let objects: readonly Rendered[];

  const values = (paths: readonly string[]): Values => ({
    keyring: { existingSecret: "keyring" },
    config: {
      drain: { delay: "0s", timeout: "1s" },
      upstreams: [{ name: "app", targets: [upstream.origin] }],
      routes: paths.map((path) => ({ name: path.slice(1), match: { path }, upstream: "app" })),
    },
  });
  /** The rendered configuration, on ports that are free here. */
  const configOf = (rendered: readonly Rendered[]) =>
    Object.fromEntries(
      Object.entries(objectOf(rendered, "ConfigMap").data ?? {}).map(([name, text]) => [
        name,
        text.replaceAll(/0\.0\.0\.0:\d+/g, "127.0.0.1:0"),
      ]),
    );
  const statusOf = async (path: string, fields: Record<string, string> = headers) => {
    const reply = await fetch(gateway.origin + path, { headers: fields });
    await reply.text();
    return reply.status;
  };

  beforeAll(async () => {
    upstream = await RecordingUpstream.start();
    objects = await render(values(["/first"]));
    const pod = gatewayPod(objects);
    mounted = mountPod(objects, pod, { "keys.yaml": keyring(KEY) });
    writeVolume(mounted.path("/etc/sentinel/config"), configOf(objects));
    const args = (sentinelContainer(pod)?.args ?? []).map((arg) => (arg.startsWith("/") ? mounted.path(arg) : arg));
    gateway = await startGateway({ config: "", program: () => [resolve("dist/sentinel.js"), ...args] });
  });

  afterAll(async () => {
    await gateway?.stop();
    await upstream?.stop();
    mounted?.remove();
  });

  it("takes up a changed ConfigMap without a restart", async () => {
    expect([await statusOf("/first"), await statusOf("/second")]).toEqual([200, 404]);
    const next = await render(values(["/first", "/second"]));
    expect(objectOf(next, "Deployment")).toEqual(objectOf(objects, "Deployment"));
    writeVolume(mounted.path("/etc/sentinel/config"), configOf(next));
    await gateway.waitForRecord((record) => record.event === "config_reloaded" && record.generation === 2);
    expect([await statusOf("/first"), await statusOf("/second")]).toEqual([200, 200]);
  });

  it("takes up a changed keyring without a restart", async () => {
    const other = "unkey_9XcVbNmKjHgFdSaPoIuYtR";
    writeVolume(mounted.path("/etc/sentinel/keyring"), { "keys.yaml": keyring(other) });
    await gateway.waitForRecord((record) => record.event === "config_reloaded" && record.generation === 3);
    expect([await statusOf("/first"), await statusOf("/first", { authorization: `Bearer ${other}` })]).toEqual([
      401, 200,
    ]);
  });

  it("passes its own helm test", async () => {
    const { code, output } = await helmTest({
      READY_URL: `${gateway.adminOrigin}/readyz`,
      CLIENT_URL: `${gateway.origin}/`,
    });
    expect(output).toContain("/readyz: 200");
    expect(code).toBe(0);
  });

  it("and what is no gateway does not", async () => {
    expect(await helmTest({ CLIENT_URL: `${upstream.origin}/` })).toMatchObject({ code: 1 });
    expect(await helmTest({ CLIENT_URL: "http://127.0.0.1:1/" })).toMatchObject({ code: 1 });
  });

  async function helmTest(env: Record<string, string>): Promise<{ code: number; output: string }> {
    const container = podSpecsOf(objects)
      .flatMap((pod) => pod.containers)
      .find(({ name }) => name === "answers");
    const [script = ""] = container?.args ?? [];
    const child = spawn(process.execPath, ["-e", script], { env });
    const output: string[] = [];
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => output.push(String(chunk)));
    const [code] = (await once(child as ChildProcess, "close")) as [number];
    return { code, output: output.join("") };
  }
});

function keyring(secret: string): string {
  return JSON.stringify({ keys: [keyringKey("key_ci", secret)] });
}
