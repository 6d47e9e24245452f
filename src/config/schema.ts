import * as z from "zod";
import { DURATION_PATTERN, parseDuration, parseSize, SIZE_PATTERN } from "./units.ts";

// A configuration is read once: making a function for each mapping takes longer than it saves.
z.config({ jitless: true });

/**
 * The configuration as it is written (contract section 2). Types, defaults and descriptions live here;
 * `config/sentinel.schema.json`, `docs/configuration.md` and the loader's messages derive from it. Durations come out
 * as milliseconds, sizes as bytes. Mistakes that involve two members, and those inside an address, a path or a
 * permission query, are found by `compile.ts`.
 */

/** What a timer can hold: a longer one would fire at once. */
const DURATION_MAX = "576h";
const DURATION_MS_MAX = 576 * 3_600_000;

const A_DURATION = "must be a duration such as 250ms, 10s, 5m or 24h";
const A_SIZE = "must be a size such as 512B, 64KiB or 1MiB";

const duration = z
  .string(A_DURATION)
  .regex(DURATION_PATTERN, A_DURATION)
  .refine((text) => (parseDuration(text) ?? 0) <= DURATION_MS_MAX, `must be at most ${DURATION_MAX}`)
  .transform((text) => parseDuration(text) ?? 0);
const positiveDuration = z
  .string(A_DURATION)
  .regex(DURATION_PATTERN, A_DURATION)
  .refine((text) => parseDuration(text) !== 0, "must be longer than 0")
  .refine((text) => (parseDuration(text) ?? 0) <= DURATION_MS_MAX, `must be at most ${DURATION_MAX}`)
  .transform((text) => parseDuration(text) ?? 0);
const size = z
  .string(A_SIZE)
  .regex(SIZE_PATTERN, A_SIZE)
  .refine((text) => Number.isSafeInteger(parseSize(text) ?? 0), "must be at most 1000000GiB")
  .transform((text) => parseSize(text) ?? 0);
const positiveSize = size.refine((bytes) => bytes > 0, "must be larger than 0B");
const text = z.string().min(1, "must not be empty");
const count = z.number().int().min(1);
const name = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$/,
    "must be 1 to 100 letters, digits and . _ : / -, a letter or digit first",
  );

/**
 * A string that may hold a secret: written in place, or the name of a file that holds it. `load.ts` puts the file's text
 * in the mapping's place before this schema sees it; a mapping that is still one could not be read, and was reported.
 */
export const secretSchema = z.union(
  [
    text,
    z
      .strictObject({ file: text.describe("A file that holds the value; its last line end is dropped.") })
      .transform(() => ""),
  ],
  "must be text, or { file: NAME }",
);
const secret = secretSchema;

const timeouts = z.strictObject({
  connect: duration.prefault("2s").describe("To connect to a target, TLS included. 0s: no limit."),
  response: duration.prefault("30s").describe("From the request to the first byte of the answer's body. 0s: no limit."),
  idle: duration.prefault("60s").describe("Between two bytes, in either direction. 0s: no limit."),
});

const upstreamTls = z.strictObject({
  ca: secret.optional().describe("The certificate authority to trust (PEM), in place of the system's."),
  cert: secret.optional().describe("The client certificate to present (PEM), for mutual TLS."),
  key: secret.optional().describe("The private key of the client certificate (PEM)."),
  serverName: text
    .optional()
    .describe("The name to verify and to send as SNI. The target's host unless given.")
    .meta({ examples: ["orders.internal"] }),
});

const targetUrl = text
  .describe("`http://host:port` or `https://host:port`; the port may be left out. No path.")
  .meta({ examples: ["http://10.0.0.1:3000", "https://orders.internal:8443"] });
const target = z.union(
  [
    targetUrl,
    z.strictObject({
      url: targetUrl,
      weight: count.max(1000).prefault(1).describe("Its share of the requests, beside the other targets' weights."),
    }),
  ],
  "must be a URL such as http://10.0.0.1:3000, or { url, weight }",
);

export const upstreamSchema = z.strictObject({
  name: name.describe("The name by which routes, logs and metrics call it.").meta({ examples: ["orders"] }),
  targets: z
    .array(target)
    .min(1)
    .describe("Where it runs, one URL for each instance. Requests go round robin over the healthy ones."),
  timeouts: timeouts.prefault({}).describe("Limits on each exchange. A route may set its own."),
  tls: upstreamTls.optional().describe("For `https://` targets. The certificate is always verified."),
  healthCheck: z
    .strictObject({
      path: text.describe("The path asked for with GET. Any 2xx is healthy.").meta({ examples: ["/health"] }),
      interval: positiveDuration.prefault("5s").describe("Between two checks."),
      timeout: positiveDuration.prefault("2s").describe("For one check."),
    })
    .optional()
    .describe("Active checks of each target. Five failures in a row of ordinary requests also put a target out."),
});

const match = z.strictObject({
  host: text
    .optional()
    .describe("Exact, or `*.example.com` for one label or more in front. A port in the Host field is ignored.")
    .meta({ examples: ["api.example.com", "*.example.com"] }),
  methods: z
    .array(text)
    .min(1)
    .optional()
    .describe("In upper case. GET covers HEAD. Absent: every method.")
    .meta({ examples: [["GET"], ["POST", "PUT"]] }),
  path: text
    .optional()
    .describe("The whole path. `{name}` stands for one non-empty segment. Not together with `pathPrefix`.")
    .meta({ examples: ["/v2/apis/{apiId}"] }),
  pathPrefix: text
    .optional()
    .describe("A prefix that ends on a segment: `/a` covers `/a`, `/a/` and `/a/b`, never `/ab`. May hold `{name}`.")
    .meta({ examples: ["/v2", "/tenants/{tenant}"] }),
  headers: z
    .record(text, z.string())
    .optional()
    .describe("Fields that must be there once, with exactly this value.")
    .meta({ examples: [{ "X-Version": "2" }] }),
});

export const routeSchema = z.strictObject({
  name: name
    .describe("The name by which logs, metrics and `sentinel explain` call it.")
    .meta({ examples: ["read-api"] }),
  match: match.prefault({}).describe("Which requests it takes. Absent members match anything."),
  auth: z
    .literal("none")
    .optional()
    .describe("`none` lets anyone pass. A route that does not say so always needs a key."),
  permissions: z
    .string("must be tuples joined by AND or OR, such as api.*.read_api OR api.*.update_api")
    .min(1, "must not be empty")
    .optional()
    .describe("What the key must be granted: tuples joined by AND, OR and parentheses. Absent: any valid key.")
    .meta({
      examples: ["api.{path.apiId}.read_api", "api.{body.apiId}.create_key AND rbac.*.read_role"],
    }),
  upstream: text.describe("The name of the upstream that serves it."),
  rewrite: z
    .union(
      [
        z.strictObject({
          stripPrefix: text.describe("Taken off the path; `/x` itself becomes `/`.").meta({ examples: ["/orders"] }),
        }),
        z.strictObject({ addPrefix: text.describe("Put in front of the path.").meta({ examples: ["/internal"] }) }),
      ],
      "must be { stripPrefix: /x } or { addPrefix: /y }",
    )
    .optional()
    .describe("Takes a prefix off the path, or puts one in front."),
  preserveHost: z.boolean().prefault(true).describe("Send the client's Host. false sends the target's."),
  authorization: z
    .enum(["preserve", "strip"])
    .prefault("preserve")
    .describe("Whether the Authorization field goes to the upstream, exactly as it came, or is taken out."),
  websocket: z.boolean().prefault(false).describe("Let WebSocket connections through."),
  timeouts: z
    .strictObject({
      connect: duration.optional().describe("In place of the upstream's `timeouts.connect`."),
      response: duration.optional().describe("In place of the upstream's `timeouts.response`."),
      idle: duration.optional().describe("In place of the upstream's `timeouts.idle`."),
    })
    .prefault({})
    .describe("Limits of this route, in place of the upstream's."),
  maxBodySize: size
    .optional()
    .describe("A larger request body is 413. 10MiB unless given; 1MiB where a permission takes an id from the body.")
    .meta({ examples: ["64KiB", "100MiB"] }),
  allowEncodedSlash: z.boolean().prefault(false).describe("Let `%2F` through, as data inside a segment."),
  allowSemicolon: z.boolean().prefault(false).describe("Let `;` through, as data inside a segment."),
  allowOverlap: z
    .boolean()
    .prefault(false)
    .describe(
      "On an open route: it may cover a guarded one on the same upstream, which then also wins for paths that differ in case or in trailing `/`, `.` or spaces.",
    ),
});

const cache = z.strictObject({
  maxKeys: count.prefault(100_000).describe("Records kept in memory. Misses are kept apart."),
  fresh: duration.prefault("10s").describe("A record younger than this is used as it is."),
  staleIfError: duration
    .prefault("5m")
    .describe("How long after its last successful look-up a record is used while the source can not be reached."),
  missing: duration.prefault("5s").describe("How long `no such key` is remembered."),
  shared: z
    .boolean()
    .prefault(true)
    .describe("For an http source: share records between instances through Redis, where there is a `redis` section."),
  sharedFresh: duration
    .prefault("60s")
    .describe("For an http source: a shared record younger than this is used as it is."),
});

const source = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("file").describe("A keyring file, all of it in memory."),
    path: text
      .describe("The keyring file, relative to the configuration file. Changes are taken up while running.")
      .meta({ examples: ["./keys.yaml"] }),
  }),
  z.strictObject({ type: z.literal("redis").describe("Records live in the Redis of the `redis` section.") }),
  z.strictObject({
    type: z.literal("http").describe("A key service, asked by hash."),
    url: text
      .describe('Asked with POST and `{"hash": "..."}`; the key itself is never sent.')
      .meta({ examples: ["https://keys.internal/lookup"] }),
    headers: z
      .record(text, secret)
      .prefault({})
      .describe("Sent with each look-up.")
      .meta({ examples: [{ authorization: `Bearer \${KEY_SERVICE_TOKEN}` }] }),
    timeout: positiveDuration.prefault("2s").describe("For one look-up."),
  }),
]);

const hosts = z
  .array(text)
  .min(1)
  .describe("`host:port` of each, or of some: the others are found.")
  .meta({ examples: [["redis-0:26379", "redis-1:26379"]] });
const redisLogin = {
  username: text.optional().describe("The user of Redis' access lists."),
  password: secret.optional().describe("The password of that user, or the server's."),
  tls: z.boolean().prefault(false).describe("Connect with TLS; the certificate is always verified."),
};

const redis = z.strictObject({
  url: secret
    .optional()
    .describe("`redis://` or `rediss://`, with user, password and database if need be.")
    .meta({ examples: ["redis://127.0.0.1:6379", `rediss://:\${REDIS_PASSWORD}@redis.internal:6380/1`] }),
  sentinels: z
    .strictObject({
      name: text.describe("What the sentinels call the master.").meta({ examples: ["mymaster"] }),
      hosts,
      ...redisLogin,
    })
    .optional()
    .describe("Redis' own sentinels, in place of `url`: the master's name and where they are."),
  cluster: z
    .strictObject({ hosts, ...redisLogin })
    .optional()
    .describe("A Redis cluster, in place of `url`."),
  keyPrefix: z.string().max(200).prefault("sentinel:").describe("What every key in Redis starts with."),
  commandTimeout: positiveDuration
    .prefault("500ms")
    .describe("A command that takes longer counts as Redis being out of reach."),
});

const override = z.strictObject({
  status: z.number().int().min(400).max(599).optional().describe("The HTTP status, 400 to 599."),
  title: text.optional().describe("The envelope's `title`."),
  detail: text.optional().describe("The envelope's `detail`."),
  type: text.optional().describe("The envelope's `type`, taken as it stands: `typeBase` is not put in front."),
});

const limits = z.strictObject({
  headerTimeout: positiveDuration.prefault("10s").describe("To send the whole header block. 408 after it."),
  requestTimeout: positiveDuration
    .prefault("60s")
    .describe("To send the whole request, body included. 408 after it. No limit on the answer."),
  idleTimeout: positiveDuration.prefault("75s").describe("A connection without a request is closed after it."),
  headerBytes: positiveSize.prefault("16KiB").describe("All header lines together. More is 431."),
  headerLines: count.max(1000).prefault(100).describe("More header lines are 431."),
  targetBytes: positiveSize.prefault("8KiB").describe("The request target. More is 414."),
  maxConnections: count.prefault(10_000).describe("Or what the descriptors allow, if that is less."),
  maxPipelined: count.prefault(100).describe("Requests waiting on one connection."),
  maxInFlight: count.prefault(10_000).describe("Requests in progress at once, in each process. More are 503."),
  maxEventLoopDelay: duration
    .prefault("200ms")
    .describe("New requests are 503 while the process is later than this, three times in a row; `0ms`: never."),
});

export const configSchema = z.strictObject({
  listen: z
    .string("must be host:port such as 0.0.0.0:8080")
    .min(1, "must not be empty")
    .prefault("0.0.0.0:8080")
    .describe("Where clients connect: `host:port`.")
    .meta({ examples: ["0.0.0.0:8080", "[::]:8080"] }),
  admin: z
    .strictObject({
      listen: z
        .string("must be host:port such as 127.0.0.1:9090, or unix:/path")
        .min(1, "must not be empty")
        .prefault("127.0.0.1:9090")
        .describe("`host:port`, or `unix:/path` for a socket.")
        .meta({ examples: ["127.0.0.1:9090", "unix:/run/sentinel.sock"] }),
    })
    .prefault({})
    .describe("/livez, /readyz and /metrics, never on the client port."),
  workers: z
    .union([count.max(256), z.literal("auto")])
    .prefault(1)
    .describe("Processes that share the listener. `auto` is one per CPU."),
  tls: z
    .strictObject({
      cert: secret.describe("The certificate chain (PEM)."),
      key: secret.describe("Its private key (PEM)."),
    })
    .optional()
    .describe("Serve HTTPS. Renewed files are taken up."),
  trustedProxies: z
    .array(text)
    .prefault([])
    .describe("CIDRs or addresses whose X-Forwarded-* are believed.")
    .meta({ examples: [["10.0.0.0/8", "fd00::/8"]] }),
  limits: limits.prefault({}).describe("What one client may take."),
  drain: z
    .strictObject({
      delay: duration.prefault("5s").describe("Not ready, but still accepting: time for load balancers to notice."),
      timeout: duration.prefault("20s").describe("For what runs to finish."),
    })
    .prefault({})
    .describe("What SIGTERM does."),
  log: z
    .strictObject({
      level: z
        .enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"])
        .prefault("info")
        .describe("The least severe level that is written."),
      format: z
        .enum(["auto", "json", "pretty"])
        .prefault("auto")
        .describe("`auto` is pretty on a terminal and JSON elsewhere."),
      sampleSuccess: z
        .number()
        .min(0)
        .max(1)
        .prefault(1)
        .describe("The share of 2xx and 3xx answers that is logged, from 0 to 1. Others always are."),
    })
    .prefault({})
    .describe("The access log and everything else that is logged, on stdout."),
  serverTiming: z
    .boolean()
    .prefault(false)
    .describe("Add `Server-Timing` to every answer: the gateway's own share and the upstream's, in milliseconds."),
  keys: z
    .strictObject({
      prefix: z
        .string()
        .max(64)
        .regex(/^[A-Za-z0-9_-]*$/, "must be letters, digits, _ and -: keys hold nothing else")
        .prefault("unkey_")
        .describe('What a root key starts with. "" accepts any.'),
      source: source.describe("Where key records come from."),
      cache: cache.prefault({}).describe("For redis and http sources. The file source is all in memory."),
    })
    .describe("Root keys: what they look like and where their records are."),
  redis: redis
    .optional()
    .describe(
      "For a redis source, and for an http source's shared records. Exactly one of `url`, `sentinels`, `cluster`.",
    ),
  errors: z
    .strictObject({
      typeBase: text
        .prefault("https://unkey.com/docs/errors")
        .describe("What the envelope's `type` begins with.")
        .meta({ examples: ["https://unkey.com/docs/api-reference/errors-v2"] }),
      overrides: z
        .record(text, override)
        .prefault({})
        .describe("By whole code, as docs/errors.md lists them.")
        .meta({ examples: [{ "err:sentinel:routing:route_not_found": { detail: "There is nothing here" } }] }),
    })
    .prefault({})
    .describe("How refusals are worded."),
  upstreams: z.array(upstreamSchema).min(1).describe("Services behind the gateway."),
  routes: z
    .array(routeSchema)
    .min(1)
    .describe("Which requests go where, and who may send them. The most specific route wins, whatever the order."),
});

/**
 * The configuration as `load.ts` gives it: durations in milliseconds, sizes in bytes, defaults filled in, secrets read
 * from their files, file names absolute.
 */
export type Config = z.output<typeof configSchema>;
export type UpstreamConfig = Config["upstreams"][number];
export type RouteConfig = Config["routes"][number];
export type RedisConfig = NonNullable<Config["redis"]>;
