import { once } from "node:events";
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { connect, type Server } from "node:net";
import type { ListenAddress } from "../config/addresses.ts";

/** Resolves with the address it listens on, as `http://127.0.0.1:9090` or `unix:/path`. Rejects with the system's error. */
export async function listen(server: Server, address: ListenAddress): Promise<string> {
  if (address.kind === "unix") await removeStaleSocket(address.path);
  server.listen(address.kind === "unix" ? { path: address.path } : { host: address.host, port: address.port });
  await once(server, "listening");
  if (address.kind === "unix") {
    chmodSync(address.path, 0o660);
    return `unix:${address.path}`;
  }
  return formatAddress(server);
}

function formatAddress(server: Server): string {
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new TypeError("not listening on a port");
  return `http://${bound.family === "IPv6" ? `[${bound.address}]` : bound.address}:${bound.port}`;
}

/** A process that was killed leaves its socket's file. One that still answers is in use, and listening fails. */
async function removeStaleSocket(path: string): Promise<void> {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket()) return;
  const socket = connect(path);
  try {
    await once(socket, "connect");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ECONNREFUSED") unlinkSync(path);
  } finally {
    socket.destroy();
  }
}
