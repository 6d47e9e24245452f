import { writeJsonSchema } from "./json-schema.ts";
import { DURATION_PATTERN, SIZE_PATTERN } from "./units.ts";

/** `docs/configuration.md`: an introduction, and every member as the schema has it. A test compares the two. */
export function formatConfigReference(): string {
  const schema = writeJsonSchema(() => {}) as Schema;
  return `${INTRODUCTION}\n## Every member\n\n${LEGEND}\n${sections("", schema).join("\n")}`;
}

/** The part of JSON schema that zod makes of ours. */
interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Schema | false;
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
}

/** The section of a mapping, then those of the mappings in it. */
function sections(path: string, schema: Schema): string[] {
  const members = Object.entries(schema.properties ?? {});
  const rows = members.map(([name, member]) => row(name, member, schema.required?.includes(name) === true));
  const heading = path === "" ? "### At the top" : `### ${path.replaceAll("*", "\\*")}`;
  const description = path === "" || schema.description === undefined ? "" : `\n${schema.description}\n`;
  const table = `| member | type | default | meaning |\n| --- | --- | --- | --- |\n${rows.join("\n")}\n`;
  const inner = members.flatMap(([name, member]) => mappingsIn(path === "" ? name : `${path}.${name}`, member));
  return [`${heading}\n${description}\n${table}`, ...inner.flatMap(([at, mapping]) => sections(at, mapping))];
}

/** The mappings with named members that a member is, holds, or may be. */
function mappingsIn(path: string, schema: Schema): [path: string, schema: Schema][] {
  if (isSecret(schema)) return [];
  if (schema.properties !== undefined) return [[path, schema]];
  if (schema.items !== undefined) return mappingsIn(`${path}[]`, schema.items);
  if (typeof schema.additionalProperties === "object") return mappingsIn(`${path}.*`, schema.additionalProperties);
  const options = (schema.anyOf ?? schema.oneOf ?? []).filter(({ properties }) => properties !== undefined);
  return options.map((option) => [options.length > 1 ? `${path} (${distinction(option)})` : path, option]);
}

/** What tells one option of a union from the others: `type: file`, or its only member. */
function distinction({ properties = {} }: Schema): string {
  const [name, member] = Object.entries(properties).find(([, { const: only }]) => only !== undefined) ?? [];
  return name === undefined ? Object.keys(properties).join(", ") : `${name}: ${member?.const}`;
}

function row(name: string, schema: Schema, required: boolean): string {
  const fallback = required ? "**required**" : formatDefault(schema.default);
  const examples = (schema.examples ?? []).map((example) => `\`${inYaml(example)}\``).join(", ");
  const meaning = `${schema.description ?? ""}${examples === "" ? "" : ` For example ${examples}.`}`;
  return `| \`${name}\` | ${cell(typeName(schema))} | ${cell(fallback)} | ${cell(meaning.trim())} |`;
}

function formatDefault(value: unknown): string {
  if (value === undefined || (typeof value === "object" && JSON.stringify(value) === "{}")) return "";
  return `\`${value === "" ? '""' : inYaml(value)}\``;
}

function typeName(schema: Schema): string {
  const { type, pattern, items, properties, additionalProperties } = schema;
  if (isSecret(schema)) return "secret";
  const options = schema.anyOf ?? schema.oneOf;
  if (options !== undefined) return [...new Set(options.map(typeName))].join(" or ");
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(", ");
  if (schema.const !== undefined) return `\`${schema.const}\``;
  if (pattern === DURATION_PATTERN.source) return "duration";
  if (pattern === SIZE_PATTERN.source) return "size";
  if (items !== undefined) return `list of ${typeName(items)}`;
  if (properties !== undefined) return "mapping";
  if (typeof additionalProperties === "object") return `mapping of names to ${typeName(additionalProperties)}`;
  return type === "integer" || type === "number" ? `number${range(schema)}` : (TYPE_NAMES[type ?? ""] ?? "any");
}

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: "text",
  boolean: "`true` or `false`",
  object: "mapping",
};

function range({ minimum, maximum }: Schema): string {
  const most = maximum === undefined || maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum;
  if (most === undefined) return minimum === undefined ? "" : `, at least ${minimum}`;
  return `, ${minimum} to ${most}`;
}

/** Text, or the name of a file that holds it. */
function isSecret({ anyOf = [] }: Schema): boolean {
  return anyOf.some(({ properties }) => properties !== undefined && Object.keys(properties).join() === "file");
}

/** As it is written in a file; `within` a list or a mapping more has to be in quotes. */
function inYaml(value: unknown, within = false): string {
  if (typeof value === "string") return within && /[{}[\],#"]|: |^[\d.]+$/.test(value) ? JSON.stringify(value) : value;
  if (Array.isArray(value)) return `[${value.map((item) => inYaml(item, true)).join(", ")}]`;
  if (typeof value !== "object" || value === null) return String(value);
  const members = Object.entries(value).map(([name, member]) => `${name}: ${inYaml(member, true)}`);
  return `{ ${members.join(", ")} }`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}

const LEGEND = `- **duration**: \`250ms\`, \`10s\`, \`5m\`, \`24h\`; at most \`576h\`.
- **size**: \`512B\`, \`64KiB\`, \`1MiB\`, \`2GiB\`.
- **secret**: text, or \`{ file: NAME }\`; see [Secrets](#secrets).
- \`a[]\` is each entry of the list \`a\`, \`a.*\` each member of a mapping whose names are free.
`;

const INTRODUCTION = `# Configuration

One YAML file. The second half of this page is made from \`src/config/schema.ts\` by \`npm run generate\`; a test compares the
two. \`sentinel validate\` says every mistake in the file, and in the keyring it names, at once and with its line. An unknown
member is a mistake. Working files to start from are in [config/](../config) and [config/examples/](../config/examples).

Which file: \`-c FILE\`, else \`$SENTINEL_CONFIG\`, else \`config/sentinel.yaml\`, else \`sentinel.yaml\`. File names in it are
relative to the file itself.

Editors complete and check it with the JSON schema; begin the file with

\`\`\`yaml
# yaml-language-server: $schema=./sentinel.schema.json
\`\`\`

or write the schema wherever you need it: \`sentinel schema > sentinel.schema.json\`.

## The environment

\`\${NAME}\` is filled from the environment; \`\${NAME:-default}\` takes the default where NAME is not set or empty; \`$\${\` is a
literal \`\${\`. A NAME that is not set and has no default is a mistake. Values are filled in after the YAML was read, so no
value can add a member or break the syntax. A member that is one placeholder may be a number or a boolean:
\`workers: \${WORKERS:-1}\`. Within \`{ }\` and \`[ ]\` a placeholder needs quotes: \`{ delay: "\${DELAY:-5s}" }\`.

## Secrets

Wherever a secret may stand (passwords, the Redis URL, headers of the key service, private keys), \`{ file: NAME }\` takes it
from a file, without its last line end. Secrets are masked in every message.

\`\`\`yaml
redis:
  url: { file: /run/secrets/redis-url }
\`\`\`

## Changes while running

A changed configuration, keyring, secret or certificate is taken up within two seconds, at once on SIGHUP: all of it or
nothing. A file with mistakes is reported with its lines and counted, and the last good state stays. These wait for a
restart, and the log says so: \`listen\`, \`admin\`, \`workers\`, whether there is \`tls\` (renewed certificates are taken up),
\`limits\` other than \`headerLines\`, \`keys.source\`, \`keys.cache\`, \`redis\`, \`log.format\`. Until the restart the keyring in force is
the one that was named at the start: what changes in it is taken up as before, also where the configuration names another by now. \`sentinel keys\` works
on the one that is named.

Replace files, do not write over them: put the new one beside the old and rename it, as \`sentinel keys\` and Kubernetes do. The first half of a keyring
can be a valid keyring, in which a key lacks the \`enabled: false\` or \`expiresAt\` that was still to come, and it is taken up where writing stalls.

## Routes

The most specific route wins, whatever the order in the file:

1. exact host before \`*.wildcard\` before any host (of two wildcards the longer);
2. whole \`path\` before \`pathPrefix\`; a static segment before \`{name}\`; a longer prefix before a shorter;
3. a route that names methods before one that does not;
4. more \`headers\` before fewer.

Two routes that can not be told apart are a mistake. Where nothing matches, the answer is 404; where only other methods do,
405 with \`Allow\`. \`sentinel routes\` lists them in matching order; \`sentinel explain METHOD URL\` walks one request through.

A route needs a root key unless it says \`auth: none\`. With \`permissions\` the key must be granted them, too.

An open route that covers a guarded one on the same upstream is a mistake: many servers read \`/ADMIN\` or \`/admin.\` as
\`/admin\`, and the open route would let those spellings through. Narrow the open route. Where it has to stay,
\`allowOverlap: true\` makes the gateway try the guarded route without regard to case and to trailing \`/\`, \`.\` or spaces
first; it wins, and methods that it does not name are 405.

## Permission queries

Tuples \`resourceType.resourceId.action\`, joined by \`AND\`, \`OR\` and parentheses; AND binds tighter; at most 1000 characters
and 100 tuples.

\`\`\`yaml
permissions: api.{path.apiId}.read_api
permissions: api.{body.apiId}.create_key AND (rbac.*.read_role OR rbac.*.create_role)
\`\`\`

A key satisfies \`api.api_1.read_api\` when it was granted exactly that, or \`api.*.read_api\`. A required \`*\` means *all*: only
a literal \`*\` grant satisfies it. \`*\` means nothing anywhere else.

The id may come from the request: \`{path.NAME}\`, \`{query.NAME}\`, \`{header.NAME}\`, \`{body.a.b}\`. The value must be 1 to 255
letters, digits, \`_\` or \`-\`; anything else is 400 and never a wildcard. \`{body...}\` reads a JSON body of at most
\`maxBodySize\` (1MiB unless given), once the key was found good, and sends on the very same bytes. A body with a
\`Content-Encoding\` is 400: what it says once decoded is not what was judged.

## Keys

\`keys.source\` is exactly one of:

\`\`\`yaml
keys: { source: { type: file, path: ./keys.yaml } }     # a keyring, all in memory
\`\`\`
\`\`\`yaml
keys: { source: { type: redis } }                       # records in Redis, managed with \`sentinel keys\`
redis: { url: redis://redis:6379 }
\`\`\`
\`\`\`yaml
keys:                                                   # a key service, asked by hash
  source:
    type: http
    url: https://keys.internal/lookup
    headers: { authorization: "Bearer \${KEY_SERVICE_TOKEN}" }
\`\`\`
`;
