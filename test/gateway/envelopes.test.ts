import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CATALOGUE, FAULT_CODES } from "../../src/faults/catalogue.ts";
import pages from "../fixtures/unkey-envelopes.json" with { type: "json" };
import { auth } from "../support/rig.ts";
import { ask, asked, expectFault, startFaultyGateway } from "./faults.ts";

describe("the vendor's documented error pages", () => {
  it.each(pages)("$page: status, title and detail are ours too", ({ page, status, title, detail }) => {
    const row = CATALOGUE[page.replaceAll("/", ":") as keyof typeof CATALOGUE];
    expect(row).toMatchObject({ status, title });
    // The detail of a missing permission is made of the request.
    if (page !== "unkey/authorization/insufficient_permissions") expect(row.detail).toBe(detail);
  });
});

describe("the table of errors", () => {
  it("has no row that is not provoked through the gateway", () => {
    const folder = new URL(".", import.meta.url);
    const tests = readdirSync(folder)
      .filter((name) => name.endsWith(".test.ts") && name !== "envelopes.test.ts")
      .map((name) => readFileSync(new URL(name, folder), "utf8"))
      .join("\n");
    const codeIsUsed = (code: string) => tests.includes(`"${code}"`) || tests.includes(`row("${code.split(":")[2]}")`);
    // Reserved by the contract for a refusal that no other row says; nothing in the gateway refuses so.
    const reserved = ["unkey:authorization:forbidden"];
    expect(FAULT_CODES.filter((code) => !codeIsUsed(code))).toEqual(reserved);
  });
});

describe("typeBase and overrides", () => {
  let running: Awaited<ReturnType<typeof startFaultyGateway>>;
  beforeAll(async () => {
    running = await startFaultyGateway({
      errors: {
        typeBase: "https://unkey.com/docs/api-reference/errors-v2",
        overrides: {
          "err:unkey:authentication:key_not_found": {
            status: 403,
            title: "No",
            detail: "No such key.",
            type: "about:blank",
          },
          "err:sentinel:routing:route_not_found": { detail: "Nothing here." },
        },
      },
    });
  });
  afterAll(() => running?.stop());

  it("typeBase is what type begins with", async () => {
    expectFault(
      await ask(running.gateway, asked("/any", "")),
      {
        code: "unkey:authentication:missing",
        status: 401,
        title: "Unauthorized",
        detail: "Authentication credentials were not provided",
        fields: { "www-authenticate": 'Bearer realm="sentinel"' },
      },
      "https://unkey.com/docs/api-reference/errors-v2/unkey/authentication/missing",
    );
  });

  it("an override changes what it names and nothing else", async () => {
    expectFault(
      await ask(running.gateway, asked("/any", auth("UNKNOWN"))),
      { code: "unkey:authentication:key_not_found", status: 403, title: "No", detail: "No such key." },
      "about:blank",
    );
    expectFault(
      await ask(running.gateway, asked("/nowhere")),
      { code: "sentinel:routing:route_not_found", status: 404, title: "Not Found", detail: "Nothing here." },
      "https://unkey.com/docs/api-reference/errors-v2/sentinel/routing/route_not_found",
    );
  });
});
