import { expect, it } from "vitest";
import { describeGateway } from "../../src/assembly/admin-state.ts";
import type { Prepared } from "../../src/assembly/prepare.ts";
import { buildRoutes } from "../routes/build-route.ts";

it("spells routes as the configuration does, a prefix with what may follow it, and null for any", () => {
  const routes = buildRoutes(
    { host: "api.example.com", path: "/v2/apis/{id}" },
    { host: "*.example.com", pathPrefix: "/v2/" },
    { pathPrefix: "/" },
    {},
  );
  const prepared = {
    config: { keys: { source: { type: "file" } } },
    compiled: { table: { routes }, upstreams: [] },
  } as unknown as Prepared;
  const state = describeGateway({
    version: "1",
    startedAt: 0,
    configFile: "sentinel.yaml",
    prepared,
    generation: 1,
    lastReload: null,
    address: null,
    draining: false,
    keys: null,
    isHealthy: () => true,
  });
  expect(state.routes.map(({ host, path }) => [host, path])).toEqual([
    ["api.example.com", "/v2/apis/{id}"],
    ["*.example.com", "/v2/**"],
    [null, "/**"],
    [null, null],
  ]);
});
