import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { WebSocketServer } from "ws";

/**
 * An upstream for a run of any length: it keeps nothing of what it was sent, and behaves as the last segment of the
 * path says. What arrives without an identity, though its path is guarded, is counted.
 */
export class SoakUpstream {
  /** Requests that arrived, tries over again included. */
  requests = 0;
  /** Requests to a guarded path without the gateway's principal or without exactly one credential: none may come. */
  readonly unidentified: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor() {
    const tunnels = new WebSocketServer({ noServer: true });
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#server.keepAliveTimeout = 2000;
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("upgrade", (request: IncomingMessage, socket: Socket, rest: Buffer) => {
      this.#identify(request);
      socket.on("error", () => {}); // Clients that reset their tunnel are part of the run.
      tunnels.handleUpgrade(request, socket, rest, (tunnel) => {
        tunnel.on("error", () => {});
        tunnel.on("message", (data, isBinary) => tunnel.send(data, { binary: isBinary }));
      });
    });
    // Requests that were given up in the middle.
    this.#server.on("clientError", (_, socket) => socket.destroy());
  }

  static async start(): Promise<SoakUpstream> {
    const upstream = new SoakUpstream();
    await new Promise<void>((listening) => upstream.#server.listen(0, "127.0.0.1", listening));
    return upstream;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get openConnections(): number {
    return this.#sockets.size;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((closed) => this.#server.close(closed));
  }

  #identify(request: IncomingMessage): void {
    this.requests += 1;
    const credentials = request.rawHeaders.filter((name, i) => i % 2 === 0 && /^authorization$/i.test(name)).length;
    const identified = credentials === 1 && request.headers["x-unkey-principal"] !== undefined;
    if (!identified && !request.url?.startsWith("/public")) {
      this.unidentified.push(`${request.method} ${request.url}`);
    }
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    this.#identify(request);
    request.on("error", () => {}); // Uploads that are given up are part of the run.
    const { socket } = request;
    switch (request.url?.split("/").at(-1)) {
      case "early":
        response.writeHead(403, { connection: "close" }).end("no");
        return;
      case "reset":
        socket.resetAndDestroy();
        return;
      case "garbage":
        socket.end("220 mail.example.com ESMTP\r\n");
        return;
      case "short":
        socket.end("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npartial");
        return;
      case "silent":
        return;
      case "nothing":
        response.writeHead(204).end();
        return;
      case "chunks":
        for (let n = 0; n < 16; n += 1) response.write("x".repeat(4096));
        response.addTrailers({ "x-checksum": "1" });
        response.end();
        return;
      case "endless":
        endless(response);
        return;
      default:
        request.resume();
        request.once("end", () => response.end(`${request.method} ${request.url}`));
    }
  }
}

/** Writes for as long as somebody reads. */
function endless(response: ServerResponse): void {
  response.on("error", () => {}); // The reader leaves: that is its end.
  const more = () => {
    while (!response.destroyed && response.write("x".repeat(16_384)));
  };
  response.on("drain", more);
  more();
}
