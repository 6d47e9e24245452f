import { BlockList, isIP } from "node:net";
import { parseHost } from "../routes/host.ts";

/** Where to listen. `host` is without brackets where it is an IPv6 address; port 0 is any free one. */
export type ListenAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** What is wrong with a text, as what it must be: `must be ...`. */
export interface Wrong {
  readonly wrong: string;
}

export interface HostPort {
  /** Without brackets where it is an IPv6 address. */
  readonly host: string;
  readonly port: number;
}

/** Reads `host:port`, or `unix:/path` where `sockets` are taken. */
export function parseListenAddress(text: string, sockets: boolean): ListenAddress | Wrong {
  if (sockets && text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    // The kernel's own limit, with its closing byte (unix(7)).
    const fits = Buffer.byteLength(path) <= 107;
    return path.startsWith("/") && fits
      ? { kind: "unix", path }
      : { wrong: "must be unix: and a path of at most 107 bytes" };
  }
  const address = parseHostPort(text);
  if (address === null) return { wrong: `must be host:port such as 0.0.0.0:8080${sockets ? ", or unix:/path" : ""}` };
  return { kind: "tcp", ...address };
}

/** Reads `host:port` or `[IPv6]:port`; null where it is neither. */
export function parseHostPort(text: string): HostPort | null {
  const parsed = parseHost(text);
  if (parsed === null || parsed.port === null) return null;
  return { host: parsed.name.replace(/^\[|\]$/g, ""), port: parsed.port };
}

export interface TargetUrl extends HostPort {
  readonly secure: boolean;
}

const TARGET_EXPECTED = "must be a URL such as http://10.0.0.1:3000";

/** Reads `http://host:port` or `https://host:port`, the port 80 or 443 unless given, and nothing after it. */
export function parseTargetUrl(text: string): TargetUrl | Wrong {
  const match = /^(https?):\/\/([^/?#]*)(.*)$/s.exec(text);
  if (match === null) {
    const guess = parseHost(text) === null ? "" : `; did you mean "http://${text}"?`;
    return { wrong: `${TARGET_EXPECTED}${guess}` };
  }
  const [, scheme, authority = "", rest] = match;
  if (rest !== "")
    return { wrong: `${TARGET_EXPECTED}, without ${rest === "/" ? "a slash" : "a path or query"} at its end` };
  if (authority.includes("@")) return { wrong: `${TARGET_EXPECTED}, without a user` };
  const parsed = parseHost(authority);
  if (parsed === null || parsed.port === 0) return { wrong: TARGET_EXPECTED };
  const secure = scheme === "https";
  return { secure, host: parsed.name.replace(/^\[|\]$/g, ""), port: parsed.port ?? (secure ? 443 : 80) };
}

/** Adds a CIDR, or an address alone, to `list`; says what is wrong with it, or null. */
export function addNetwork(list: BlockList, text: string): Wrong | null {
  const [address = "", bits, ...more] = text.split("/");
  const version = isIP(address);
  if (version === 0 || address.includes("%") || more.length > 0) return { wrong: NETWORK_EXPECTED };
  const family = version === 4 ? "ipv4" : "ipv6";
  if (bits === undefined) {
    list.addAddress(address, family);
    return null;
  }
  const longest = version === 4 ? 32 : 128;
  if (!/^\d{1,3}$/.test(bits) || Number(bits) > longest) {
    return { wrong: `must be a CIDR with 0 to ${longest} bits, such as ${version === 4 ? "10.0.0.0/8" : "fd00::/8"}` };
  }
  list.addSubnet(address, Number(bits), family);
  return null;
}

const NETWORK_EXPECTED = "must be a CIDR such as 10.0.0.0/8 or fd00::/8, or an address";

/** Whether the two would listen at the same place. */
export function sameAddress(a: ListenAddress, b: ListenAddress): boolean {
  if (a.kind === "unix" || b.kind === "unix") return a.kind === "unix" && b.kind === "unix" && a.path === b.path;
  if (a.port !== b.port || a.port === 0) return false;
  return a.host === b.host || [a, b].some(({ host }) => host === "0.0.0.0" || host === "::");
}

/** A network of every address there is. */
export function isEverything(text: string): boolean {
  return /\/0+$/.test(text);
}

export function newNetworks(): BlockList {
  return new BlockList();
}
