import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { RawClient } from "../support/raw-client.ts";
import { denied, KEYS, type Outcome, RIG_KEYRING, Rig, rigRoutes } from "../support/rig.ts";
import { AMBIGUOUS, hosts, MISSING, respellings, routing } from "./c-targets.attacks.ts";
import { describeAttacks, get } from "./wire.ts";

describeAttacks({
  title: "C. spellings of the path",
  attacks: respellings,
  naiveFails: ["063", "064", "065", "067", "068", "071"],
});
describeAttacks({ title: "C. hosts and absolute targets", attacks: hosts, naiveFails: ["072", "073"] });
describeAttacks({ title: "C. routes", attacks: routing, naiveFails: ["078", "079", "080", "088"] });

/** 075: the whole site is open but for /admin, and the upstream may not care about case or trailing dots. */
describeAttacks({
  title: "C. an open route around a guarded one",
  config: {
    routes: [
      ...rigRoutes().filter(({ name }) => name === "fence" || name === "admin"),
      { name: "site", match: { pathPrefix: "/" }, auth: "none", allowOverlap: true, upstream: "recorder" },
    ],
  },
  attacks: [
    ...[
      "/ADMIN",
      "/Admin/x",
      "/admin/",
      "/admin.",
      "/admin..",
      "/admin%20",
      "/admin%20/x",
      "/ADMIN./",
      "/aDmin.%20/x",
      "/%41dmin",
    ].map((target) => ({
      name: `075 ${target} needs the key of /admin`,
      send: get(target),
      expect: [...denied(401, MISSING), ...denied(400, AMBIGUOUS)] as Outcome[],
    })),
  ],
});

describe("C. configurations that would leave the order to chance", () => {
  const base = { upstreams: [{ name: "recorder", targets: ["http://127.0.0.1:9"] }] };
  const start = (routes: unknown[]) => startGateway({ config: { ...base, routes }, keyring: RIG_KEYRING });
  const to = { upstream: "recorder" };

  it.each([
    [
      "085 two routes that tie",
      [
        { name: "a", match: { path: "/x/{a}" }, ...to },
        { name: "b", match: { path: "/x/{b}" }, ...to },
      ],
    ],
    [
      "075 an open route over a guarded one, unsaid",
      [
        { name: "a", match: { pathPrefix: "/" }, auth: "none", ...to },
        { name: "b", match: { pathPrefix: "/admin" }, ...to },
      ],
    ],
    ["084 a pattern that is none of ours", [{ name: "a", match: { path: "/(a+)+$" }, pathRegex: "x", ...to }]],
  ])("%s does not start", async (_, routes) => {
    await expect(start(routes)).rejects.toThrow(/ended with 1/);
  });
});

describe("C. the admin port", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await Rig.start();
  });
  afterAll(() => rig?.stop());

  it.each(["/public", "/any", "/admin"])("086 does not serve %s", async (path) => {
    const client = await RawClient.connect(rig.gateway.adminPort);
    await client.write(get(path, `Authorization: Bearer ${KEYS.OK}\r\n`));
    const got = await client.answer();
    client.destroy();
    expect(got?.status).toBe(404);
    expect(await rig.settle()).toEqual([]);
  });
});
