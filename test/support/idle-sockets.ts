import type { Agent } from "node:http";

/** Ends the connections that an agent keeps for later: a gateway that ends gives idle clients a second. */
export function endIdle({ freeSockets }: Agent): void {
  for (const sockets of Object.values(freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}
