import { BlockList } from "node:net";
import { afterEach, beforeEach, expect } from "vitest";
import type { Exchange } from "../../src/exchange.ts";
import { CATALOGUE } from "../../src/faults/catalogue.ts";
import { type Fault, isFault } from "../../src/faults/fault.ts";
import { createForwarder } from "../../src/forward/forward.ts";
import type { Admission, Forwarder, ForwardOutcome, UpstreamEngine } from "../../src/forward/forwarder.ts";
import {
  createUpstreams,
  type UpstreamSettings,
  type Upstreams,
  type UpstreamsDeps,
} from "../../src/forward/upstreams.ts";
import { readHead } from "../../src/head.ts";
import { readBody } from "../../src/inbound/body.ts";
import { Listener, type ListenerLimits, type RequestHandler } from "../../src/inbound/listener.ts";
import type { Route } from "../../src/routes/route.ts";
import { type RawConnection, type RawServer, rawClient, rawServer, type Script, Watch } from "./support.ts";

export const VIA = "1.1 sentinel (test)";

const LIMITS: ListenerLimits = {
  headerTimeout: 5000,
  requestTimeout: 0,
  idleTimeout: 30_000,
  headerBytes: 16 * 1024,
  targetBytes: 8 * 1024,
  maxConnections: 1000,
  maxPipelined: 100,
};

export interface RigOptions {
  readonly engine: UpstreamEngine;
  readonly upstream: UpstreamSettings;
  readonly route?: Partial<Route>;
  readonly deps?: UpstreamsDeps;
  /** What `{body...}` read of the body, in place of letting it stream. */
  readonly readBody?: boolean;
  readonly record?: Admission["record"];
  readonly trustedProxies?: BlockList;
}

/**
 * What the tests of a describe block forward between. Each test has an engine of its own; what it opened is closed behind
 * it.
 */
export function forwardParts(createEngine: () => UpstreamEngine) {
  let engine: UpstreamEngine;
  const closing: { close(): void }[] = [];

  beforeEach(() => {
    engine = createEngine();
  });

  afterEach(() => {
    engine.close();
    for (const each of closing.splice(0)) each.close();
  });

  return {
    async upstream(script?: Script): Promise<RawServer> {
      const server = await rawServer(script);
      closing.push(server);
      return server;
    },

    async rig(options: Omit<RigOptions, "engine">): Promise<ForwardRig> {
      const started = await new ForwardRig({ engine, ...options }).start();
      closing.push(started);
      return started;
    },

    async client(to: ForwardRig): Promise<RawConnection> {
      const connection = await rawClient(to.port);
      closing.push({ close: () => connection.socket.destroy() });
      return connection;
    },
  };
}

/** The forwarder behind the real listener, every request admitted: the gateway without its decision. */
export class ForwardRig extends Watch implements RequestHandler {
  readonly forwarder: Forwarder;
  readonly upstreams: Upstreams;
  readonly exchanges: Exchange[] = [];
  readonly outcomes: ForwardOutcome[] = [];
  readonly over: Exchange[] = [];
  readonly listener: Listener;
  port = 0;
  private readonly options: RigOptions;
  private readonly route: Route;

  constructor(options: RigOptions) {
    super();
    this.options = options;
    this.route = routeTo(options.upstream.name, options.route);
    this.forwarder = createForwarder({ engine: options.engine, via: VIA });
    this.upstreams = createUpstreams([options.upstream], options.engine, options.deps);
    const trusted = options.trustedProxies ?? new BlockList();
    this.listener = new Listener({ limits: LIMITS, tls: null, trustedProxies: () => trusted, handler: this });
  }

  async start(): Promise<this> {
    this.port = (await this.listener.listen({ port: 0, host: "127.0.0.1" })).port;
    return this;
  }

  close(): void {
    this.upstreams.close();
    this.forwarder.close();
    void this.listener.destroyConnections();
    void this.listener.close();
  }

  /** Waits for the n-th exchange to be over, and says how forwarding it ended (null: it was told of no end). */
  async ending(count = 1): Promise<{ exchange: Exchange; outcome: ForwardOutcome | null }> {
    await this.until(() => this.over.length >= count);
    return { exchange: this.over[count - 1]!, outcome: this.outcomes[count - 1] ?? null };
  }

  handle(exchange: Exchange): void {
    this.exchanges.push(exchange);
    const { client } = exchange;
    const limits = { headerLines: 100, headerBytes: 16_384, targetBytes: 8192, viaToken: "test" };
    const head = readHead(client.method!, client.url!, client.httpVersion, client.rawHeaders, limits);
    if (isFault(head)) throw new Error(`the rig is not for requests that are refused: ${head.detail}`);
    exchange.head = head;
    if (head.closeAfter) client.keepAlive = false;
    if (this.options.readBody !== true) {
      this.forward(exchange, null);
      return;
    }
    void readBody(exchange, 1024 * 1024).then((body) => this.forward(exchange, isFault(body) ? null : body));
  }

  handleUpgrade(exchange: Exchange, rest: Buffer): boolean {
    if (!this.route.websocket) return false;
    exchange.upgradeRest = rest;
    this.handle(exchange);
    return true;
  }

  reject(exchange: Exchange, reason: Fault): void {
    exchange.response.shouldKeepAlive = false;
    this.answer(exchange, reason);
  }

  breakOff(exchange: Exchange, reason: Fault): void {
    exchange.forwarding?.abort();
    this.reject(exchange, reason);
  }

  ended(exchange: Exchange): void {
    exchange.forwarding?.abort();
    this.over.push(exchange);
    this.changed();
  }

  dropped(): void {}

  draining(): boolean {
    return false;
  }

  private forward(exchange: Exchange, body: Buffer | null): void {
    const { head, upgradeRest } = exchange;
    const admission: Admission = {
      kind: "admit",
      label: this.options.record == null ? "open" : "allowed",
      route: this.route,
      record: this.options.record ?? null,
      target: head!.target,
      body,
      evidence: { lookup: null, required: null, filled: [] },
    };
    let returned = false;
    const done = (ended: Exchange, outcome: ForwardOutcome) => {
      expect(returned, "told from within forward").toBe(true);
      expect(ended).toBe(exchange);
      this.outcomes.push(outcome);
      this.changed();
      if (outcome.kind === "fault") this.answer(exchange, outcome.fault);
    };
    if (upgradeRest === null) this.forwarder.forward(exchange, admission, this.upstreams, done);
    else {
      const { socket } = exchange.request;
      this.forwarder.upgrade(exchange, admission, this.upstreams, socket, upgradeRest, done);
    }
    returned = true;
  }

  private answer(exchange: Exchange, reason: Fault): void {
    const { response, request } = exchange;
    if (response.headersSent) {
      response.destroy();
      return;
    }
    exchange.status = CATALOGUE[reason.code].status;
    if (!request.complete) response.shouldKeepAlive = false;
    response.writeHead(exchange.status, ["X-Fault", reason.code, "Content-Length", "0"]);
    response.end();
  }
}

export function routeTo(upstream: string, changes: Partial<Route> = {}): Route {
  return {
    name: "all",
    index: 0,
    match: { host: { kind: "any" }, methods: null, path: { kind: "any", text: "", segments: [] }, headers: [] },
    access: { kind: "open" },
    upstream,
    rewrite: null,
    preserveHost: true,
    authorization: "preserve",
    websocket: false,
    timeouts: { connectMs: null, responseMs: null, idleMs: null },
    maxBodyBytes: 10 * 1024 * 1024,
    allowEncodedSlash: false,
    allowSemicolon: false,
    allowOverlap: false,
    ...changes,
  };
}

/** An upstream with plain targets on these ports. */
export function upstreamOn(
  ports: number | readonly number[],
  timeouts: Partial<UpstreamSettings["timeouts"]> = {},
): UpstreamSettings {
  return {
    name: "orders",
    targets: [ports].flat().map((port) => ({
      url: `http://127.0.0.1:${port}`,
      hostname: "127.0.0.1",
      port,
      tls: null,
      weight: 1,
    })),
    timeouts: { connectMs: 2000, responseMs: 5000, idleMs: 5000, ...timeouts },
    healthCheck: null,
  };
}
