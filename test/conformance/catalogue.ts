/**
 * The catalogue of checks: what a gateway like this one is asked by people who try, one number each, for good. A test
 * whose name begins with a number in `test/wire` holds that check; `alsoIn` names tests elsewhere, by file and by
 * words of their names. `catalogue.test.ts` makes docs/checks.md of it and fails where a check is held by nothing.
 */
export interface Check {
  readonly number: string;
  readonly what: string;
  /** A release waits for it. */
  readonly gate: boolean;
  /** Tests without the number in their names: `file: words of a name in it`. */
  readonly alsoIn: readonly string[];
  /** Where Sentinel decides otherwise, or does not offer what the check is about, and why. */
  readonly otherwise: string | null;
}

/** The checks at which a release stops. */
const GATES: ReadonlySet<number> = new Set([
  1, 3, 8, 21, 31, 34, 42, 43, 49, 63, 64, 65, 66, 72, 73, 89, 93, 94, 95, 100, 101, 102, 106, 107, 114, 115, 120, 128,
  131, 132, 133, 137, 140, 145, 157, 161, 173, 185, 188, 192,
]);

interface Row {
  readonly what: string;
  readonly alsoIn?: readonly string[];
  readonly otherwise?: string;
}

export interface Group {
  readonly title: string;
  readonly checks: readonly Check[];
}

function group(title: string, first: number, rows: readonly (string | Row)[]): Group {
  const checks = rows.map((row, index): Check => {
    const { what, alsoIn = [], otherwise = null } = typeof row === "string" ? { what: row } : row;
    const number = first + index;
    return { number: String(number).padStart(3, "0"), what, gate: GATES.has(number), alsoIn, otherwise };
  });
  return { title, checks };
}

export const CATALOGUE: readonly Group[] = [
  group("A. Hop-by-hop fields and what a proxy owes", 1, [
    "Connection names Authorization",
    "Connection names a field that the gateway sets",
    "Connection names Content-Length",
    "Connection names Transfer-Encoding",
    "Connection names a field of the client's own",
    "Connection in two lines",
    "The other hop-by-hop fields",
    "Trailer on requests of every framing",
    "A credential in the trailers",
    "Trailers without end",
    "TE",
    "Via, and requests that go in circles",
    "OPTIONS and GET of *",
    {
      what: "Max-Forwards",
      otherwise: "Only OPTIONS is counted down; to other methods the field means nothing, and passes.",
    },
    "TRACE",
    "CONNECT",
    "A body that answers HEAD",
    "A body with 204 and 304",
    "Interim answers",
    "Expect: 100-continue, admitted",
    "Expect: 100-continue with a forged principal",
    "Expect: 100-continue without a key, body withheld",
    "Expect: 100-continue without a key, body sent anyway",
    "Other expectations, and two of them",
    "HTTP/1.0 clients",
    "Order, repeats and bytes of the answer's fields",
    "Order, case and bytes of the request's fields",
    "Redirects",
    "Codings, ranges and validators",
    "What the upstream's Connection names",
  ]),
  group("B. Framing", 31, [
    "Both a length and a transfer coding",
    "Lengths that are doubled or no number",
    "Lengths in odd spelling",
    "Transfer codings in odd spelling",
    "Space and folding around the framing fields",
    "Names that CGI takes for framing fields",
    "Transfer-Encoding on HTTP/1.0",
    "Other versions of HTTP",
    "Bare LF, bare CR, NUL and DEL",
    "Empty lines before a request",
    {
      what: "Lines that are no fields, and odd request lines",
      otherwise:
        "Several spaces between the parts of the request line are read as one, as RFC 9112 section 3 allows: Node's parser does not tell, and the line that goes on is made anew.",
    },
    "Chunked bodies of methods that rarely have one",
    "Fields past the parser's limit",
    "Chunk sizes that are no size",
    "Chunk extensions",
    "Chunks that do not end where they should",
    "A body that ends short",
    "Bytes behind the body",
    "Pipelined requests, each judged on its own",
    "Pipelined behind a refused body",
    "GET and HEAD with a body",
    "A length that only some can read",
    "An answer before the upload's end",
    "A client that stalls in its body",
    "Answers whose framing is not clean",
    "Answers nobody asked for",
    "Answers that end short",
    "Resets before the answer",
    { what: "Answers with endless heads", alsoIn: ["forward/engine-suite.ts: 5000 fields"] },
    "Other protocols on the port",
    {
      what: "Random requests (and random answers, for both upstream engines)",
      alsoIn: ["forward/engine-differential.test.ts: understands the same or refuses"],
    },
    "All of the above in pieces and byte by byte",
  ]),
  group("C. Which route, and what the upstream makes of it", 63, [
    "Doubled slashes",
    "Dot segments",
    "Encoded slashes and backslashes",
    "Escapes of letters",
    "Semicolons",
    "Escapes of escapes",
    "Escapes that are broken or control characters",
    "What is not UTF-8",
    "Fragments, and characters no path has",
    "Absolute-form targets",
    "Host: two, none, or none that is a host",
    "Spellings of a host",
    "Spellings that file systems and routers take for the same",
    "Prefixes end where segments end",
    "Paths within the query",
    "Fields that claim another path",
    "Fields that claim another method",
    "Methods nobody listed",
    "HEAD and OPTIONS",
    "Prefixes that are stripped",
    {
      what: "Captures in rewrites",
      otherwise:
        "There are no regular expressions in routes: a prefix is stripped or added, and the result is judged again.",
    },
    { what: "Patterns that take exponential time", otherwise: "There are none: such a configuration is refused." },
    "Routes that tie",
    "The operators' paths on the clients' port, and the other way round",
    "User-Agents of health checks",
    "Long targets",
    "5,000 spellings, asked of nginx, Express, Fastify and Hono",
    "What is sent on is a fixed point",
    "Ids in the path that widen",
    "Tuples that only look alike",
  ]),
  group("D. Credentials and identity", 93, [
    "No credential",
    "Credentials in odd spelling",
    "Two credentials",
    "Two credentials in one field",
    "Other schemes",
    "A bad credential on an open route",
    "Keys in other places",
    "Authorization arrives as it was sent",
    "A client's own principal",
    "A client's own X-Forwarded-*",
    "Their other spellings",
    "Names of the prototype",
    "A client's own request id",
    "Permissions that are missing",
    {
      what: "Expired, disabled, revoked and unknown keys",
      alsoIn: ["keys/revocation.test.ts: reaches three instances"],
    },
    {
      what: "Keys of another environment",
      otherwise: "An instance has one key source; two environments are two instances, apart by `redis.keyPrefix`.",
    },
    "Keys that differ by one byte",
    {
      what: "Permissions that change",
      alsoIn: ["decide.test.ts: evaluates permissions anew", "keys/memory-source.test.ts: is seen by the next look-up"],
    },
    { what: "CORS preflights", otherwise: "A preflight is a request like any other and needs a key." },
    "Envelopes repeat nothing",
    "Fields that belong to an error",
  ]),
  group("E. Upgrades", 114, [
    "Upgrades without a key or permission",
    "Upgrades to anything but a WebSocket",
    "Routes that do not say websocket",
    "Upstreams that refuse the handshake",
    "101 nobody asked for",
    "101 that does not fit",
    "A hundred resets around the 101",
    "The upstream's end of a tunnel",
    "Bytes that come with the handshake",
    "A gigabyte to a slow reader",
    "Silent tunnels",
    "A key revoked while its tunnel is open",
    "SIGTERM with tunnels open",
  ]),
  group("F. Keys in memory and elsewhere", 127, [
    { what: "A key that is known costs nothing", alsoIn: ["keys/memory-source.test.ts: answers a hit at once"] },
    { what: "1,000 ask for one key at once", alsoIn: ["keys/memory-source.test.ts: asks the origin once for 1,000"] },
    {
      what: "The same while the source fails",
      alsoIn: ["keys/memory-source.test.ts: asks once also when the origin fails"],
    },
    { what: "A revocation everywhere", alsoIn: ["keys/revocation.test.ts: reaches three instances within a second"] },
    {
      what: "A revocation while the notice can not arrive",
      alsoIn: [
        "keys/revocation.test.ts: is in force at the latest",
        "keys/simulation.test.ts: use nothing older than the bound",
      ],
    },
    { what: "Ages do not add up", alsoIn: ["keys/memory-source.test.ts: counts from when the origin gave it"] },
    {
      what: "A revocation during a look-up",
      alsoIn: [
        "keys/memory-source.test.ts: makes a look-up that began before it start again",
        "keys/shared-source.test.ts: lose to a change",
      ],
    },
    { what: "A new secret for an old key", alsoIn: ["keys/redis-store.test.ts: rerolls: a new id and secret"] },
    {
      what: "The way to the stream lost and found",
      alsoIn: [
        "keys/change-feed.test.ts: forgets everything where the stream",
        "keys/memory-source.test.ts: that may have been missed",
      ],
    },
    {
      what: "Notices that are odd, doubled or too many",
      alsoIn: [
        "keys/revocation.test.ts: is not lost in a flood",
        "keys/change-feed.test.ts: acts on an operation it does not know",
      ],
    },
    {
      what: "A key expires while it is remembered",
      alsoIn: [
        "decide.test.ts: a key at the very instant it expires",
        "keys/simulation.test.ts: use nothing older than the bound",
      ],
    },
    {
      what: "Clocks that jump",
      alsoIn: [
        "keys/memory-source.test.ts: is not lengthened by a wall clock set",
        "keys/steady-clock.test.ts: does not go back",
      ],
    },
    {
      what: "Expiries that are no instant",
      alsoIn: [
        "keys/record-codec.test.ts: that is %s is unreadable",
        "keys/root-key.test.ts: expired where the expiry is no number",
      ],
    },
    {
      what: "Poisoned values in Redis",
      alsoIn: [
        "keys/redis-source.test.ts: can not tell from %s",
        "keys/shared-source.test.ts: that are %s are a miss, and replaced",
        "keys/record-codec.test.ts: whatever it is, never throws",
      ],
      otherwise:
        "Values carry a version and the key's own hash but no MAC: who can write to Redis can grant (security.md).",
    },
    {
      what: "One key's record in another's place",
      alsoIn: ["keys/record-codec.test.ts: whatever it is, never throws and never gives another key's record"],
    },
    {
      what: "Keys in a dump of Redis",
      alsoIn: ["keys/redis-store.test.ts: creates a key whose secret is in the answer and nowhere in Redis"],
      otherwise:
        "Hashes are there: they are how a record is found, SHA-256 as Unkey makes it, of 24 random characters.",
    },
    { what: "Two versions share one Redis", alsoIn: ["keys/record-codec.test.ts: that is %s is unreadable"] },
    { what: "Redis is flushed under traffic", alsoIn: ["keys/revocation.test.ts: by flushing Redis is noticed"] },
    {
      what: "A flood of made-up keys",
      alsoIn: [
        "keys/memory-source.test.ts: does not push real keys out for made-up ones",
        "keys/shared-source.test.ts: are not kept of keys the service does not know",
      ],
    },
    {
      what: "The same from one address",
      alsoIn: [
        "keys/memory-source.test.ts: refuses what exceeds the line at the origin",
        "keys/breaker.test.ts: runs so many at once",
      ],
      otherwise: "There are no limits per address: what the key source is asked at once is bounded instead.",
    },
    { what: "A flood of malformed keys", alsoIn: ["decide.test.ts: never looks a malformed key up"] },
    {
      what: "A key made just after it was asked for",
      alsoIn: ["keys/memory-source.test.ts: is seen by the next look-up, also of a key that was absent"],
    },
    {
      what: "One key under two sources",
      otherwise: "An instance has exactly one key source.",
    },
    "One key, one route after another",
    { what: "Keyrings that contradict themselves", alsoIn: ["keys/keyring-file.test.ts: every mistake at once"] },
    {
      what: "A keyring that changes under way",
      alsoIn: [
        "operations/reload.test.ts: leaves the last good one in force, and is told of",
        "config/watch.test.ts: the link that Kubernetes swaps",
        "config/watch.test.ts: both halves of a slow write",
      ],
    },
    { what: "A key service that answers anything", alsoIn: ["keys/http-source.test.ts: can not tell by %s"] },
    {
      what: "A key service that answers for another key",
      alsoIn: ["keys/http-source.test.ts: 200 with another key's record"],
    },
    {
      what: "How long staleness is tolerated",
      alsoIn: ["keys/memory-source.test.ts: serves a record on until staleIfError"],
    },
    "Keys in the memory of the process",
    {
      what: "Keys in anything the gateway writes",
      alsoIn: ["operations/secrets.test.ts: no eight bytes of any key"],
    },
    { what: "Labels that clients choose", alsoIn: ["telemetry/metrics.test.ts: stays the same under 100,000"] },
  ]),
  group("G. When Redis fails", 159, [
    {
      what: "Away at the start",
      alsoIn: [
        "gateway/redis-keys.test.ts: start without Redis",
        "gateway/redis-faults.test.ts: ${fault.name} at the start",
      ],
    },
    {
      what: "Killed under traffic",
      alsoIn: ["gateway/redis-keys.test.ts: serve known keys while Redis is killed under load"],
    },
    {
      what: "Frozen",
      alsoIn: [
        'support/redis-faults.ts: name: "frozen"',
        "gateway/redis-faults.test.ts: ${fault.name} while it serves",
        "keys/redis-connection.test.ts: does not take one answer for another after a freeze",
      ],
    },
    {
      what: "Slow, in single bytes, reset, silent",
      alsoIn: [
        "support/redis-faults.ts: cut into single bytes",
        "keys/redis-faults.test.ts: ${fault.name} while it runs",
      ],
    },
    { what: "Something else on its port", alsoIn: ['support/redis-faults.ts: name: "garbage"'] },
    {
      what: "Read-only after a failover",
      alsoIn: ["support/redis-faults.ts: read-only", "keys/redis-failover.test.ts: %s survive the loss"],
    },
    { what: "Every error that Redis has", alsoIn: ["keys/redis-source.test.ts: can not tell when Redis answers %s"] },
    {
      what: "Wrong passwords and rights",
      alsoIn: ["support/redis-faults.ts: a wrong password", "keys/redis-connection.test.ts: never logs the password"],
    },
    { what: "Failover, and slots that move", alsoIn: ["keys/redis-failover.test.ts: %s survive the loss"] },
    {
      what: "Certificates nobody vouches for",
      alsoIn: ["keys/redis-connection.test.ts: refuses a certificate nobody vouches for"],
    },
    {
      what: "A half-open connection",
      alsoIn: [
        "keys/change-feed.test.ts: forgets everything when the stream is flushed behind a connection that lives",
        "keys/revocation.test.ts: is in force at the latest",
      ],
    },
    { what: "Replicas that lag", alsoIn: ["keys/redis-failover.test.ts: %s survive the loss"] },
    { what: "Nothing queues", alsoIn: ["keys/redis-connection.test.ts: keeps nothing while Redis is away"] },
    {
      what: "Redis and the key service away",
      alsoIn: [
        "gateway/503-key-source.test.ts: a key source out of reach is 503",
        "keys/memory-source.test.ts: serves a record on until staleIfError",
      ],
    },
  ]),
  group("H. Load, time and the life of the process", 173, [
    "Slow heads, slow bodies, silence",
    { what: "Readers that do not read", alsoIn: ["gateway/streaming.test.ts: a reader that stops reading"] },
    "10,000 requests in one pipeline",
    "Bodies over the limit",
    "Connections over the limit",
    "Overload is shed",
    "Upstreams that are slow in every way",
    "Clients that leave at every moment",
    "What is tried again, and what never",
    "Few connections, many requests",
    "Pooled connections that die",
    "Targets that are put out, and come back",
    { what: "SIGTERM under load", alsoIn: ["operations/drain.test.ts: under 500 requests a second loses none"] },
    { what: "SIGTERM at other moments, and SIGKILL", alsoIn: ["operations/drain.test.ts: twice ends at once"] },
    {
      what: "A rolling restart",
      alsoIn: ["operations/drain.test.ts: of three instances behind a round robin loses no request"],
    },
    {
      what: "Reloads of what is wrong",
      alsoIn: ["operations/reload.test.ts: that is wrong leaves the old one in force"],
    },
    {
      what: "A hundred reloads under load",
      alsoIn: ["operations/reload.test.ts: is taken up a hundred times under load"],
    },
    "Starts with what is wrong",
    { what: "Defects of our own", alsoIn: ["operations/crash.test.ts: %s is one redacted line"] },
    "Upstreams that break HTTP libraries",
    "Everything at once, for long",
    "A log nobody reads",
    "/metrics under overload",
    {
      what: "Addresses and names",
      alsoIn: ["forward/name-changes.test.ts: requests follow a name"],
      otherwise: "Clients connect over TCP; a Unix socket is for the admin endpoint.",
    },
    {
      what: "The container",
      alsoIn: [
        "image.test.ts: can not write anywhere, and is not root",
        "image.test.ts: starts and serves with %d workers",
      ],
    },
    {
      what: "The chart",
      alsoIn: [
        "helm/contradictions.test.ts: less time than the drain takes",
        "helm/render.test.ts: lets no container do what it does not need",
        "helm/restart.test.ts: takes up a changed ConfigMap",
      ],
    },
    { what: "The admin port", alsoIn: ["config/load.test.ts: has every default", "admin/server.test.ts: %s is 404"] },
    { what: "Every version of Node", alsoIn: ["../.ci/run: tools/tests-node24.json"] },
  ]),
];
