import { parse } from "yaml";
import { readValuesComments } from "./values-comments.ts";

/** The chart's `README.md`, with a row for each comment of values.yaml. `npm run generate` writes it. */
export function formatChartReadme(valuesYaml: string): string {
  const values: unknown = parse(valuesYaml);
  const rows = readValuesComments(valuesYaml).map(({ name, description, shownDefault }) => {
    const shown = shownDefault ?? formatDefault(valueAt(values, name.split(".")));
    return `| \`${name}\` | ${shown} | ${description.replaceAll("|", "\\|")} |`;
  });
  return `${INTRODUCTION}
## Values

Unknown values are refused, and so are values that contradict each other: Helm says which, before anything is changed.

| value | default | what it is |
| --- | --- | --- |
${rows.join("\n")}
`;
}

function valueAt(values: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((value, member) => (value as Record<string, unknown>)[member], values);
}

/** Short ones as they are; long ones are better read in values.yaml. */
function formatDefault(value: unknown): string {
  if (value === "" || value === null) return "";
  const json = JSON.stringify(value);
  return json.length > 40 ? "see `values.yaml`" : `\`${json}\``;
}

const INTRODUCTION = `# The sentinel chart

Sentinel on Kubernetes: as a gateway in front of services, or as a sidecar beside one. This page is made of \`values.yaml\`
by \`npm run generate\`; a test compares the two. How to run it, from the first install to alerts:
[docs/kubernetes.md](../../docs/kubernetes.md).

## As a gateway

\`\`\`yaml values
keyring: { existingSecret: sentinel-keyring }
config:
  upstreams:
    - { name: orders, targets: ["http://orders:3000"] }
  routes:
    - name: read-orders
      match: { methods: [GET], path: "/v1/orders/{orderId}" }
      permissions: orders.{path.orderId}.read
      upstream: orders
\`\`\`

\`\`\`sh
kubectl create secret generic sentinel-keyring --from-file=keys.yaml
helm install sentinel helm/sentinel -f values.yaml
helm test sentinel
\`\`\`

## As a sidecar

The service has to listen on 127.0.0.1 alone, and the Service to point at the sidecar's port \`sentinel\`. Whatever else can
be reached is not guarded.

The parent chart depends on this one with \`mode: sidecar\`, and hands the subchart's context to the named templates:

| template | where it goes |
| --- | --- |
| \`sentinel.sidecar\` | \`spec.initContainers\` of the pod: a native sidecar (\`restartPolicy: Always\`) |
| \`sentinel.sidecarVolumes\` | \`spec.volumes\` of the pod |
| \`sentinel.sidecarAnnotations\` | \`metadata.annotations\` of the pod: replaces it for a change that needs a restart |
| \`sentinel.sidecarLabels\` | \`metadata.labels\` of the pod: by them \`podMonitor\` finds it |

A whole parent chart is in [examples/parent-chart](../examples/parent-chart), plain YAML in
[examples/sidecar](../examples/sidecar), and a kustomize patch in [examples/kustomize](../examples/kustomize).

## What is taken up without a restart

All of the configuration but \`listen\`, \`admin.listen\`, \`workers\`, \`limits\` (other than \`headerLines\`), \`keys.source\`,
\`keys.cache\`, \`redis\`, \`log.format\` and whether there is \`tls\`. The annotation \`checksum/restart\` is made of these alone, so
that a change to one of them replaces the pods, and a change to a route does not.
`;
