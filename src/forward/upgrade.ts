import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { formatFields, formatStatusLine } from "../answer.ts";
import type { Exchange } from "../exchange.ts";
import { HeldBytes } from "../held-bytes.ts";
import type { Admission, ForwardDone, Tunnel } from "./forwarder.ts";
import { Forwarding, type ForwardingDeps } from "./forwarding.ts";
import { OneWay } from "./one-way.ts";
import { resetSocket } from "./reset-socket.ts";
import { buildResponseHeaders, fieldProblem } from "./response-headers.ts";
import type { Upstream } from "./upstreams.ts";

/** How long the other side of a tunnel may take to close, once one has. Milliseconds. */
const LINGER_MS = 1000;
/** RFC 6455 section 1.3. */
const WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

export interface ClientSide {
  readonly socket: Duplex;
  /** What the client sent beyond its handshake. */
  readonly early: Buffer;
  readonly tunnels: Set<Tunnel>;
}

/**
 * A WebSocket handshake on its way: an exchange like any other until the upstream's 101. Any other answer is relayed as
 * such, and what the client sent beyond its handshake goes nowhere: it may have been meant as a request.
 */
export class Handshake extends Forwarding {
  private readonly client: ClientSide;
  private readonly early: HeldBytes;

  constructor(
    exchange: Exchange,
    admission: Admission,
    upstream: Upstream,
    done: ForwardDone,
    deps: ForwardingDeps,
    client: ClientSide,
  ) {
    super(exchange, admission, upstream, done, deps);
    this.client = client;
    this.early = new HeldBytes(client.socket);
  }

  override start(): void {
    const { socket, early } = this.client;
    if (early.length > 0) this.onEarly(early);
    // A socket that is not read does not show that its client is gone.
    socket.on("data", this.onEarly);
    socket.on("end", this.onClientEnd);
    socket.on("error", ignore);
    // Node's server has let go of the socket, and so tells the response nothing.
    socket.on("drain", this.onClientDrain);
    // It was paused where the handshake had to wait for an answer before it.
    socket.resume();
    super.start();
  }

  override onUpgrade(headers: readonly string[], socket: Socket, rest: Buffer): void {
    // Under TLS an error does not end the socket by itself.
    socket.on("error", () => socket.destroy());
    const problem = handshakeProblem(headers, this.exchange.head?.rawHeaders ?? []) ?? fieldProblem(headers);
    const built = buildResponseHeaders(headers, { via: this.deps.via, status: 101, canChunk: false });
    if (this.over || problem !== null || typeof built === "string") {
      socket.destroy();
      if (!this.over) this.refuseAnswer(problem ?? "a 101 that is not clean");
      return;
    }
    const { exchange, idleMs } = this;
    exchange.status = 101;
    this.over = true;
    this.endTrace(null);
    this.letGo();
    const { tunnels, socket: client } = this.client;
    const first = Buffer.concat([Buffer.from(formatSwitching(built.list(exchange.requestId)), "latin1"), rest]);
    exchange.bytesOut += rest.length;
    client.write(first);
    const tunnel = new OpenTunnel(exchange, this.admission, { client, upstream: socket, idleMs }, () => {
      tunnels.delete(tunnel);
      exchange.upstreamEndedAt = this.deps.now();
      this.tell({ kind: "answered" });
    });
    tunnels.add(tunnel);
    // The tunnel sees for itself when its client leaves, and lets the upstream have what was said before.
    exchange.forwarding = null;
    tunnel.open(this.early.take());
  }

  protected override get upgrades(): boolean {
    return true;
  }

  private readonly onEarly = (chunk: Buffer): void => {
    if (this.over) return;
    this.early.hold(chunk);
  };

  /** A client that ends its side has given up its handshake. */
  private readonly onClientEnd = (): void => {
    if (!this.over) this.client.socket.destroy();
  };

  private readonly onClientDrain = (): void => {
    this.exchange.response.emit("drain");
  };

  private letGo(): void {
    const { socket } = this.client;
    socket.off("data", this.onEarly);
    socket.off("end", this.onClientEnd);
    socket.off("drain", this.onClientDrain);
  }
}

interface Sides {
  readonly client: Duplex;
  readonly upstream: Duplex;
  /** Milliseconds without a byte in either direction that end it; 0 never. */
  readonly idleMs: number;
}

/** Two sockets that carry each other's bytes until one of them ends. */
class OpenTunnel implements Tunnel {
  readonly exchange: Exchange;
  readonly admission: Admission;
  private readonly sides: Sides;
  private readonly onClosed: () => void;
  private readonly up: OneWay;
  private readonly down: OneWay;
  private idle: NodeJS.Timeout | null = null;
  private linger: NodeJS.Timeout | null = null;
  private closed = false;

  constructor(exchange: Exchange, admission: Admission, sides: Sides, onClosed: () => void) {
    this.exchange = exchange;
    this.admission = admission;
    this.sides = sides;
    this.onClosed = onClosed;
    const { client, upstream } = sides;
    this.up = new OneWay(client, upstream, (bytes) => {
      exchange.bytesIn += bytes;
    });
    this.down = new OneWay(upstream, client, (bytes) => {
      exchange.bytesOut += bytes;
    });
  }

  /** `early` is what the client said before the tunnel was open. */
  open(early: Buffer): void {
    const { client, upstream, idleMs } = this.sides;
    if (idleMs > 0) {
      this.idle = setTimeout(() => this.close(), idleMs);
      this.idle.unref();
    }
    for (const [side, way] of [
      [client, this.up],
      [upstream, this.down],
    ] as const) {
      side.on("data", (chunk: Buffer) => {
        this.idle?.refresh();
        way.carry(chunk);
      });
      // A WebSocket has no use for a connection that is half closed.
      side.on("end", () => this.closeAfter(way));
      side.on("close", () => this.closeAfter(way));
      side.resume();
    }
    if (early.length > 0) this.up.carry(early);
  }

  close(): void {
    const { client, upstream } = this.sides;
    client.destroy();
    upstream.destroy();
    this.finish();
  }

  /** One side has ended: what it said before is delivered, then the other is closed too, in good time. */
  private closeAfter(way: OneWay): void {
    way.end();
    const { client, upstream } = this.sides;
    if (client.destroyed && upstream.destroyed) this.finish();
    // A client may be slow to take what the upstream said last: as with any answer, only silence ends that.
    else if (way === this.down && !client.destroyed && !client.writableFinished) {
      client.once("finish", () => this.lingerOn());
    } else this.lingerOn();
  }

  private lingerOn(): void {
    if (this.linger !== null || this.closed) return;
    this.linger = setTimeout(() => this.cut(), LINGER_MS);
    this.linger.unref();
  }

  /** What is with the kernel it still delivers, but not behind a reset: that is for a side that did not take all. */
  private cut(): void {
    for (const side of [this.sides.client, this.sides.upstream]) if (!side.writableFinished) resetSocket(side);
    this.close();
  }

  private finish(): void {
    if (this.closed) return;
    this.closed = true;
    if (this.idle !== null) clearTimeout(this.idle);
    if (this.linger !== null) clearTimeout(this.linger);
    this.onClosed();
  }
}

/** What is wrong with an upstream's 101 (RFC 6455 section 4.1), or null. */
function handshakeProblem(answer: readonly string[], request: readonly string[]): string | null {
  const upgrade = valuesOf(answer, "upgrade");
  if (upgrade.length !== 1 || upgrade[0]!.toLowerCase() !== "websocket") return "a 101 to another protocol";
  const options = valuesOf(answer, "connection").flatMap((value) => value.toLowerCase().split(","));
  if (!options.some((option) => option.trim() === "upgrade")) return "a 101 without Connection: Upgrade";
  const keys = valuesOf(request, "sec-websocket-key");
  const accepts = valuesOf(answer, "sec-websocket-accept");
  if (keys.length !== 1 || accepts.length !== 1 || accepts[0] !== acceptFor(keys[0]!)) {
    return "a 101 that does not answer this handshake";
  }
  return null;
}

function acceptFor(key: string): string {
  return createHash("sha1").update(`${key}${WEBSOCKET_GUID}`, "latin1").digest("base64");
}

function valuesOf(raw: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (let at = 0; at < raw.length; at += 2) if (raw[at]!.toLowerCase() === name) values.push(raw[at + 1]!);
  return values;
}

function formatSwitching(headers: readonly string[]): string {
  const own = formatFields(["Connection", "Upgrade", "Upgrade", "websocket"]);
  return `${formatStatusLine(101, "Switching Protocols")}${own}${formatFields(headers)}\r\n`;
}

function ignore(): void {}
