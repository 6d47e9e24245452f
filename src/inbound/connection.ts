import type { IncomingMessage, ServerResponse } from "node:http";
import type { BlockList, Socket } from "node:net";
import type { Exchange, Peer } from "../exchange.ts";
import type { Fault } from "../faults/fault.ts";
import { MAX_HELD_BYTES } from "../held-bytes.ts";
import type { PlainConnection } from "./plain-connection.ts";
import type { WaitingUpgrade } from "./waiting-upgrade.ts";

/** How long the rest of a refused request may go on arriving before the connection is cut. */
const LINGER_MS = 1000;

/** What a field costs beyond its bytes, about. */
const FIELD_BYTES = 64;

/**
 * One client connection. Its requests are handled one at a time, in order, however many were sent at once: so answers
 * come in order, an error behind them too, and one connection can not take the gateway for itself.
 */
export class Connection {
  readonly socket: Socket;
  /** The exchange under way; null between requests. */
  active: Exchange | null = null;
  /** Requests that arrived while another was under way, oldest first. */
  readonly waiting: WaitingRequest[] = [];
  /** When its last exchange ended, by `performance.now()`; when it was made, before the first. */
  lastBusyAt = performance.now();
  /** What the parser gave up on, to be answered behind the requests before it. Nothing is read after it. */
  failure: Fault | null = null;
  /** As much waits as may: `maxPipelined` requests, or fewer with large heads. */
  full = false;
  /** A request for another protocol that arrived behind an unfinished one, or the first that is one too many. */
  upgrade: WaitingUpgrade | null = null;
  /** Reads the socket while Node's server does not have it; null from then on. */
  plain: PlainConnection | null = null;
  /** Who is at the other end, as far as the socket tells; made at the first request. */
  peer: SocketPeer | null = null;
  /** The last answer was sent or is being sent: whatever else arrives is nobody's request. */
  closing = false;
  /** Of the heads of those that wait. */
  #waitingBytes = 0;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.destroySoon = () => this.#closeGently();
  }

  get idle(): boolean {
    return this.active === null && this.waiting.length === 0 && this.plain?.busy !== true;
  }

  /** At most so many wait at once. */
  wait(request: IncomingMessage, response: ServerResponse, requestsMax: number): void {
    const { waiting } = this;
    waiting.push({ request, response });
    this.#waitingBytes += headBytes(request);
    this.full = waiting.length >= requestsMax || this.#waitingBytes >= MAX_HELD_BYTES;
  }

  /** The one that waits longest; undefined when none does. */
  nextWaiting(): WaitingRequest | undefined {
    const next = this.waiting.shift();
    if (next === undefined) return undefined;
    this.#waitingBytes -= headBytes(next.request);
    this.full = this.#waitingBytes >= MAX_HELD_BYTES;
    return next;
  }

  /**
   * Ends the connection so that the last answer is received: closing a socket that still has unread bytes resets it,
   * and the client might never see the 401 it is owed (RFC 9112 section 9.6). What still arrives is thrown away.
   */
  #closeGently(): void {
    const { socket } = this;
    this.closing = true;
    if (socket.destroyed) return;
    socket.end();
    socket.resume();
    const cut = setTimeout(() => socket.destroy(), LINGER_MS);
    cut.unref();
    socket.once("close", () => clearTimeout(cut));
    socket.once("end", () => socket.destroy());
  }
}

/** The peer of a socket, and the list by which it was judged: a reload judges anew. */
export interface SocketPeer extends Peer {
  readonly judgedBy: BlockList;
}

interface WaitingRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

function headBytes({ url, rawHeaders }: IncomingMessage): number {
  let bytes = (url?.length ?? 0) + (FIELD_BYTES * rawHeaders.length) / 2;
  for (const text of rawHeaders) bytes += text.length;
  return bytes;
}

const CONNECTION = Symbol("connection");

interface ConnectedSocket extends Socket {
  [CONNECTION]?: Connection;
}

/** The connection that a client's socket stands for; made at the first call. */
export function connectionOf(socket: Socket): Connection {
  const connected = socket as ConnectedSocket;
  connected[CONNECTION] ??= new Connection(socket);
  return connected[CONNECTION];
}
