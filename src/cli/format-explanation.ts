import type { Explanation } from "./explanation.ts";

/** The explanation on one screen: the request, the route, the key, each tuple with its grant, and the outcome. */
export function formatExplanation(explanation: Explanation, colour: boolean): string {
  const paint = painter(colour);
  const { request, verdict } = explanation;
  const lines = [
    paint.bold(`${request.method} ${request.path ?? "(not clean)"}${request.query}`) +
      (request.host === null ? "" : `   host ${request.host}`),
    "",
    ...row("route", routeLines(explanation)),
    ...row("key", keyLines(explanation)),
    ...row("requires", requirementLines(explanation, paint)),
    ...row("verdict", [
      verdict.admitted ? paint.green(verdict.outcome ?? "answered here") : paint.red(refusal(explanation)),
      ...sentence(explanation),
    ]),
    "",
    ...outcomeLines(explanation),
    ...explanation.notes.map((note) => `note: ${note}`),
  ];
  return `${lines.join("\n").trimEnd()}\n`;
}

function routeLines({ route }: Explanation): string[] {
  if (route === null) return ["none"];
  const auth = route.auth === "none" ? "open to anyone (auth: none)" : "needs a root key";
  return [`${route.name} -> upstream ${route.upstream}; ${auth}`];
}

function keyLines({ key, route }: Explanation): string[] {
  if (key === null) return [route?.auth === "none" ? "not asked for" : "none"];
  const named = key.name === null ? key.id : `${key.id} "${key.name}"`;
  const start = key.start === null ? "" : `, ${key.start}...`;
  const expiry = key.expiresAt === null ? "never expires" : `expires ${key.expiresAt}`;
  const workspace =
    key.workspaceId === null ? "" : `, workspace ${key.workspaceId}${key.workspaceEnabled ? "" : " (disabled)"}`;
  return [
    `${named}${start} found in ${key.foundIn}`,
    `${key.enabled ? "enabled" : "disabled"}, ${expiry}${workspace}${key.roles.length > 0 ? `, roles ${key.roles.join(", ")}` : ""}`,
  ];
}

function requirementLines(explanation: Explanation, paint: Painter): string[] {
  const { permissions, placeholders, required, route } = explanation;
  if (route === null) return [];
  if (route.auth === "none") return ["nothing"];
  if (permissions === null) return ["any valid key"];
  return [
    permissions,
    ...placeholders.map(({ placeholder, value }) => `${placeholder} is ${value}`),
    ...required.map(({ permission, satisfiedBy, wouldSatisfy }) =>
      satisfiedBy === null
        ? paint.red(`x ${permission}  not granted; would be by ${wouldSatisfy.join(" or ")}`)
        : paint.green(`+ ${permission}  granted by ${satisfiedBy}`),
    ),
  ];
}

function refusal({ verdict, answer }: Explanation): string {
  return `${answer?.status ?? ""} ${verdict.outcome ?? verdict.code ?? ""}`.trim();
}

function sentence({ verdict }: Explanation): string[] {
  return verdict.detail === null ? [] : [verdict.detail];
}

function outcomeLines({ upstream, answer }: Explanation): string[] {
  if (upstream !== null) {
    const head = [
      `${upstream.method} ${upstream.target} HTTP/1.1`,
      ...upstream.headers.map(([name, value]) => `${name}: ${value}`),
    ];
    return [`The upstream ${upstream.name} would get:`, "", ...head.map(indent), ""];
  }
  if (answer === null) return [];
  const head = [
    `HTTP/1.1 ${answer.status} ${answer.reason}`,
    ...answer.headers.map(([name, value]) => `${name}: ${value}`),
    "",
    answer.body,
  ];
  return ["The client would get:", "", ...head.map(indent), ""];
}

function row(label: string, [first = "", ...others]: readonly string[]): string[] {
  if (first === "") return [];
  return [`${label.padEnd(10)}${first}`, ...others.map((line) => `${" ".repeat(10)}${line}`)];
}

function indent(line: string): string {
  return line === "" ? "" : `    ${line}`;
}

interface Painter {
  readonly bold: (text: string) => string;
  readonly red: (text: string) => string;
  readonly green: (text: string) => string;
}

function painter(colour: boolean): Painter {
  const paint = (code: number) => (text: string) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  return { bold: paint(1), red: paint(31), green: paint(32) };
}
