import { BlockList, type Socket } from "node:net";
import { describe, expect, it } from "vitest";
import type { Connection } from "../../src/inbound/connection.ts";
import { findPeer } from "../../src/inbound/peer.ts";

/** Who sent a request that came from 10.0.0.1 and says so much of X-Forwarded-For, where 10.0.0.0/8 is trusted. */
function clientIp(...forwardedFor: string[]): string {
  const trusted = new BlockList();
  trusted.addSubnet("10.0.0.0", 8, "ipv4");
  const connection = { socket: { remoteAddress: "10.0.0.1" } as Socket, peer: null } as Connection;
  const rawHeaders = forwardedFor.flatMap((value) => ["X-Forwarded-For", value]);
  return findPeer(connection, rawHeaders, trusted).clientIp;
}

describe("the client behind trusted proxies", () => {
  it.each<[string, string[], string]>([
    ["the rightmost address that is not trusted", ["6.6.6.6, 5.5.5.5, 10.0.0.2"], "5.5.5.5"],
    ["the same over several fields", ["6.6.6.6", "5.5.5.5", "10.0.0.2"], "5.5.5.5"],
    ["the leftmost proxy where all are trusted", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"],
    ["the proxy where it says nothing", [], "10.0.0.1"],
    ["not what stands left of a word that is no address", ["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"],
    ["not what stands left of nothing", ["6.6.6.6, "], "10.0.0.1"],
  ])("is %s", (_name, forwardedFor, address) => {
    expect(clientIp(...forwardedFor)).toBe(address);
  });
});
