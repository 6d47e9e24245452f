import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type AdminServer, startAdminServer } from "../../src/admin/server.ts";
import { collectScrape } from "../../src/telemetry/scrape.ts";
import { metricsFor } from "../telemetry/support.ts";
import { stateOf } from "./support.ts";

/** Debian's packages, or what CHROMIUM names. */
const BROWSERS = [process.env.CHROMIUM ?? "", "/usr/bin/chromium-headless-shell", "/usr/bin/chromium"];
const browser = BROWSERS.find((path) => path !== "" && existsSync(path));
if (browser === undefined)
  console.warn("no Chromium here: the status page is not looked at (apt-get install chromium)");

const ATTACK = `<script>document.title="taken over"</script><img src=x onerror="document.title='taken over'">`;

/** The page as a real browser draws it. Its screenshot stays in a temporary folder; SCREENSHOTS names another. */
describe.skipIf(browser === undefined && process.env.CI !== "true")("the status page in Chromium", () => {
  const folder = process.env.SCREENSHOTS ?? mkdtempSync(join(tmpdir(), "status-page-"));
  let admin: AdminServer;
  beforeAll(async () => {
    const metrics = metricsFor();
    const [route] = stateOf().routes;
    const lastReload = { at: Date.now() - 90_000, outcome: "failure", error: ATTACK, needsRestart: [] } as const;
    admin = await startAdminServer({
      listen: { kind: "tcp", host: "127.0.0.1", port: 0 },
      state: () => stateOf({ routes: [...stateOf().routes, { ...route!, name: ATTACK }], lastReload }),
      scrapes: async () => [await collectScrape(metrics)],
      log: () => {},
    });
  });
  afterAll(async () => {
    await admin.close();
    if (process.env.SCREENSHOTS === undefined) rmSync(folder, { recursive: true, force: true });
  });

  async function look(...options: string[]): Promise<string> {
    const profile = mkdtempSync(join(tmpdir(), "chromium-"));
    const flags = ["--headless", "--no-sandbox", "--disable-gpu", `--user-data-dir=${profile}`];
    const child = spawn(browser as string, [...flags, ...options, `${admin.address}/`], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const output = await text(child.stdout);
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    return output;
  }

  it("is drawn with its style, and a name that is markup stays text", async () => {
    const dom = await look("--dump-dom");
    expect(dom).toContain("<title>Sentinel: ready</title>");
    expect(dom).not.toContain("taken over</title>");
    expect(dom.match(/<script/g)).toBeNull();
    expect(dom.match(/<img/g)).toBeNull();
    expect(dom).toContain("&lt;script&gt;");
  });

  it("fits a wide and a narrow window", async () => {
    for (const size of ["1280,1000", "390,844"]) {
      const file = join(folder, `${size.replace(",", "x")}.png`);
      await look(`--screenshot=${file}`, `--window-size=${size}`);
      expect(statSync(file).size).toBeGreaterThan(5000);
    }
  });
});
