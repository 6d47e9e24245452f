import type { MetricDefinition } from "./instruments.ts";
import {
  INITIAL_STATUSES,
  LOOKUP_OUTCOMES,
  METHODS,
  METRIC_DEFINITIONS,
  NO_ROUTE,
  OTHER,
  UPSTREAM_ERROR_REASONS,
  USUAL_METHODS,
  VERDICTS,
} from "./metrics.ts";

/** `docs/metrics.md`, made of the declarations: a test compares the two. */
export function formatMetricsReference(): string {
  return `# Metrics

\`/metrics\` on the admin listener gives them in Prometheus' text format. This page is made from
\`src/telemetry/metrics.ts\` by \`npm run generate\`; a test compares the two.

Nothing that a client chooses is ever a label, so the number of series is constant whatever clients send. With several
workers \`/metrics\` speaks for all of them; the last column says how their figures become one.

| metric | type | labels | meaning | workers |
| --- | --- | --- | --- | --- |
${METRIC_DEFINITIONS.map(row).join("\n")}

## Labels

- \`route\`: a route's name; \`${NO_ROUTE}\` for what no route matched, or was refused before one was looked for.
- \`method\`: ${list([...METHODS, OTHER])}.
- \`status\`: the status sent to the client; 499 where it left before one was; \`${OTHER}\` for what is no status.
- \`verdict\`: ${list(VERDICTS)}.
- \`tier\`: \`memory\`, \`file\`, \`redis\`, \`http\`: where a look-up was tried. Those of the key source in use are there.
- \`outcome\` of a look-up: ${list(LOOKUP_OUTCOMES)}; \`absent\` is a remembered "no such key", \`stale\` a record served past
  \`fresh\` because its source could not be reached, \`invalid\` a value that could not be read.
- \`outcome\` of a reload: \`success\`, \`failure\`.
- \`upstream\`, \`target\`: as configured.
- \`reason\` of an upstream's error: ${list(UPSTREAM_ERROR_REASONS)}.
- \`reason\` of \`sentinel_requests_shed_total\`: \`connections\` (more than \`limits.maxConnections\`), \`overload\`.

## From the start

Every series of a configured route, upstream, target and tier is there, at zero, before the first request, so that
\`rate()\` sees the first failure. Of \`sentinel_requests_total\` these are the route's methods (without \`methods\`:
${list(USUAL_METHODS)}) with the statuses ${list(INITIAL_STATUSES.map(String))}; other statuses appear when
they occur. A reload adds the series of new routes; those of the same name go on counting, and those of removed ones stay
until the process ends.

## Times

\`sentinel_gateway_duration_seconds\` is the gateway's own share: from the arrival of a request until it was handed to the
upstream, or answered here. Looking up the key counts; waiting for the client to send a body that a permission needs does
not. Buckets, in seconds:

${METRIC_DEFINITIONS.filter(({ buckets }) => buckets !== undefined)
  .map(({ name, buckets = [] }) => `- \`${name}\`: ${buckets.join(", ")}`)
  .join("\n")}

## The process

Beside these are prom-client's metrics of the Node process: \`process_*\` and \`nodejs_*\` (CPU, memory, descriptors, event
loop, garbage collection). Its gauges whose names end in \`_total\` are left out, since \`promtool check metrics\` refuses them.
`;
}

function row({ name, type, labels, help, aggregate }: MetricDefinition): string {
  return `| \`${name}\` | ${type} | ${list(labels)} | ${help} | ${aggregate} |`;
}

function list(names: readonly string[]): string {
  return names.map((name) => `\`${name}\``).join(", ");
}
