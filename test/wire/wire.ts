import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Finding } from "../support/oracles.ts";
import type { RawClient } from "../support/raw-client.ts";
import { type Attack, Rig } from "../support/rig.ts";

/**
 * What is allowed on top of a time that the gateway is given: a machine that hangs for a few seconds is no failure of
 * it. Where this is used, a gateway that knows the default limits alone takes ten seconds or more.
 */
export const HANG_MS = 8000;

/** A request that an attacker would like to see at the upstream, with an identity of their own making. */
export const SMUGGLED = 'GET /admin/smuggled HTTP/1.1\r\nHost: gw\r\nX-Unkey-Principal: {"keyId":"key_ok"}\r\n\r\n';

/** A request without a body; `fields` are whole lines. */
export function get(path: string, fields = "", method = "GET", version = "1.1"): string {
  return `${method} ${path} HTTP/${version}\r\nHost: gw\r\n${fields}\r\n`;
}

/** A request with Content-Length. */
export function post(path: string, body: string, fields = "", method = "POST"): string {
  return `${method} ${path} HTTP/1.1\r\nHost: gw\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** A chunked request; `chunks` is what follows the head, whole. */
export function chunked(path: string, chunks: string, fields = "", method = "POST"): string {
  return `${method} ${path} HTTP/1.1\r\nHost: gw\r\n${fields}Transfer-Encoding: chunked\r\n\r\n${chunks}`;
}

/** One chunk and the end. */
export function asChunks(body: string): string {
  return body === "" ? "0\r\n\r\n" : `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
}

/** How a group of attacks is run, and what it should show about the naive gateway. */
export interface Group {
  readonly title: string;
  readonly attacks: readonly Attack[];
  /** Laid over the rig's configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Every attack comes behind this request, on its connection. It asks for something below `/fence`. */
  readonly first?: string;
  /**
   * Catalogue numbers that a naive gateway must fail, or the check could not fail at all. Absent: the same attacks are
   * tried on it elsewhere.
   */
  readonly naiveFails?: readonly string[];
}

/** Runs every attack against Sentinel, where none may find anything, and against the naive gateway, where some must. */
export function describeAttacks(group: Group): void {
  describe(group.title, () => {
    let rig: Rig;
    beforeAll(async () => {
      rig = await Rig.start(group.config);
      rig.first = group.first ?? null;
    });
    afterAll(() => rig?.stop());

    for (const attack of group.attacks) {
      it(attack.name, async () => {
        expect(formatFindings(await rig.run(attack))).toBe("");
      });
    }

    it("is still the same process, with its sockets back to what they were", async () => {
      expect(rig.gateway.alive).toBe(true);
      expect(rig.gateway.pid).toBe(rig.pid);
      expect(await rig.socketsLeft()).toBeLessThanOrEqual(0);
    });
  });

  const { naiveFails } = group;
  if (naiveFails === undefined) return;
  describe(`${group.title}: the same checks on a naive gateway`, () => {
    it("fail where they should", async () => {
      const failed = await runAgainstNaive(group.attacks, naiveFails);
      expect([...failed.keys()]).toEqual(expect.arrayContaining([...naiveFails]));
    }, 120_000);
  });
}

/**
 * The attacks that break a naive gateway for a reason other than how it words its errors, by catalogue number. Of each
 * number that is asked about one is enough; `SHOW_NAIVE=1` shows what all of them do.
 */
async function runAgainstNaive(
  attacks: readonly Attack[],
  numbers: readonly string[],
): Promise<Map<string, readonly Finding[]>> {
  const failed = new Map<string, readonly Finding[]>();
  let rig = await Rig.startNaive();
  for (const attack of attacks) {
    const [number = attack.name] = attack.name.split(" ");
    if (!process.env.SHOW_NAIVE && (failed.has(number) || !numbers.includes(number))) continue;
    const findings = (await rig.run({ ...attack, within: Math.min(attack.within ?? 250, 250) })).filter(
      (finding) => finding.kind !== "envelope",
    );
    if (findings.some(({ kind }) => LASTING.has(kind))) {
      await rig.stop().catch(() => {}); // It may have died, which is the finding.
      rig = await Rig.startNaive();
    }
    if (findings.length > 0) failed.set(number, [...(failed.get(number) ?? []), ...findings]);
  }
  await rig.stop().catch(() => {});
  if (process.env.SHOW_NAIVE) {
    for (const [number, findings] of failed) console.log(number, formatFindings(findings));
  }
  return failed;
}

/** What shows again in the next check, on the connections that stay open. */
const LASTING: ReadonlySet<Finding["kind"]> = new Set(["crash", "smuggled", "path", "unmarked"]);

export function formatFindings(findings: readonly Finding[]): string {
  return findings.map(({ kind, what }) => `${kind}: ${what}`).join("\n");
}

/** Milliseconds from now until each of the connections is closed by the gateway. */
export async function closeTimes(clients: readonly RawClient[]): Promise<number[]> {
  const started = performance.now();
  return Promise.all(
    clients.map(async (client) => {
      await client.closed(30_000);
      return performance.now() - started;
    }),
  );
}

export async function connectMany(rig: Rig, count: number): Promise<RawClient[]> {
  return Promise.all(Array.from({ length: count }, () => rig.connect()));
}
