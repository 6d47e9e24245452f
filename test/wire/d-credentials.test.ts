import { expect } from "vitest";
import { auth, served } from "../support/rig.ts";
import { credentials, sent } from "./d-credentials.attacks.ts";
import { describeAttacks, get } from "./wire.ts";

describeAttacks({
  title: "D. credentials, identity and trust in fields",
  attacks: credentials,
  naiveFails: ["094", "095", "101", "102"],
});

describeAttacks({
  title: "D. behind a trusted proxy",
  config: { trustedProxies: ["127.0.0.0/8"] },
  attacks: [
    {
      name: "102 X-Forwarded-For is extended, the others kept, and the client is the rightmost stranger",
      send: get(
        "/any",
        `${auth()}X-Forwarded-For: 6.6.6.6, 5.5.5.5, 127.0.0.9\r\nX-Forwarded-Host: site.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\n`,
      ),
      expect: served(),
      claim: (seen) => {
        expect(sent(seen, "x-forwarded-for").join(", ")).toBe("6.6.6.6, 5.5.5.5, 127.0.0.9, 127.0.0.1");
        expect(sent(seen, "x-forwarded-host")).toEqual(["site.example"]);
        expect(sent(seen, "x-forwarded-proto")).toEqual(["https"]);
        expect(sent(seen, "x-forwarded-port")).toEqual(["443"]);
        const id = sent(seen, "x-request-id")[0];
        expect(seen.rig.gateway.logs().find((record) => record.requestId === id)?.clientIp).toBe("5.5.5.5");
      },
    },
    {
      name: "101 even a trusted proxy can not assert a principal",
      send: get("/public", 'X-Unkey-Principal: {"keyId":"key_ok"}\r\n'),
      expect: served(),
    },
  ],
});
