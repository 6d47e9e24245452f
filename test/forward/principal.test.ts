import { describe, expect, it } from "vitest";
import { principalOf } from "../../src/forward/principal.ts";
import type { KeyRecord } from "../../src/keys/root-key.ts";
import { recordOf as keyRecordOf } from "../support/key-parts.ts";

function recordOf(changes: Partial<KeyRecord> = {}): KeyRecord {
  return keyRecordOf("1", { permissions: [], grants: new Set(), ...changes });
}

describe("X-Unkey-Principal", () => {
  it("leaves out what the record does not have; meta is always an object", () => {
    expect(principalOf(recordOf())).toBe(
      '{"version":"v1","subject":"key_1","type":"API_KEY","source":{"key":{"keyId":"key_1","meta":{}}}}',
    );
  });

  it("has its members in the contract's order", () => {
    const record = recordOf({
      name: "CI",
      workspaceId: "ws_acme",
      expiresAt: 1_811_808_000_000,
      roles: ["reader"],
      permissions: ["b.1.z"],
      grants: new Set(["b.1.z", "a.*.read", "b.1.a"]),
      identity: { externalId: "user_7", meta: { plan: "pro" } },
      meta: { team: 1 },
    });
    expect(principalOf(record)).toBe(
      '{"version":"v1","subject":"user_7","type":"API_KEY","identity":{"externalId":"user_7","meta":{"plan":"pro"}},' +
        '"source":{"key":{"keyId":"key_1","workspaceId":"ws_acme","name":"CI","expiresAt":1811808000000,"meta":{"team":1},' +
        '"roles":["reader"],"permissions":["a.*.read","b.1.a","b.1.z"]}}}',
    );
  });

  it("is plain ASCII without control characters, and means the same", () => {
    const name = 'Zoë \u{1f511} \r\nX-Evil: 1 "\x7f\x00\u2028';
    const principal = principalOf(recordOf({ name }));
    expect(principal).toMatch(/^[\x20-\x7e]+$/);
    expect(principal).toContain("Zo\\u00eb \\ud83d\\udd11");
    expect(JSON.parse(principal).source.key.name).toBe(name);
  });

  it("over 8 KiB leaves out permissions, then empties every meta", () => {
    const grants = new Set(Array.from({ length: 500 }, (_, index) => `api.api_${index}.read_api`));
    const meta = { note: "n".repeat(5000) };
    const identity = { externalId: "user_7", meta: { note: "i".repeat(2000) } };
    const withoutPermissions = JSON.parse(principalOf(recordOf({ grants, meta, identity })));
    expect(withoutPermissions.source.key).toEqual({ keyId: "key_1", meta });
    expect(withoutPermissions.identity).toEqual(identity);

    const large = { note: "n".repeat(9000) };
    const emptied = JSON.parse(principalOf(recordOf({ grants, meta: large, identity })));
    expect(emptied.source.key).toEqual({ keyId: "key_1", meta: {} });
    expect(emptied.identity).toEqual({ externalId: "user_7", meta: {} });
  });

  it("fits 8 KiB to the byte", () => {
    const spare = 8192 - principalOf(recordOf({ meta: { a: "" }, grants: new Set(["a.b.c"]) })).length;
    const fits = recordOf({ meta: { a: "x".repeat(spare) }, grants: new Set(["a.b.c"]) });
    expect(principalOf(fits)).toHaveLength(8192);
    expect(JSON.parse(principalOf(fits)).source.key.permissions).toEqual(["a.b.c"]);
    const over = recordOf({ meta: { a: "x".repeat(spare + 1) }, grants: new Set(["a.b.c"]) });
    expect(JSON.parse(principalOf(over)).source.key.permissions).toBeUndefined();
  });

  it("is made once for a record", () => {
    const record = recordOf({ meta: { toJSON: () => ({ calls: ++calls }) } });
    let calls = 0;
    expect(principalOf(record)).toBe(principalOf(record));
    expect(calls).toBe(1);
  });
});
