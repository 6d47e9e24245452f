import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import {
  CHART,
  checkAgainstSchemas,
  describeWith,
  findSchemas,
  makeCertificate,
  podSpecsOf,
  type Rendered,
  render,
  renderText,
  run,
  sentinelContainer,
  validatePod,
} from "./support.ts";

interface Block {
  readonly line: number;
  /** What stands after the fence: `yaml values`, `yaml manifest` or `sh`. */
  readonly info: string;
  readonly text: string;
}

const PAGES = ["docs/kubernetes.md", "helm/sentinel/README.md"].map((page) => {
  const text = readFileSync(page, "utf8");
  return { page, text, blocks: readBlocks(text) };
});
const blocks = PAGES.flatMap(({ page, blocks: own }) =>
  own.map((block) => ({ name: `${page}:${block.line}`, ...block })),
);
const folder = mkdtempSync(join(tmpdir(), "sentinel-docs-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("the pages about Kubernetes", () => {
  it("have no block that nothing checks", () => {
    const unknown = blocks.filter(({ info }) => !["yaml values", "yaml manifest", "sh"].includes(info));
    expect(unknown.map(({ name, info }) => `${name}: ${info}`)).toEqual([]);
    expect(blocks.length).toBeGreaterThan(15);
  });

  it.each(PAGES)("$page links only to what is there", ({ page, text }) => {
    const links = Array.from(text.matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g), ([, link = ""]) => link);
    expect(links.filter((link) => !existsSync(join(dirname(page), link)))).toEqual([]);
  });

  it("say of every alert what to do, and of none that is not", () => {
    const rules = parse(readFileSync(join(CHART, "files/alerts.yaml"), "utf8")) as {
      groups: { rules: { alert: string; labels: { severity: string } }[] }[];
    };
    const rows = Array.from(PAGES[0]?.text.matchAll(/^\| `(Sentinel\w+)` \| (yes|no) \|/gm) ?? [], (row) =>
      row.slice(1, 3),
    );
    const expected = rules.groups
      .flatMap((group) => group.rules)
      .map(({ alert, labels }) => [alert, labels.severity === "critical" ? "yes" : "no"]);
    expect(rows.toSorted()).toEqual(expected.toSorted());
  });
});

describeWith("helm", "kubeconform")("values on the pages", () => {
  it.each(blocks.filter(({ info }) => info === "yaml values"))("$name", async ({ text }) => {
    const file = join(folder, "values.yaml");
    writeFileSync(file, text);
    const rendered = await renderText(file);
    const schemas = findSchemas();
    if (schemas !== null) expect(await checkAgainstSchemas(schemas, rendered)).toBe("");
    const objects = await render(file);
    expect(await validate(objects)).toBe("");
  });
});

/** The gateway's own pod, or for a sidecar a pod as a parent chart would have it. */
async function validate(objects: readonly Rendered[]): Promise<string> {
  const own = podSpecsOf(objects).find((pod) => sentinelContainer(pod) !== undefined);
  if (own !== undefined) return validatePod(objects, own, makeCertificate());
  const mounts = [
    { name: "config", mountPath: "/etc/sentinel/config" },
    { name: "keyring", mountPath: "/etc/sentinel/keyring" },
  ];
  const start = { name: "sentinel", image: "", args: ["start", "-c", "/etc/sentinel/config/sentinel.yaml"] };
  return validatePod(objects, {
    containers: [{ ...start, volumeMounts: mounts }],
    volumes: [
      { name: "config", configMap: { name: "demo-sentinel" } },
      { name: "keyring", secret: { secretName: "keyring", items: [{ key: "keys.yaml", path: "keys.yaml" }] } },
    ],
  });
}

describeWith("kubeconform")("manifests on the pages", () => {
  it.each(blocks.filter(({ info }) => info === "yaml manifest"))("$name", async ({ text }) => {
    const schemas = findSchemas();
    if (schemas !== null) expect(await checkAgainstSchemas(schemas, text)).toBe("");
  });
});

describeWith("helm")("commands on the pages", () => {
  const shell = blocks.filter(({ info }) => info === "sh");
  const commands = shell.flatMap(({ name, text }) =>
    text
      .trim()
      .split("\n")
      .map((command) => ({ name, command })),
  );

  it.each(commands)("$name: $command", async ({ name, command }) => {
    const words = command.split(/\s+/);
    const sentinel = words.indexOf("sentinel");
    if (words[0] === "helm") await checkHelm(words, valuesBefore(name));
    else if (words[0] === "sentinel") await checkSentinel(words.slice(1));
    else if (words[0] === "kubectl" && words[1] === "exec") await checkSentinel(words.slice(sentinel + 1));
    else if (words[0] === "kubectl") expect(KUBECTL).toContain(words[1]);
    else expect(words.slice(0, 2).join(" ")).toMatch(/^docker (build|push)$/);
    const objects = await render(valuesBefore(name));
    const names = Array.from(command.matchAll(/\b(deploy|service)\/([\w-]+)/g), (found) => found.slice(1, 3));
    for (const [kind, named] of names) {
      const kinds = { deploy: "Deployment", service: "Service" } as const;
      const found = objects.some(
        (object) =>
          object.kind === kinds[kind as keyof typeof kinds] &&
          object.metadata.name.replace("demo-sentinel", "sentinel") === named,
      );
      expect(found, `${kind}/${named}`).toBe(true);
    }
  });

  /** The last values above a block: those that it is about. */
  function valuesBefore(name: string): string {
    const at = blocks.findIndex((block) => block.name === name && block.info === "sh");
    const above = blocks
      .slice(0, at)
      .findLast(({ info, text }) => info === "yaml values" && !text.startsWith("mode: sidecar"));
    const file = join(folder, "before.yaml");
    writeFileSync(
      file,
      above?.text ??
        'keyring: { existingSecret: k }\nconfig: { upstreams: [{ name: a, targets: ["http://a"] }], routes: [{ name: a, upstream: a }] }\n',
    );
    return file;
  }

  /** `install` and `upgrade` as `template`, which takes the same arguments; of others that Helm has them. */
  async function checkHelm(words: readonly string[], values: string): Promise<void> {
    const [, subcommand = "", ...rest] = words;
    const args =
      subcommand === "install" || subcommand === "upgrade"
        ? ["template", ...rest.map((word) => (word === "values.yaml" ? values : word))]
        : [subcommand, "--help"];
    const { status, stderr } = await run("helm", args);
    expect(status, stderr).toBe(0);
  }

  /** That the command exists and takes these options. */
  async function checkSentinel(words: readonly string[]): Promise<void> {
    const upTo = words.findIndex((word) => word.startsWith("-"));
    const subcommand = (upTo < 0 ? words : words.slice(0, upTo)).slice(0, words[0] === "keys" ? 2 : 1);
    const { status, stdout } = await run(process.execPath, [resolve("dist/sentinel.js"), ...subcommand, "--help"]);
    expect(status).toBe(0);
    for (const option of words.filter((word) => word.startsWith("-"))) expect(stdout).toContain(option);
  }
});

const KUBECTL = ["create", "logs", "get", "port-forward", "apply", "rollout"];

function readBlocks(text: string): Block[] {
  const found: Block[] = [];
  for (const match of text.matchAll(/^```(\S[^\n]*)?\n([\s\S]*?)^```$/gm)) {
    const line = text.slice(0, match.index).split("\n").length;
    found.push({ line, info: match[1] ?? "", text: match[2] ?? "" });
  }
  return found;
}
