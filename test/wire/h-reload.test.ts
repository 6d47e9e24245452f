import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunningGateway, startGateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";
import { RecordingUpstream } from "../support/recording-upstream.ts";
import { auth, RIG_KEYRING, rigRoutes } from "../support/rig.ts";
import { get } from "./wire.ts";

/** Nine of nine of nine: 43 million once it is built. */
const ALIAS_BOMB = [..."abcdefgh"].map((name, n) => {
  const of = n === 0 ? "x" : `*${"abcdefgh"[n - 1]}`;
  return `${name}: &${name} [${Array(9).fill(of).join(", ")}]`;
});

/** Makes what is wrong out of the configuration that is right. */
const WRONG: readonly (readonly [what: string, bend: (text: string) => string])[] = [
  ["is no YAML", () => "routes: ["],
  ["is empty", () => ""],
  ["has a member nobody knows", (text) => `${text}lisen: 127.0.0.1:1\n`],
  ["has a member twice", (text) => `${text}admin: { listen: 127.0.0.1:0 }\n`],
  [
    "wants an environment that is not there",
    (text) => text.replace(/^drain:/m, `log: { level: "\${NO_SUCH_NAME}" }\ndrain:`),
  ],
  ["has two routes that tie", (text) => text.replaceAll("pathPrefix: /any", "pathPrefix: /admin")],
  ["opens what is guarded", (text) => text.replace("pathPrefix: /public", "pathPrefix: /")],
  ["lets a route go nowhere", (text) => text.replace("upstream: recorder", "upstream: nobody")],
  ["has a permission that is none", (text) => text.replace("doc.main.write", "doc..write AND")],
  ["is an alias bomb", (text) => `${ALIAS_BOMB.join("\n")}\n${text}`],
  ["is not UTF-8", (text) => `${text}# \xff\xfe\n`],
  ["is a list", () => "- a\n- b\n"],
];

describe("H. reloads of what is wrong", () => {
  let upstream: RecordingUpstream;
  let gateway: RunningGateway;
  let path: string;
  let right: string;
  let refusals = 0;
  beforeAll(async () => {
    upstream = await RecordingUpstream.start();
    gateway = await startGateway({
      config: { upstreams: [{ name: "recorder", targets: [upstream.origin] }], routes: rigRoutes() },
      keyring: RIG_KEYRING,
      expectedErrors: ({ event }) => event === "config_refused",
    });
    path = join(gateway.folder, "sentinel.yaml");
    right = readFileSync(path, "utf8");
  });
  afterAll(async () => {
    // It ends with 0, or this throws.
    await gateway?.stop();
    await upstream?.stop();
  });

  /** The old configuration in every respect that a request can see: who may, who may not, and where it goes. */
  async function servesAsBefore(): Promise<void> {
    const client = await RawClient.connect(gateway.port);
    for (const [bytes, status] of [
      [get("/any", auth()), 200],
      [get("/any"), 401],
      [get("/admin", auth("RO")), 403],
      [get("/public"), 200],
      [get("/nowhere"), 404],
    ] as const) {
      await client.write(bytes);
      expect((await client.answer("GET", 20_000))?.status).toBe(status);
    }
    client.destroy();
  }

  async function failures(): Promise<number> {
    const text = await (await fetch(`${gateway.adminOrigin}/metrics`)).text();
    return Number(/^sentinel_config_reloads_total\{outcome="failure"\} (\d+)$/m.exec(text)?.[1]);
  }

  /** Resolves with what was said of the next configuration that is refused. */
  function refused(): Promise<unknown> {
    const known = refusals;
    refusals += 1;
    let count = 0;
    return gateway
      .waitForRecord(({ event }) => event === "config_refused" && count++ === known, 20_000)
      .then(({ problems }) => problems);
  }

  it.each(WRONG)("188 a configuration that %s is refused, and the old one serves on", async (_, bend) => {
    expect(bend(right)).not.toBe(right);
    const before = await failures();
    const said = refused();
    // Written aside and moved: nobody sees half of it.
    writeFileSync(`${path}.new`, bend(right), "latin1");
    renameSync(`${path}.new`, path);
    expect(String(await said)).toMatch(/sentinel\.yaml/);
    await servesAsBefore();
    expect(await failures()).toBe(before + 1);
    expect((await fetch(`${gateway.adminOrigin}/readyz`)).status).toBe(200);
  });

  it("188 a configuration that can not be read is refused, and the old one serves on", async () => {
    const said = refused();
    rmSync(path);
    mkdirSync(path);
    gateway.signal("SIGHUP");
    expect(String(await said)).toMatch(/sentinel\.yaml/);
    await servesAsBefore();
    rmSync(path, { recursive: true });
  });

  it("188 and after all of these a right one is taken up", async () => {
    writeFileSync(`${path}.new`, right.replace("/public", "/published"));
    renameSync(`${path}.new`, path);
    gateway.signal("SIGHUP");
    await gateway.waitForRecord(
      ({ event, generation }) => event === "config_reloaded" && Number(generation) >= 2,
      20_000,
    );
    const client = await RawClient.connect(gateway.port);
    await client.write(get("/published"));
    expect((await client.answer("GET", 20_000))?.status).toBe(200);
    client.destroy();
  });
});
