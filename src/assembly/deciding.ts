import type { Environment } from "../config/environment.ts";
import type { Problem } from "../config/problem.ts";
import type { DecideContext, Verdict } from "../decide.ts";
import type { EnvelopeSettings } from "../faults/envelope.ts";
import { principalOf } from "../forward/principal.ts";
import type { RequestHeadersContext } from "../forward/request-headers.ts";
import { formatAuthority } from "../forward/upstreams.ts";
import type { HeadLimits, RequestHead } from "../head.ts";
import { openKeys } from "./open-keys.ts";
import { headLimits, type Prepared, prepare } from "./prepare.ts";

/** All that a decision takes, without a gateway that runs: what `sentinel explain` asks. */
export interface Deciding extends DecideContext {
  readonly head: HeadLimits;
  readonly errors: EnvelopeSettings;
  /** What the upstream's request head would be built from. */
  headersContext(
    head: RequestHead,
    verdict: Extract<Verdict, { kind: "admit" }>,
    requestId: string,
  ): RequestHeadersContext;
  close(): Promise<void>;
}

/** Stands where a running instance would have its own random name. */
const INSTANCE = "explain";

/** Opens the configuration and its key source, or tells every mistake in it. */
export async function openDeciding(
  configPath: string,
  env: Environment,
): Promise<
  { readonly ok: true; readonly deciding: Deciding } | { readonly ok: false; readonly problems: readonly Problem[] }
> {
  const prepared = await prepare(configPath, env);
  if (!prepared.ok) return prepared;
  const { config, compiled, keyring } = prepared;
  const keys = await openKeys(config, compiled.redis, keyring, { metrics: UNHEARD, log: () => {}, instance: null });
  const deciding: Deciding = {
    table: compiled.table,
    keys: keys.source,
    keyPrefix: config.keys.prefix,
    now: Date.now,
    head: headLimits(config, INSTANCE),
    errors: compiled.errors,
    headersContext: (head, verdict, requestId) => contextOf(prepared, head, verdict, requestId),
    close: () => keys.source.close(),
  };
  return { ok: true, deciding };
}

const UNHEARD = { lookup: () => {}, redisUp: () => {}, revocationLag: () => {} };

/** Whoever asks is on this machine. */
const ASKED_FROM = "127.0.0.1";

/** As if the client had connected from there. */
function contextOf(
  { config, compiled }: Prepared,
  head: RequestHead,
  { route, record, body }: Extract<Verdict, { kind: "admit" }>,
  requestId: string,
): RequestHeadersContext {
  const target = compiled.upstreams.find(({ name }) => name === route.upstream)?.targets[0];
  const { listen } = compiled;
  return {
    requestId,
    via: `1.1 sentinel (${INSTANCE})`,
    clientIp: ASKED_FROM,
    trustedPeer: compiled.trustedProxies.check(ASKED_FROM, "ipv4"),
    peerAddress: ASKED_FROM,
    scheme: config.tls === undefined ? "http" : "https",
    port: listen.kind === "tcp" ? listen.port : 0,
    authority: target === undefined ? "" : formatAuthority(target),
    preserveHost: route.preserveHost,
    authorization: route.authorization,
    principal: route.access.kind === "open" || record === null ? null : principalOf(record),
    body: body === null ? head.body : { kind: "length", bytes: body.length },
    upgrade: head.upgradeWebSocket && route.websocket,
  };
}
