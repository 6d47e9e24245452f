import { resolve } from "node:path";
import { type GatewayRecord, type RunningGateway, startGateway } from "./gateway.ts";
import { type SeenRequest, valuesOf } from "./http-parsers.ts";
import { keyringKey } from "./keyring.ts";
import { checkEnvelope, codeOf, compareWithAudit, type Finding, findSecret, summary } from "./oracles.ts";
import { type RawAnswer, RawClient } from "./raw-client.ts";
import {
  answerOk,
  type HeadScript,
  RecordingUpstream,
  type Script,
  type UpstreamConnection,
} from "./recording-upstream.ts";

/** The keys of the rig. Every one is also searched for in everything the gateway says. */
export const KEYS = {
  OK: "unkey_3ZPnKbQmWvRtYhJsDfGxCa",
  RO: "unkey_7LqVwXrTnBkMjHcPzSdFgE",
  EXPIRED: "unkey_9MdRsTfVbGhYnJuKmLpQwZ",
  DISABLED: "unkey_4KcXvBnMqWrTyPsDfGhJkL",
  WORKSPACE_OFF: "unkey_6HgFdSpQwRtYxZcVbNmJkA",
  UNKNOWN: "unkey_5TrEwQyUpAsDfGhJkLzXcV",
} as const;

export type KeyName = keyof typeof KEYS;

/** `Authorization: Bearer <key>` as a header line with its end. */
export function auth(key: KeyName = "OK"): string {
  return `Authorization: Bearer ${KEYS[key]}\r\n`;
}

const ADMIN = "admin.main.use";
const WRITE = "doc.main.write";

export const RIG_KEYRING = {
  workspaces: [
    { id: "ws_on", enabled: true },
    { id: "ws_off", enabled: false },
  ],
  keys: [
    keyringKey("key_ok", KEYS.OK, {
      workspaceId: "ws_on",
      permissions: [ADMIN, WRITE, "api.*.read_api", "api.*.create_key"],
    }),
    keyringKey("key_ro", KEYS.RO, { workspaceId: "ws_on", permissions: ["api.api_1.read_api"] }),
    keyringKey("key_expired", KEYS.EXPIRED, { permissions: [ADMIN], expiresAt: "2020-01-01T00:00:00Z" }),
    keyringKey("key_disabled", KEYS.DISABLED, { permissions: [ADMIN], enabled: false }),
    keyringKey("key_off", KEYS.WORKSPACE_OFF, { workspaceId: "ws_off", permissions: [ADMIN] }),
  ],
} as const;

/** The routes of the rig; every attack is written against these. */
export function rigRoutes(): Record<string, unknown>[] {
  const to = { upstream: "recorder" };
  return [
    { name: "public", match: { pathPrefix: "/public" }, auth: "none", ...to },
    { name: "fence", match: { pathPrefix: "/fence" }, auth: "none", ...to },
    { name: "any", match: { pathPrefix: "/any" }, ...to },
    { name: "admin", match: { pathPrefix: "/admin" }, permissions: ADMIN, ...to },
    {
      name: "write",
      match: { pathPrefix: "/write", methods: ["POST", "PUT", "DELETE", "OPTIONS"] },
      permissions: WRITE,
      ...to,
    },
    { name: "read", match: { pathPrefix: "/only", methods: ["GET"] }, ...to },
    {
      name: "read-api",
      match: { path: "/v2/apis/{apiId}", methods: ["GET"] },
      permissions: "api.{path.apiId}.read_api",
      ...to,
    },
    {
      name: "create-key",
      match: { path: "/v2/keys.createKey", methods: ["POST"] },
      permissions: "api.{body.apiId}.create_key",
      ...to,
    },
    { name: "slash", match: { pathPrefix: "/slash" }, allowEncodedSlash: true, ...to },
    { name: "semicolon", match: { pathPrefix: "/semi" }, allowSemicolon: true, ...to },
    { name: "strip", match: { pathPrefix: "/strip" }, rewrite: { stripPrefix: "/strip" }, ...to },
    { name: "host", match: { host: "api.example.com", path: "/host" }, auth: "none", ...to },
    { name: "small", match: { pathPrefix: "/small" }, maxBodySize: "1KiB", ...to },
    { name: "quick", match: { pathPrefix: "/quick" }, timeouts: { response: "300ms", idle: "300ms" }, ...to },
    { name: "websocket", match: { pathPrefix: "/ws" }, permissions: ADMIN, websocket: true, ...to },
  ];
}

/** What the attack may end in; several are alternatives, as in "400 or forwarded once". */
export interface Outcome {
  /** Answers in order: the status, and the code of the gateway's own. `null`: the connection ends without one. */
  readonly answers: readonly { readonly status: number; readonly code?: string }[];
  /** The gateway ends the connection by itself. */
  readonly closed: boolean;
  /** Requests that reach the upstream. */
  readonly up: number;
}

export interface Attack {
  /** The catalogue's number, and what is claimed. */
  readonly name: string;
  /** Latin1. A function when more than bytes are needed: then it drives the client itself. */
  readonly send: string | ((client: RawClient) => Promise<void>);
  /** Methods of the requests sent, to read the answers by; GET where there are more answers than methods. */
  readonly methods?: readonly string[];
  readonly expect: Outcome | readonly Outcome[];
  readonly upstream?: Script;
  readonly upstreamHead?: HeadScript;
  /** More claims, on what came back and what went up. Throws. */
  readonly claim?: (seen: AttackResult) => void | Promise<void>;
  /** Milliseconds until an answer or a close is due; 4,000 unless given. */
  readonly within?: number;
  /** A retry is expected: the same request may arrive twice. */
  readonly mayRepeat?: boolean;
  /** How the bytes are cut; whole unless given. */
  readonly split?: (index: number) => number;
}

export interface AttackResult {
  readonly answers: readonly RawAnswer[];
  readonly requests: readonly SeenRequest[];
  readonly client: RawClient;
  readonly rig: Rig;
}

/** An answer, then a closed connection, and nothing upstream. */
export function refused(status: number, code?: string): Outcome {
  return { answers: [code === undefined ? { status } : { status, code }], closed: true, up: 0 };
}

/** As `refused`, but the connection may live on: nothing about the framing was wrong. */
export function denied(status: number, code?: string): Outcome[] {
  return [refused(status, code), { ...refused(status, code), closed: false }];
}

/** Forwarded and answered. */
export function served(count = 1, status = 200): Outcome {
  return { answers: Array.from({ length: count }, () => ({ status })), closed: false, up: count };
}

/** Forwarded and answered, and the connection ends. */
export function servedAndClosed(count = 1, status = 200): Outcome {
  return { ...served(count, status), closed: true };
}

/** The request can not be read to its end: 400 or a close, and at most a request that never completes upstream. */
export function brokenOff(...statuses: readonly number[]): Outcome[] {
  const answers = [400, ...statuses].map((status) => [{ status }]);
  return [...answers, []].flatMap((each) => [0, 1].map((up) => ({ answers: each, closed: true, up })));
}

/** The connection ends without a whole answer. */
export function cutOff(up = 1): Outcome {
  return { answers: [], closed: true, up };
}

/** The gateway answers for the upstream. */
export function failed(status: number, code: string): Outcome[] {
  return [true, false].map((closed) => ({ answers: [{ status, code }], closed, up: 1 }));
}

/** A gateway between a raw client and a recorder, and the oracles over both. */
export class Rig {
  readonly gateway: RunningGateway;
  readonly upstream: RecordingUpstream;
  /** The process that counts as "the same process". */
  readonly pid: number;
  /** Every attack comes behind this request, on its connection. It asks for something below `/fence`. */
  first: string | null = null;
  #fence = 0;
  #logged = 0;
  #said = 0;
  readonly #idleSockets: number;
  /** Milliseconds that the audit may lag behind an exchange that broke off. */
  readonly #patienceMs: number;
  /** Clients connect with TLS. */
  readonly #tls: boolean;

  private constructor(gateway: RunningGateway, upstream: RecordingUpstream, patienceMs = 5000, tls = false) {
    this.#patienceMs = patienceMs;
    this.#tls = tls;
    this.gateway = gateway;
    this.upstream = upstream;
    this.pid = gateway.pid;
    this.#idleSockets = gateway.sockets();
  }

  /**
   * Sentinel with the rig's routes; `config` is laid over the configuration, `timeouts` over the upstream's; `others` gives
   * upstreams beside it, which may have its address among their targets.
   */
  static async start(
    config: Readonly<Record<string, unknown>> = {},
    timeouts: Readonly<Record<string, string>> = {},
    others: (recorder: string) => readonly Record<string, unknown>[] = () => [],
  ): Promise<Rig> {
    const upstream = await RecordingUpstream.start();
    const gateway = await startGateway({
      config: {
        upstreams: [
          {
            name: "recorder",
            targets: [upstream.origin],
            timeouts: { connect: "10s", response: "5s", idle: "5s", ...timeouts },
          },
          ...others(upstream.origin),
        ],
        routes: rigRoutes(),
        ...config,
      },
      keyring: RIG_KEYRING,
      expectedErrors: (record) => record.code === "err:sentinel:routing:loop_detected",
    });
    return new Rig(gateway, upstream, undefined, config.tls !== undefined);
  }

  /** The naive gateway with the same routes and keys, on http-proxy or another `library`. */
  static async startNaive(
    sketches: readonly Record<string, unknown>[] = rigRoutes(),
    library = "http-proxy",
  ): Promise<Rig> {
    const upstream = await RecordingUpstream.start();
    const keys = Object.fromEntries(
      RIG_KEYRING.keys
        .slice(0, 2)
        .map((key, index) => [index === 0 ? KEYS.OK : KEYS.RO, { keyId: key.id, permissions: key.permissions }]),
    );
    const routes = sketches.map((route) => {
      const { pathPrefix, path } = route.match as { pathPrefix?: string; path?: string };
      return {
        prefix: pathPrefix ?? path,
        open: route.auth === "none",
        permission: fixedPermission(route.permissions),
      };
    });
    const options = JSON.stringify({ upstream: upstream.origin, keys, routes, library, root: resolve(".") });
    const gateway = await startGateway({
      config: "",
      program: () => [resolve("test/support/naive-gateway.mjs"), options],
      expectedErrors: () => true,
    });
    return new Rig(gateway, upstream, 50);
  }

  connect(): Promise<RawClient> {
    return RawClient.connect(this.gateway.port, { tls: this.#tls });
  }

  /** Runs one attack and every oracle. No findings: the gateway held. */
  async run(attack: Attack): Promise<Finding[]> {
    this.upstream.reset();
    const script = attack.upstream ?? answerOk;
    // The fence is answered plainly whatever the attack's script does.
    this.upstream.script = (request, connection) =>
      request.target.startsWith("/fence") ? answerOk(request) : script(request, connection);
    this.upstream.headScript = attack.upstreamHead ?? this.upstream.headScript;
    const before = new Map(this.upstream.connections.map((each) => [each, each.seen("strict").length]));
    const client = await this.connect().catch(() => null);
    if (client === null) return [{ kind: "crash", what: "the process takes no connection" }];
    try {
      if (this.first !== null) {
        await client.write(this.first);
        await client.answer();
      }
      return await this.#observe(attack, client, before);
    } finally {
      client.destroy();
      this.upstream.reset();
    }
  }

  async #observe(attack: Attack, client: RawClient, before: Before): Promise<Finding[]> {
    const within = attack.within ?? 4000;
    const outcomes = Array.isArray(attack.expect) ? (attack.expect as Outcome[]) : [attack.expect as Outcome];
    const findings: Finding[] = [];
    const sending = send(attack, client);
    const answers = await this.#answers(client, outcomes, attack.methods ?? [], within, findings);
    await sending;
    client.destroy();
    if (!this.gateway.alive) return [...findings, { kind: "crash", what: "the process ended" }];
    findings.push(...(await this.settle(attack.mayRepeat)));
    const requests = this.upstream.connections
      .flatMap((each) => each.seen("strict").slice(before.get(each) ?? 0))
      .filter((each) => !each.target.startsWith("/fence"));
    findings.push(...bestOf(outcomes, answers, client, requests));
    for (const [index, answer] of answers.entries())
      findings.push(...checkEnvelope(answer, attack.methods?.[index] ?? "GET"));
    findings.push(...checkCredentials(requests));
    for (const answer of answers) {
      if (answer.status >= 400) findings.push(...findSecret(answer.body.toString("latin1"), SECRETS));
    }
    try {
      await attack.claim?.({ answers, requests, client, rig: this });
    } catch (error) {
      findings.push({ kind: "claim", what: error instanceof Error ? error.message : String(error) });
    }
    return findings;
  }

  /** O6: an answer or a close in time, for as many answers as expected. */
  async #answers(
    client: RawClient,
    outcomes: readonly Outcome[],
    methods: readonly string[],
    within: number,
    findings: Finding[],
  ): Promise<RawAnswer[]> {
    const answers: RawAnswer[] = [];
    try {
      const most = Math.max(...outcomes.map((outcome) => outcome.answers.length));
      while (answers.length < most) {
        const answer = await client.answer(methods[answers.length] ?? "GET", within);
        if (answer === null) break;
        answers.push(answer);
        if (matching(outcomes, answers).some((outcome) => outcome.answers.length === answers.length)) break;
      }
      const fitting = matching(outcomes, answers).filter((outcome) => outcome.answers.length === answers.length);
      if (fitting.length > 0 && fitting.every(({ closed }) => closed)) await client.closed(within);
    } catch (error) {
      const what = error instanceof Error ? error.message : String(error);
      findings.push({ kind: what.startsWith("not clean") ? "status" : "hang", what });
    }
    return answers;
  }

  /**
   * Sends a request behind everything else and waits until it is answered and logged, then asks the oracles about all
   * that was recorded and said since the last time (O1, O2, O3, O5).
   */
  async settle(mayRepeat = false): Promise<Finding[]> {
    const path = `/fence/${++this.#fence}`;
    const client = await this.connect().catch(() => null);
    if (client === null) return [{ kind: "crash", what: "the process takes no connection" }];
    try {
      await client.write(`GET ${path} HTTP/1.1\r\nHost: fence\r\nConnection: close\r\n\r\n`);
      const status = (await client.answer("GET", 3 * this.#patienceMs))?.status;
      if (status !== 200) throw new Error(`answered ${status}`);
      await this.gateway.waitForRecord((record) => record.path === path, 20_000);
    } catch (error) {
      if (!this.gateway.alive) return [{ kind: "crash", what: "the process ended" }];
      return [{ kind: "hang", what: `a request sent afterwards was not served: ${error}` }];
    } finally {
      client.destroy();
    }
    return [...(await this.#audit(mayRepeat)), ...this.#leaks()];
  }

  /** The audit line of an exchange that broke off can come after the fence; what should match has a second to. */
  async #audit(mayRepeat: boolean): Promise<Finding[]> {
    const compare = () => compareWithAudit(this.upstream, this.#recordsOfOpenConnections(), mayRepeat);
    let findings = compare();
    if (findings.length > 0) {
      await settled(this.gateway, this.#patienceMs, () => {
        findings = compare();
        return findings.length === 0;
      });
    }
    this.#logged = this.gateway.logs().length;
    return findings;
  }

  /** Records since the last audit, and earlier ones of requests on connections that are still open. */
  #recordsOfOpenConnections(): GatewayRecord[] {
    const carried = new Set(this.upstream.requests().flatMap((request) => valuesOf(request, "x-request-id")));
    return this.gateway
      .logs()
      .filter((record, index) => index >= this.#logged || carried.has(String(record.requestId)));
  }

  #leaks(): Finding[] {
    const said = this.gateway.output();
    const fresh = said.slice(Math.max(0, this.#said - 64));
    this.#said = said.length;
    return findSecret(fresh, SECRETS);
  }

  /** O5, at the end: sockets back to what they were, but for those that wait in the pool. */
  async socketsLeft(): Promise<number> {
    const left = () => this.gateway.sockets() - this.#idleSockets - this.upstream.openConnections;
    for (let tries = 0; tries < 100 && left() > 0; tries += 1) await new Promise((done) => setTimeout(done, 30));
    return left();
  }

  async stop(): Promise<void> {
    await this.upstream.stop();
    await this.gateway.stop();
  }
}

/** How many requests each connection had carried before the attack. */
type Before = ReadonlyMap<UpstreamConnection, number>;

const SECRETS = Object.values(KEYS);

async function send(attack: Attack, client: RawClient): Promise<void> {
  if (typeof attack.send === "function") await attack.send(client);
  else if (attack.split !== undefined) await client.writeSplit(attack.send, attack.split);
  else await client.write(attack.send);
}

function matching(outcomes: readonly Outcome[], answers: readonly RawAnswer[]): Outcome[] {
  return outcomes.filter((outcome) =>
    answers.every((answer, index) => answer.status === outcome.answers[index]?.status),
  );
}

/** The findings against the alternative that fits best. */
function bestOf(
  outcomes: readonly Outcome[],
  answers: readonly RawAnswer[],
  client: RawClient,
  requests: readonly SeenRequest[],
): Finding[] {
  const each = outcomes.map((outcome) => compareOutcome(outcome, answers, client, requests));
  return each.reduce((best, findings) => (findings.length < best.length ? findings : best));
}

function compareOutcome(
  outcome: Outcome,
  answers: readonly RawAnswer[],
  client: RawClient,
  requests: readonly SeenRequest[],
): Finding[] {
  const findings: Finding[] = [];
  const statuses = answers.map((answer) => answer.status).join(", ");
  const wanted = outcome.answers.map((answer) => answer.status).join(", ");
  if (statuses !== wanted) findings.push({ kind: "status", what: `answered [${statuses}], not [${wanted}]` });
  for (const [index, { code }] of outcome.answers.entries()) {
    const answer = answers[index];
    if (code === undefined || answer === undefined || answer.body.length === 0) continue;
    if (codeOf(answer) !== code) findings.push({ kind: "envelope", what: `code ${codeOf(answer)}, not ${code}` });
  }
  if (outcome.closed && client.ended === null) findings.push({ kind: "open", what: "the connection was left open" });
  if (requests.length !== outcome.up) {
    findings.push({
      kind: "unauthorised",
      what: `the upstream saw [${requests.map(summary).join("; ")}], not ${outcome.up}`,
    });
  }
  return findings;
}

const OPEN_PREFIXES = ["/public", "/fence", "/host"];

/** O2: on guarded routes exactly one credential, a good one, with the identity that belongs to it; on open ones none. */
export function checkCredentials(requests: readonly SeenRequest[]): Finding[] {
  const findings: Finding[] = [];
  for (const request of requests) {
    const principals = valuesOf(request, "x-unkey-principal");
    const path = request.target.split("?")[0] ?? "";
    if (OPEN_PREFIXES.some((prefix) => path === prefix || path.startsWith(`${prefix}/`))) {
      if (principals.length > 0)
        findings.push({ kind: "credential", what: `an open route got a principal: ${principals}` });
      continue;
    }
    const credentials = valuesOf(request, "authorization");
    const keyId = { [`Bearer ${KEYS.OK}`]: "key_ok", [`Bearer ${KEYS.RO}`]: "key_ro" }[credentials[0] ?? ""];
    if (credentials.length !== 1 || keyId === undefined) {
      findings.push({ kind: "credential", what: `${summary(request)} arrived with ${credentials.length} credentials` });
    }
    if (principals.length !== 1 || !principals[0]?.includes(`"keyId":"${keyId}"`)) {
      findings.push({ kind: "credential", what: `${summary(request)} arrived with the principal [${principals}]` });
    }
  }
  return findings;
}

function fixedPermission(permissions: unknown): string | null {
  return typeof permissions === "string" && !permissions.includes("{") ? permissions : null;
}

/** Waits until `holds`, asked after each record; gives up after `patienceMs`. */
async function settled(gateway: RunningGateway, patienceMs: number, holds: () => boolean): Promise<void> {
  await new Promise<void>((done) => {
    const finish = () => {
      clearTimeout(timer);
      stopListening();
      done();
    };
    const timer = setTimeout(finish, patienceMs);
    const stopListening = gateway.onRecord(() => {
      if (holds()) finish();
    });
    if (holds()) finish();
  });
}
