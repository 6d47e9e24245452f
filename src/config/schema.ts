import { z } from "zod";
import { DURATION_PATTERN, parseDuration, parseSize, SIZE_PATTERN } from "./units.ts";

/**
 * The configuration as it is written (contract section 2). Types, defaults and descriptions live here;
 * `config/sentinel.schema.json`, `docs/configuration.md` and the loader's messages derive from it. Durations come out
 * as milliseconds, sizes as bytes. Mistakes that involve two members are found by `compile.ts`.
 */

const duration = z
  .string()
  .regex(DURATION_PATTERN, "must be a duration such as 250ms, 10s, 5m or 24h")
  .transform((text) => parseDuration(text) ?? 0);
const size = z
  .string()
  .regex(SIZE_PATTERN, "must be a size such as 512B, 64KiB or 1MiB")
  .transform((text) => parseSize(text) ?? 0);
const text = z.string().min(1, "must not be empty");
const count = z.number().int().min(1);

/** A string that may hold a secret: written in place, or the name of a file that holds it (its last line end is dropped). */
const secret = z.union([text, z.strictObject({ file: text.describe("A file that holds the value.") })]);

const timeouts = z.strictObject({
  connect: duration.prefault("2s").describe("To connect to a target, TLS included."),
  response: duration.prefault("30s").describe("From the request to the first byte of the answer's body."),
  idle: duration.prefault("60s").describe("Between two bytes, in either direction."),
});

const upstreamTls = z.strictObject({
  ca: secret.optional().describe("The certificate authority to trust, in place of the system's."),
  cert: secret.optional().describe("The client certificate to present."),
  key: secret.optional().describe("The key of the client certificate."),
  serverName: text.optional().describe("The name to verify and to send as SNI; the target's host unless given."),
});

const target = z.union([
  text.describe("`http://host:port` or `https://host:port`."),
  z.strictObject({
    url: text.describe("`http://host:port` or `https://host:port`."),
    weight: count.max(1000).prefault(1).describe("Its share of the requests, beside the other targets' weights."),
  }),
]);

const upstream = z.strictObject({
  name: text.describe("What routes and metrics call it."),
  targets: z.array(target).min(1).describe("Where it runs; requests go round robin over the healthy ones."),
  timeouts: timeouts.prefault({}).describe("Limits on each exchange."),
  tls: upstreamTls.optional().describe("For `https://` targets. The certificate is always verified."),
  healthCheck: z
    .strictObject({
      path: text.describe("Asked for with GET; any 2xx is healthy."),
      interval: duration.prefault("5s").describe("Between two checks."),
      timeout: duration.prefault("2s").describe("For one check."),
    })
    .optional()
    .describe("Active checks of each target. Five failures in a row of ordinary requests also put a target out."),
});

const route = z.strictObject({
  name: text.describe("What logs, metrics and `sentinel explain` call it."),
  match: z
    .strictObject({
      host: text.optional().describe("Exact, or `*.example.com` for one label or more in front; the port is ignored."),
      methods: z.array(text).min(1).optional().describe("Upper case. GET covers HEAD. Absent: every method."),
      path: text.optional().describe("The whole path; `{name}` stands for one non-empty segment."),
      pathPrefix: text
        .optional()
        .describe("A prefix that ends on a segment: `/a` covers `/a`, `/a/`, `/a/b`, never `/ab`."),
      headers: z
        .record(text, z.string())
        .optional()
        .describe("Fields that must be there once, with exactly this value."),
    })
    .prefault({})
    .describe("Which requests it takes. Absent members match anything."),
  auth: z.literal("none").optional().describe("`none` lets anyone pass. A route that does not say so needs a key."),
  permissions: text.optional().describe("What the key must be granted: tuples joined by AND, OR and parentheses."),
  upstream: text.describe("The name of an upstream."),
  rewrite: z
    .union([z.strictObject({ stripPrefix: text }), z.strictObject({ addPrefix: text })])
    .optional()
    .describe("Takes a prefix off the path, or puts one in front."),
  preserveHost: z.boolean().prefault(true).describe("Send the client's Host; false sends the target's."),
  authorization: z.enum(["preserve", "strip"]).prefault("preserve").describe("Whether Authorization goes upstream."),
  websocket: z.boolean().prefault(false).describe("Let WebSocket connections through."),
  timeouts: z
    .strictObject({ connect: duration.optional(), response: duration.optional(), idle: duration.optional() })
    .prefault({})
    .describe("In place of the upstream's."),
  maxBodySize: size
    .optional()
    .describe("More is 413. 10MiB unless given; 1MiB where a permission takes an id from the body."),
  allowEncodedSlash: z.boolean().prefault(false).describe("Let `%2F` through, as data inside a segment."),
  allowSemicolon: z.boolean().prefault(false).describe("Let `;` through, as data inside a segment."),
  allowOverlap: z.boolean().prefault(false).describe("On an open route: it may cover a guarded one."),
});

const cache = z.strictObject({
  maxKeys: count.prefault(100_000).describe("Records kept in memory. Misses are kept apart."),
  fresh: duration.prefault("10s").describe("A record younger than this is used as it is."),
  staleIfError: duration.prefault("5m").describe("... and used this long when the source can not be reached."),
  missing: duration.prefault("5s").describe("How long `no such key` is remembered."),
  shared: z.boolean().prefault(true).describe("For an http source: share records between instances through Redis."),
  sharedFresh: duration
    .prefault("60s")
    .describe("For an http source: a shared record younger than this is used as it is."),
});

const source = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("file"), path: text.describe("The keyring file; hot-reloaded.") }),
  z.strictObject({ type: z.literal("redis") }),
  z.strictObject({
    type: z.literal("http"),
    url: text.describe('Asked with POST and `{"hash": "..."}`.'),
    headers: z.record(text, secret).prefault({}).describe("Sent with each look-up."),
    timeout: duration.prefault("2s").describe("For one look-up."),
  }),
]);

const redisPassword = { username: text.optional(), password: secret.optional() };

const redis = z.strictObject({
  url: secret.optional().describe("`redis://` or `rediss://`, with user, password and database if need be."),
  sentinels: z
    .strictObject({ name: text, hosts: z.array(text).min(1), tls: z.boolean().prefault(false), ...redisPassword })
    .optional()
    .describe("Redis' own sentinels: the master's name and `host:port` of each."),
  cluster: z
    .strictObject({ hosts: z.array(text).min(1), tls: z.boolean().prefault(false), ...redisPassword })
    .optional()
    .describe("A Redis cluster: `host:port` of some of its nodes."),
  keyPrefix: z.string().prefault("sentinel:").describe("What every key in Redis starts with."),
  commandTimeout: duration.prefault("500ms").describe("After this Redis counts as out of reach."),
});

const override = z.strictObject({
  status: z.number().int().min(400).max(599).optional(),
  title: text.optional(),
  detail: text.optional(),
  type: text.optional(),
});

export const configSchema = z.strictObject({
  listen: text.prefault("0.0.0.0:8080").describe("Where clients connect: `host:port`."),
  admin: z
    .strictObject({
      listen: text.prefault("127.0.0.1:9090").describe("`host:port`, or `unix:/path` for a socket."),
    })
    .prefault({})
    .describe("/livez, /readyz and /metrics, never on the client port."),
  workers: z
    .union([count.max(256), z.literal("auto")])
    .prefault(1)
    .describe("Processes that share the listener; `auto` is one per CPU."),
  tls: z
    .strictObject({ cert: secret.describe("The certificate chain."), key: secret.describe("Its private key.") })
    .optional()
    .describe("Serve HTTPS. Renewed files are taken up."),
  trustedProxies: z.array(text).prefault([]).describe("CIDRs whose X-Forwarded-* are believed."),
  limits: z
    .strictObject({
      headerTimeout: duration.prefault("10s").describe("To send the whole header block; 408 after it."),
      requestTimeout: duration.prefault("60s").describe("To send the whole request, body included; 408 after it."),
      idleTimeout: duration.prefault("75s").describe("A connection without a request is closed after it."),
      headerBytes: size.prefault("16KiB").describe("More is 431."),
      headerLines: count.max(1000).prefault(100).describe("More is 431."),
      targetBytes: size.prefault("8KiB").describe("More is 414."),
      maxConnections: count.prefault(10_000).describe("Or what the descriptors allow, if that is less."),
      maxPipelined: count.prefault(100).describe("Requests waiting on one connection."),
    })
    .prefault({})
    .describe("What one client may take."),
  drain: z
    .strictObject({
      delay: duration.prefault("5s").describe("Not ready, but still accepting: time for load balancers to notice."),
      timeout: duration.prefault("20s").describe("For what runs to finish."),
    })
    .prefault({})
    .describe("What SIGTERM does."),
  log: z
    .strictObject({
      level: z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]).prefault("info"),
      format: z
        .enum(["auto", "json", "pretty"])
        .prefault("auto")
        .describe("auto: pretty on a terminal, JSON elsewhere."),
      sampleSuccess: z
        .number()
        .min(0)
        .max(1)
        .prefault(1)
        .describe("Share of 2xx and 3xx that is logged; others always are."),
    })
    .prefault({})
    .describe("The access log and the rest, on stdout."),
  keys: z
    .strictObject({
      prefix: z.string().max(64).prefault("unkey_").describe('What a root key starts with; "" accepts any.'),
      source: source.describe("Where key records come from."),
      cache: cache.prefault({}).describe("For redis and http sources; the file source is all in memory."),
    })
    .describe("Root keys."),
  redis: redis.optional().describe("For a redis source, and for an http source's shared records."),
  errors: z
    .strictObject({
      typeBase: text.prefault("https://unkey.com/docs/errors").describe("What the envelope's `type` begins with."),
      overrides: z
        .record(text, override)
        .prefault({})
        .describe("By whole code, e.g. `err:unkey:authentication:missing`."),
    })
    .prefault({})
    .describe("How refusals are worded."),
  upstreams: z.array(upstream).min(1).describe("Services behind the gateway."),
  routes: z.array(route).min(1).describe("The most specific route wins, whatever the order."),
});

/** The configuration after defaults: durations in milliseconds, sizes in bytes, secrets not yet read from files. */
export type Config = z.output<typeof configSchema>;
export type UpstreamConfig = Config["upstreams"][number];
export type RouteConfig = Config["routes"][number];
export type RedisConfig = NonNullable<Config["redis"]>;
export type CacheConfig = Config["keys"]["cache"];
/** A string, or the file that holds it; `load.ts` replaces every one of them by the string itself. */
export type Secret = z.output<typeof secret>;
