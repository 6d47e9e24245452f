import { hopByHop } from "./a-hop-by-hop.attacks.ts";
import { chunkedBodies, hostileAnswers, requestFraming } from "./b-framing.attacks.ts";
import { hosts, respellings, routing } from "./c-targets.attacks.ts";
import { credentials } from "./d-credentials.attacks.ts";
import { upgrades } from "./e-upgrade.attacks.ts";
import { describeAttacks, get } from "./wire.ts";

/** A connection whose first request was read without Node's parser holds no less than one that this has from the start. */
const GROUPS = {
  "A. hop-by-hop fields": hopByHop,
  "B. framing of requests": requestFraming,
  "B. bodies and pipelines": chunkedBodies,
  "B. answers of hostile upstreams": hostileAnswers,
  "C. targets": [...respellings, ...hosts, ...routing],
  "D. credentials": credentials,
  "E. protocols": upgrades,
};

for (const [title, attacks] of Object.entries(GROUPS)) {
  describeAttacks({ title: `${title}, behind a plain request`, attacks, first: get("/fence/first") });
}
