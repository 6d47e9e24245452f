import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkConfiguration } from "../../src/config/check.ts";
import { formatProblems } from "../../src/config/problem.ts";
import type { Route } from "../../src/routes/route.ts";

let tls: string;
beforeAll(() => {
  tls = mkdtempSync(join(tmpdir(), "sentinel-examples-"));
  const args =
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=example -keyout tls.key -out tls.crt";
  execFileSync("openssl", args.split(" "), { cwd: tls, stdio: "ignore" });
  for (const copy of ["client.key", "client.crt", "ca.crt"]) {
    copyFileSync(join(tls, copy.endsWith("key") ? "tls.key" : "tls.crt"), join(tls, copy));
  }
});
afterAll(() => rmSync(tls, { recursive: true }));

const check = (file: string) => checkConfiguration(resolve("config", file), { TLS_DIR: tls });

async function routesOf(file: string): Promise<readonly Route[]> {
  const { valid } = await check(file);
  return valid?.compiled.table.routes ?? [];
}

const requires = ({ access }: Route) => (access.kind === "open" ? null : (access.requires?.text ?? ""));

describe("every configuration that ships is valid and warns of nothing", () => {
  const files = ["sentinel.yaml", ...readdirSync("config/examples").map((name) => `examples/${name}`)];
  test.each(files)("config/%s", async (file) => {
    const { problems, warnings } = await check(file);
    expect(formatProblems([...problems, ...warnings], { colour: false })).toBe("");
    expect(readFileSync(resolve("config", file), "utf8")).toMatch(
      /^# yaml-language-server: \$schema=.*sentinel\.schema\.json\n/,
    );
  });
});

test("the keyring that ships lets nobody in", async () => {
  expect((await check("sentinel.yaml")).keyring?.records).toEqual([]);
});

describe("config/examples/unkey-api.yaml", () => {
  test("has every endpoint of the vendor's table, each as POST /v2/<name>", async () => {
    const routes = await routesOf("examples/unkey-api.yaml");
    const names = routes.map(({ name }) => name).filter((name) => name !== "liveness");
    expect(names).toHaveLength(82);
    for (const { name, match } of routes.filter((route) => route.name !== "liveness")) {
      expect({ methods: match.methods, path: match.path.text }).toEqual({ methods: ["POST"], path: `/v2/${name}` });
    }
  });

  test("takes the id from the body exactly where the body has it", async () => {
    const routes = await routesOf("examples/unkey-api.yaml");
    const fromBody = routes.filter((route) => requires(route)?.includes("{body."));
    expect(Object.fromEntries(fromBody.map((route) => [route.name, requires(route)]))).toEqual({
      "apis.getApi": "api.{body.apiId}.read_api",
      "apis.deleteApi": "api.{body.apiId}.delete_api",
      "apis.listKeys": "api.{body.apiId}.read_key AND api.{body.apiId}.read_api",
      "keys.createKey": "api.{body.apiId}.create_key",
      "keys.migrateKeys": "api.{body.apiId}.create_key",
    });
  });

  test("asks for all of them elsewhere, and for nothing only where there is no root key", async () => {
    const routes = await routesOf("examples/unkey-api.yaml");
    const open = routes.filter(({ access }) => access.kind === "open").map(({ name }) => name);
    expect(open.sort()).toEqual([
      "liveness",
      "portal.exchangeCode",
      "portal.getVerifications",
      "portal.listKeys",
      "portal.rerollKey",
    ]);
    for (const route of routes) {
      const text = requires(route);
      if (text === null || text.includes("{")) continue;
      expect(text, route.name).toMatch(/^[a-z]+\.\*\.[a-z_]+( AND [a-z]+\.\*\.[a-z_]+)*$/);
    }
  });

  test.each([
    ["keys.setPermissions", "api.*.update_key AND rbac.*.add_permission_to_key AND rbac.*.remove_permission_from_key"],
    ["keys.setRoles", "api.*.update_key"],
    ["keys.rerollKey", "api.*.create_key"],
    ["ratelimit.listOverrides", "ratelimit.*.read_override"],
    ["identities.listIdentities", "identity.*.read_identity"],
    ["permissions.setRolePermissions", "rbac.*.add_permission_to_role AND rbac.*.remove_permission_from_role"],
    ["analytics.getRuntimeLogs", "project.*.read_runtime_logs"],
    ["deploy.getDeployment", "project.*.read_deployment"],
    ["deployments.getDeployment", "environment.*.read_deployment"],
    ["domains.listDomains", "environment.*.read_domain"],
    ["portal.createSession", "portal.*.create_portal_session"],
  ])("%s asks for %s", async (name, expected) => {
    const route = (await routesOf("examples/unkey-api.yaml")).find((candidate) => candidate.name === name);
    expect(route && requires(route)).toBe(expected);
  });
});
