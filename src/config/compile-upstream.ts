import { X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { isFault } from "../faults/fault.ts";
import type { TargetSettings, UpstreamSettings } from "../forward/upstreams.ts";
import { parseTarget } from "../routes/target.ts";
import { parseTargetUrl } from "./addresses.ts";
import type { Report } from "./report.ts";
import type { UpstreamConfig } from "./schema.ts";
import type { Path } from "./yaml-tree.ts";

/** One upstream as `forward/` takes it, or null where there are mistakes. `path` is its place in the file. */
export function compileUpstream(upstream: UpstreamConfig, path: Path, report: Report): UpstreamSettings | null {
  const targets = upstream.targets.map((target, i) => compileTarget(upstream, target, [...path, "targets", i], report));
  const tlsIsRight = upstream.tls === undefined || checkTlsFiles(upstream.tls, [...path, "tls"], report);
  const check = upstream.healthCheck;
  const checkIsRight = check === undefined || checkHealthPath(check.path, [...path, "healthCheck", "path"], report);
  const known = targets.filter((target) => target !== null);
  if (known.length < targets.length || !tlsIsRight || !checkIsRight) return null;
  const { connect, response, idle } = upstream.timeouts;
  return {
    name: upstream.name,
    targets: known,
    timeouts: { connectMs: connect, responseMs: response, idleMs: idle },
    healthCheck:
      check === undefined ? null : { path: check.path, intervalMs: check.interval, timeoutMs: check.timeout },
  };
}

function compileTarget(
  { tls }: UpstreamConfig,
  target: UpstreamConfig["targets"][number],
  path: Path,
  report: Report,
): TargetSettings | null {
  const { url, weight } = typeof target === "string" ? { url: target, weight: 1 } : target;
  const place = typeof target === "string" ? path : [...path, "url"];
  const parsed = parseTargetUrl(url);
  if ("wrong" in parsed) {
    report.mistake(place, `a target ${parsed.wrong}`);
    return null;
  }
  if (tls !== undefined && !parsed.secure) {
    report.mistake(place, `"tls" is for https:// targets; make this https://, or leave "tls" out`);
    return null;
  }
  const { host: hostname, port } = parsed;
  const settings = { ca: tls?.ca ?? null, cert: tls?.cert ?? null, key: tls?.key ?? null };
  return {
    url,
    hostname,
    port,
    weight,
    tls: parsed.secure ? { ...settings, serverName: tls?.serverName ?? hostname } : null,
  };
}

interface TlsFiles {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/** Whether certificates and key can be used, and belong together. */
export function checkTlsFiles({ ca, cert, key }: TlsFiles, path: Path, report: Report): boolean {
  if ((cert === undefined) !== (key === undefined)) {
    const [given, missing] = cert === undefined ? ["key", "cert"] : ["cert", "key"];
    report.mistake(path, `"${given}" needs "${missing}" beside it`);
    return false;
  }
  const certificate = "this is not a certificate in PEM form";
  const parts = [
    ["ca", { ca }, certificate],
    ["cert", { cert }, certificate],
    ["key", { key }, "this is not a private key in PEM form, without a password"],
  ] as const;
  const wrong = parts.filter(([, files]) => !isUsable(files));
  for (const [member, , message] of wrong) report.mistake([...path, member], message);
  if (wrong.length > 0) return false;
  if (!isUsable({ cert, key })) {
    report.mistake([...path, "key"], `the private key does not belong to the certificate in "cert"`);
    return false;
  }
  if (cert !== undefined) warnOfDates(new X509Certificate(cert), [...path, "cert"], report);
  return true;
}

/** No mistake: a gateway must be able to start, and to reload, whatever the time is. */
function warnOfDates({ validFrom, validTo }: X509Certificate, path: Path, report: Report): void {
  const now = Date.now();
  if (now > Date.parse(validTo)) report.warning(path, `this certificate has expired: it was valid to ${validTo}`);
  else if (now < Date.parse(validFrom)) report.warning(path, `this certificate is not valid before ${validFrom}`);
}

function isUsable({ ca, cert, key }: TlsFiles): boolean {
  // OpenSSL takes a text without any certificate for a list of none.
  if (ca !== undefined && !/-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----/.test(ca)) return false;
  try {
    createSecureContext({
      ...(ca !== undefined && { ca }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
    });
    return true;
  } catch {
    // Reported by the caller, in other words: OpenSSL's own do not help, and may quote the text.
    return false;
  }
}

function checkHealthPath(text: string, path: Path, report: Report): boolean {
  const target = text.startsWith("/") ? parseTarget(text) : null;
  if (target !== null && !isFault(target)) return true;
  report.mistake(
    path,
    `a health check's path must be a path such as /health${target === null ? "" : `: ${target.detail}`}`,
  );
  return false;
}
