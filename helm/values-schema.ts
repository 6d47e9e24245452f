import { configJsonSchema } from "../src/config/json-schema.ts";
import { readValuesComments } from "./values-comments.ts";

type Schema = { [member: string]: unknown };

/**
 * `values.schema.json`, out of this file, the comments in values.yaml and the configuration's own schema. What is the
 * chart's is closed, so that a misspelt value is an error; what is Kubernetes' own (affinity, tolerations) is left to
 * Kubernetes. `npm run generate` writes it.
 */
export function formatValuesSchema(valuesYaml: string): string {
  const schema = {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "Values of the sentinel chart",
    ...VALUES,
  };
  for (const { name, description } of readValuesComments(valuesYaml)) describe(schema, name.split("."), description);
  return `${JSON.stringify(schema, null, 2)}\n`;
}

function describe(schema: Schema, [member = "", ...rest]: readonly string[], description: string): void {
  const properties = schema.properties as Record<string, Schema> | undefined;
  const found = properties?.[member];
  if (properties === undefined || found === undefined) throw new Error(`values.yaml has ${member}, the schema has not`);
  if (rest.length > 0) describe(found, rest, description);
  else properties[member] = { description, ...found };
}

const text: Schema = { type: "string" };
const flag: Schema = { type: "boolean" };
const anything: Schema = { type: "object" };
const listOfObjects: Schema = { type: "array", items: anything };
const listOfTexts: Schema = { type: "array", items: { type: "string", minLength: 1 } };
const texts: Schema = { type: "object", additionalProperties: text };
const port: Schema = whole(1, 65_535);
const duration: Schema = { type: "string", pattern: "^[1-9][0-9]{0,5}(ms|s|m|h)$" };
/** A number of pods, or a share of them. */
const pods: Schema = {
  anyOf: [{ type: "null" }, { type: "integer", minimum: 0 }, { type: "string", pattern: "^(100|[1-9]?[0-9])%$" }],
};

function whole(minimum: number, maximum?: number): Schema {
  return { type: "integer", minimum, ...(maximum !== undefined && { maximum }) };
}

function orNull(schema: Schema): Schema {
  return { anyOf: [schema, { type: "null" }] };
}

function oneOf(...values: string[]): Schema {
  return { type: "string", enum: values };
}

function closed(properties: Record<string, Schema>, required: readonly string[] = []): Schema {
  return { type: "object", additionalProperties: false, ...(required.length > 0 && { required }), properties };
}

const probe = closed({
  initialDelaySeconds: whole(0),
  periodSeconds: whole(1),
  timeoutSeconds: whole(1),
  failureThreshold: whole(1),
  successThreshold: whole(1),
});

const monitor = closed({
  enabled: flag,
  labels: texts,
  interval: duration,
  scrapeTimeout: duration,
  relabelings: listOfObjects,
  metricRelabelings: listOfObjects,
});

const ingressHost = closed(
  {
    host: { type: "string", minLength: 1 },
    paths: {
      type: "array",
      minItems: 1,
      items: closed(
        {
          path: { type: "string", pattern: "^/" },
          pathType: oneOf("Prefix", "Exact", "ImplementationSpecific"),
        },
        ["path"],
      ),
    },
  },
  ["host"],
);

const VALUES: Schema = closed({
  mode: oneOf("gateway", "sidecar"),
  // None at all stands for `existingConfigMap`.
  // biome-ignore lint/suspicious/noThenProperty: a word of JSON schema
  config: { type: "object", if: { minProperties: 1 }, then: configSchema() },
  existingConfigMap: text,
  keyring: closed({ existingSecret: text, key: { type: "string", minLength: 1 } }),
  redis: closed({ existingSecret: text, key: { type: "string", minLength: 1 } }),
  tls: closed({ existingSecret: text }),
  image: closed({
    registry: text,
    repository: { type: "string", minLength: 1 },
    tag: text,
    digest: { type: "string", pattern: "^(sha256:[0-9a-f]{64})?$" },
    pullPolicy: oneOf("Always", "IfNotPresent", "Never"),
  }),
  imagePullSecrets: listOfObjects,
  nameOverride: text,
  fullnameOverride: text,
  commonLabels: texts,
  commonAnnotations: texts,
  replicaCount: whole(0),
  strategy: anything,
  revisionHistoryLimit: whole(0),
  minReadySeconds: whole(0),
  // Below 1024 would need a privilege that the container does not have.
  containerPorts: closed({ http: whole(1024, 65_535), admin: whole(1024, 65_535) }),
  service: closed({
    type: oneOf("ClusterIP", "NodePort", "LoadBalancer"),
    port,
    nodePort: orNull(whole(1, 65_535)),
    annotations: texts,
    loadBalancerSourceRanges: listOfTexts,
    externalTrafficPolicy: oneOf("", "Cluster", "Local"),
    trafficDistribution: text,
    ipFamilyPolicy: oneOf("", "SingleStack", "PreferDualStack", "RequireDualStack"),
  }),
  adminService: closed({ enabled: flag, port, annotations: texts }),
  ingress: closed({
    enabled: flag,
    className: text,
    annotations: texts,
    hosts: { type: "array", items: ingressHost },
    tls: { type: "array", items: closed({ secretName: text, hosts: listOfTexts }) },
  }),
  httpRoute: closed({
    enabled: flag,
    annotations: texts,
    parentRefs: listOfObjects,
    hostnames: listOfTexts,
    matches: listOfObjects,
    filters: listOfObjects,
    timeouts: anything,
  }),
  serviceAccount: closed({ create: flag, name: text, annotations: texts }),
  resources: anything,
  autoscaling: closed({
    enabled: flag,
    minReplicas: whole(1),
    maxReplicas: whole(1),
    targetCPUUtilizationPercentage: whole(0),
    targetMemoryUtilizationPercentage: whole(0),
    metrics: listOfObjects,
    behavior: anything,
  }),
  podDisruptionBudget: closed({ enabled: flag, minAvailable: pods, maxUnavailable: pods }),
  networkPolicy: closed({ enabled: flag, clients: listOfObjects, monitoring: listOfObjects, egress: listOfObjects }),
  serviceMonitor: monitor,
  podMonitor: monitor,
  prometheusRule: closed({ enabled: flag, labels: texts, alertLabels: texts, disabled: listOfTexts }),
  dashboard: closed({ enabled: flag, labels: texts, annotations: texts }),
  terminationGracePeriodSeconds: orNull(whole(1)),
  livenessProbe: probe,
  readinessProbe: probe,
  startupProbe: probe,
  podSecurityContext: anything,
  securityContext: anything,
  podLabels: texts,
  podAnnotations: texts,
  deploymentAnnotations: texts,
  topologySpreadConstraints: listOfObjects,
  affinity: anything,
  nodeSelector: texts,
  tolerations: listOfObjects,
  priorityClassName: text,
  env: listOfObjects,
  envFrom: listOfObjects,
  extraVolumes: listOfObjects,
  extraVolumeMounts: listOfObjects,
  extraContainers: listOfObjects,
  extraInitContainers: listOfObjects,
  extraArgs: listOfTexts,
  sidecar: closed({ resources: anything }),
  tests: closed({ enabled: flag }),
  extraObjects: { type: "array", items: { type: ["object", "string"] } },
  // Given to every subchart by Helm, and what the `condition` of a dependency usually names: neither is read here.
  global: anything,
  enabled: flag,
});

/** The configuration's schema, but for what the chart fills in: that is not required. */
function configSchema(): Schema {
  const { $schema: _, title: __, ...schema } = configJsonSchema() as Schema & { properties: Record<string, Schema> };
  const keys = schema.properties.keys as Schema & { properties: { source: { oneOf: Schema[] } } };
  const [file] = keys.properties.source.oneOf;
  if (file === undefined) throw new Error("the configuration's schema has no key source");
  file.required = ["type"];
  keys.required = [];
  schema.required = (schema.required as string[]).filter((member) => member !== "keys");
  return schema;
}
