import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";

/**
 * Ends a connection by a reset, so that its peer can not take the end for a proper one. Under TLS an end without
 * `close_notify` says as much, and node can not reset.
 */
export function resetSocket(socket: Duplex): void {
  if (socket instanceof Socket && (socket as TLSSocket).encrypted !== true) socket.resetAndDestroy();
  else socket.destroy();
}

/**
 * Whether a connection that was open is gone on both sides: the kernel keeps no peer for one that was reset. Asked for the
 * first time only: a socket remembers what it has once said. Under TLS it is always no: there a reset may follow a proper end.
 */
export function hasNoPeer(socket: Socket): boolean {
  return (socket as TLSSocket).encrypted !== true && socket.remoteAddress === undefined;
}

/**
 * Tells what came first on a connection that has no peer any more: its end, or the reset. What is written to it is sent to
 * nobody, and the kernel says EPIPE only where it had ended before.
 */
export function tellWhetherReset(socket: Socket, tell: (reset: boolean) => void): void {
  // Behind an end a socket has a `write` of its own, which asks nobody.
  Socket.prototype.write.call(socket, "\0", "latin1", (error) => {
    tell((error as NodeJS.ErrnoException | null)?.code !== "EPIPE");
  });
}
