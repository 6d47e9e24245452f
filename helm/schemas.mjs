// Makes the JSON schemas that kubeconform checks the chart's renders against, out of what Kubernetes and the operators
// publish as Go modules: `node helm/schemas.mjs [FOLDER]` (.tools/kubernetes-schemas unless given) prints the folder, which
// holds one for each version and `custom`. Needs Go, once: what is there stays. Strict: a member that Kubernetes would drop
// without a word is a mistake.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parse } from "yaml";

/** The oldest version that Chart.yaml allows, and the newest. */
const KUBERNETES_VERSIONS = ["1.30.14", "1.36.3"];

/** Custom resources that the chart can render: the module, and where its definitions are. */
const CUSTOM_RESOURCES = [
  {
    module: "github.com/prometheus-operator/prometheus-operator@v0.85.0",
    folder: "example/prometheus-operator-crd",
    files: /_(servicemonitors|podmonitors|prometheusrules)\.yaml$/,
  },
  { module: "sigs.k8s.io/gateway-api@v1.4.1", folder: "config/crd/standard", files: /_httproutes\.yaml$/ },
];

/** Makes whatever is not there yet; gives the folder. Throws, with what Go said, where a module can not be had. */
function makeSchemas(folder = resolve(import.meta.dirname, "../.tools/kubernetes-schemas")) {
  for (const version of KUBERNETES_VERSIONS) {
    makeFolder(join(folder, version), () => kubernetesSchemas(version));
  }
  makeFolder(join(folder, "custom"), () => CUSTOM_RESOURCES.flatMap(customSchemas));
  return folder;
}

/** All or nothing: a run that was ended leaves no half of a folder to be taken for the whole. */
function makeFolder(folder, make) {
  if (existsSync(folder)) return;
  const unfinished = `${folder}.${process.pid}`;
  for (const { group, kind, version, schema } of make()) {
    // For the core group, which has no name, kubeconform says the version.
    mkdirSync(join(unfinished, group || version), { recursive: true });
    writeFileSync(join(unfinished, group || version, `${kind.toLowerCase()}_${version}.json`), JSON.stringify(schema));
  }
  try {
    renameSync(unfinished, folder);
  } catch (error) {
    rmSync(unfinished, { recursive: true });
    if (!existsSync(folder)) throw error;
  }
}

function kubernetesSchemas(version) {
  const module = download(`k8s.io/kubernetes@v${version}`);
  const { definitions } = JSON.parse(readFileSync(join(module, "api/openapi-spec/swagger.json"), "utf8"));
  return Object.keys(definitions).flatMap((name) => {
    const kinds = definitions[name]["x-kubernetes-group-version-kind"] ?? [];
    // Those of several groups are what requests are made of (DeleteOptions and the like), not resources.
    if (kinds.length !== 1 || kinds[0].kind.endsWith("List")) return [];
    return [{ ...kinds[0], schema: bundle(name, definitions, kinds[0]) }];
  });
}

/** One definition with all that it refers to. */
function bundle(name, definitions, { group, version, kind }) {
  const bundled = {};
  const add = (wanted) => {
    if (Object.hasOwn(bundled, wanted)) return;
    bundled[wanted] = {};
    bundled[wanted] = convert(WITHOUT_FORM[wanted] ?? definitions[wanted], add);
  };
  const top = convert(definitions[name], add);
  top.properties.apiVersion = { const: group === "" ? version : `${group}/${version}` };
  top.properties.kind = { const: kind };
  top.required = [...new Set([...(top.required ?? []), "apiVersion", "kind"])];
  return { $schema: "http://json-schema.org/draft-07/schema#", ...top, definitions: bundled };
}

/** Types that the document describes as strings, although Kubernetes reads numbers too. */
const WITHOUT_FORM = {
  "io.k8s.apimachinery.pkg.util.intstr.IntOrString": { anyOf: [{ type: "string" }, { type: "integer" }] },
  "io.k8s.apimachinery.pkg.api.resource.Quantity": { anyOf: [{ type: "string" }, { type: "number" }] },
};

function convert(schema, add) {
  if (Array.isArray(schema)) return schema.map((part) => convert(part, add));
  if (typeof schema !== "object" || schema === null) return schema;
  const converted = {};
  for (const [member, value] of Object.entries(schema)) {
    if (member === "description" || member.startsWith("x-kubernetes-")) continue;
    if (member === "$ref" && typeof value === "string") {
      const wanted = value.slice("#/definitions/".length);
      add(wanted);
      converted.$ref = `#/definitions/${wanted}`;
    } else if (member === "properties") {
      converted.properties = mapValues(value, (property) => convert(property, add));
    } else if (member !== "nullable" && member !== "format") {
      converted[member] = convert(value, add);
    }
  }
  if (schema["x-kubernetes-int-or-string"]) return { anyOf: [{ type: "string" }, { type: "integer" }] };
  const isOpen = schema["x-kubernetes-preserve-unknown-fields"] || converted.additionalProperties !== undefined;
  if (converted.properties !== undefined && !isOpen) converted.additionalProperties = false;
  if (schema.nullable && typeof converted.type === "string") converted.type = [converted.type, "null"];
  return converted;
}

function mapValues(object, change) {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value)]));
}

function customSchemas({ module, folder, files }) {
  const path = join(download(module), folder);
  const names = readdirSync(path).filter((name) => files.test(name));
  return names.flatMap((name) => {
    const { spec } = parse(readFileSync(join(path, name), "utf8"));
    return spec.versions.map(({ name: version, schema: { openAPIV3Schema } }) => {
      const {
        group,
        names: { kind },
      } = spec;
      const schema = convert(openAPIV3Schema, () => {});
      schema.properties.apiVersion = { const: `${group}/${version}` };
      schema.properties.kind = { const: kind };
      return { group, kind, version, schema };
    });
  });
}

/** Where Go put a module; from its cache where it has it. */
function download(module) {
  const { stdout, error } = spawnSync("go", ["mod", "download", "-json", module], {
    encoding: "utf8",
    cwd: import.meta.dirname,
    env: { ...process.env, GOFLAGS: "", GO111MODULE: "on" },
  });
  if (error) throw new Error(`${module} is fetched with Go, which is not here: ${error.message}`);
  const { Dir, Error: reason } = JSON.parse(stdout || "{}");
  if (!Dir) throw new Error(`${module} can not be had: ${reason ?? "go said nothing"}`);
  return Dir;
}

console.log(makeSchemas(process.argv[2] && resolve(process.argv[2])));
