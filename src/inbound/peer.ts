import { type BlockList, isIPv4, isIPv6 } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Peer } from "../exchange.ts";
import type { Connection, SocketPeer } from "./connection.ts";

/**
 * Who sent a request. An untrusted peer is its socket's address, whatever it says of itself. A peer in
 * `trustedProxies` is believed about the one behind it: the rightmost address of X-Forwarded-For that is not itself
 * trusted.
 */
export function findPeer(connection: Connection, rawHeaders: readonly string[], trustedProxies: BlockList): Peer {
  const known = connection.peer;
  const peer = known !== null && known.judgedBy === trustedProxies ? known : judgeSocket(connection, trustedProxies);
  return peer.trusted ? { ...peer, clientIp: forwardedFor(rawHeaders, trustedProxies) ?? peer.address } : peer;
}

/** True when `address` is in one of the CIDRs; an IPv4 address may be written as IPv6 (`::ffff:10.0.0.1`). */
function isTrusted(address: string, trustedProxies: BlockList): boolean {
  if (isIPv4(address)) return trustedProxies.check(address, "ipv4");
  return isIPv6(address) && trustedProxies.check(address, "ipv6");
}

function judgeSocket(connection: Connection, trustedProxies: BlockList): SocketPeer {
  const { socket } = connection;
  const address = plainAddress(socket.remoteAddress ?? "");
  const peer: SocketPeer = {
    clientIp: address,
    trusted: isTrusted(address, trustedProxies),
    address,
    scheme: (socket as TLSSocket).encrypted === true ? "https" : "http",
    port: socket.localPort ?? 0,
    judgedBy: trustedProxies,
  };
  connection.peer = peer;
  return peer;
}

function forwardedFor(rawHeaders: readonly string[], trustedProxies: BlockList): string | null {
  const hops: string[] = [];
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    if (rawHeaders[i]?.toLowerCase() === "x-forwarded-for") hops.push(...(rawHeaders[i + 1] as string).split(","));
  }
  let nearest: string | null = null;
  for (const hop of hops.reverse()) {
    const address = plainAddress(hop.trim());
    // What is no address was not written by a proxy that we trust: what stands left of it is anybody's word.
    if (!isIPv4(address) && !isIPv6(address)) break;
    nearest = address;
    if (!isTrusted(address, trustedProxies)) break;
  }
  return nearest;
}

/** IPv4 over an IPv6 socket reads as IPv4; brackets and a port are taken off. */
function plainAddress(text: string): string {
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text;
  return /^::ffff:([\d.]+)$/i.exec(bare)?.[1] ?? bare;
}
