import { type Fault, fault } from "../faults/fault.ts";
import { foldName, type JsonBody, readMember } from "./json-body.ts";
import type { Requirement } from "./requirement.ts";
import { formatPlaceholder, isResourceId, type Placeholder } from "./resource-id.ts";

/** Where placeholders find their values. */
export interface PlaceholderInputs {
  /** Segments of the canonical path: one that still holds a `%` is no id. */
  readonly params: ReadonlyMap<string, string>;
  /** The query as it came, with or without its `?`. */
  readonly query: string;
  /** How often a field is there, and its value where it is there once; by lower-case name. */
  readonly headerCount: (name: string) => number;
  readonly headerValue: (name: string) => string | null;
  /** Null where no placeholder reads the body, or it has not been read. */
  readonly body: JsonBody | null;
}

/**
 * The fault that is certain before the body is read: nobody is asked for a body that is refused whatever it holds. Null
 * where only the body can tell. `inputs.body` is what the head alone says of it.
 */
export function faultBeforeBody(requirement: Requirement, inputs: PlaceholderInputs): Fault | null {
  const known = requirement.placeholders.filter(({ kind }) => kind !== "body" || inputs.body !== null);
  const ids = readResourceIds({ placeholders: known }, inputs);
  return "kind" in ids ? ids : null;
}

/**
 * The ids that a request brings for `requirement.placeholders`, in their order, for `fillRequirement`. Every one has to
 * be there and to be an id, even where another alternative of an OR would do without it: else the fault is
 * `invalid_resource_id`, or `invalid_body` for a body that can not be read. Neither repeats what the client sent.
 */
export function readResourceIds(
  requirement: Pick<Requirement, "placeholders">,
  inputs: PlaceholderInputs,
): readonly string[] | Fault {
  const ids: string[] = [];
  for (const placeholder of requirement.placeholders) {
    const reading = read(placeholder, inputs);
    if (typeof reading !== "string")
      return reading.kind === "body" ? invalidBody(reading) : invalidId(placeholder, reading);
    ids.push(reading);
  }
  return ids;
}

type Reading = string | NoId | { readonly kind: "body"; readonly expected: string };

interface NoId {
  readonly kind: "absent" | "repeated" | "invalid";
}

const ABSENT: NoId = { kind: "absent" };
const REPEATED: NoId = { kind: "repeated" };
const INVALID: NoId = { kind: "invalid" };

function read(placeholder: Placeholder, inputs: PlaceholderInputs): Reading {
  switch (placeholder.kind) {
    case "path":
      return asId(inputs.params.get(placeholder.name));
    case "query":
      return readParameter(inputs.query, placeholder.name);
    case "header":
      if (inputs.headerCount(placeholder.name) > 1) return REPEATED;
      return asId(inputs.headerValue(placeholder.name) ?? undefined);
    case "body":
      return inputs.body === null
        ? { kind: "body", expected: "must be JSON" }
        : readBodyMember(inputs.body, placeholder.members);
  }
}

function readBodyMember(body: JsonBody, members: readonly string[]): Reading {
  if (body.kind === "refused") return { kind: "body", expected: body.expected };
  const reading = readMember(body.members, members);
  if (reading.kind === "value") return asId(reading.value);
  return reading.kind === "absent" ? ABSENT : REPEATED;
}

/**
 * The one parameter of that name, names and values decoded. A second one is a repeat also where only a lenient reader
 * takes it for the same: in another case, with `[]` or half of it, cut off by a `;` or a NUL. Otherwise the upstream could act on an id
 * that was never authorised (web cache and parameter cloaking, CVE-2021-23336).
 */
function readParameter(query: string, name: string): Reading {
  const wanted = lenientName(name);
  let value: string | null = null;
  let count = 0;
  for (const pair of query.slice(query.startsWith("?") ? 1 : 0).split("&")) {
    for (const [index, piece] of pair.split(";").entries()) {
      const equals = piece.indexOf("=");
      const pieceName = decodeComponent(equals < 0 ? piece : piece.slice(0, equals));
      if (pieceName === null) return INVALID;
      if (!readsAs(pieceName, wanted)) continue;
      count += 1;
      // The value of a pair reaches to its end: with a `;` in it, it is no id.
      if (pieceName !== name || index > 0) return count > 1 ? REPEATED : INVALID;
      value = decodeComponent(equals < 0 ? "" : pair.slice(equals + 1));
      if (value === null) return INVALID;
    }
  }
  if (count > 1) return REPEATED;
  return asId(value ?? undefined);
}

/** Whether some reader takes `name` for `wanted`, a lenient name: `api.id[]` is `api_id`, and to PHP `api[id` is too. */
function readsAs(name: string, wanted: string): boolean {
  const bracket = name.indexOf("[");
  return lenientName(name) === wanted || (bracket !== -1 && lenientName(name.slice(0, bracket)) === wanted);
}

/**
 * What the most lenient of readers (PHP, ASP.NET) makes of a parameter's name. A bracket that nothing closes is one more
 * character there that a name can not have; where one closes it, this is nobody's name.
 */
function lenientName(name: string): string {
  return foldName(name.trimStart().replaceAll(/[. []/g, "_"));
}

/** Null for a broken escape, or bytes that are not UTF-8. */
function decodeComponent(text: string): string | null {
  if (!text.includes("%") && !text.includes("+")) return text;
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    // The caller refuses the request: it is told that this is no id.
    return null;
  }
}

function asId(value: unknown): string | NoId {
  if (value === undefined || value === "") return ABSENT;
  return isResourceId(value) ? value : INVALID;
}

const REASONS = {
  absent: "has no value in this request",
  repeated: "has more than one value in this request",
  invalid: "has a value that is not a resource id in this request",
} as const satisfies Record<NoId["kind"], string>;

function invalidId(placeholder: Placeholder, { kind }: NoId): Fault {
  return fault("user:bad_request:invalid_resource_id", {
    detail: `The resource id ${formatPlaceholder(placeholder)} ${REASONS[kind]}`,
    location: location(placeholder),
    fix: "Send it exactly once, as 1 to 255 of the characters A-Z a-z 0-9 _ -",
  });
}

function invalidBody({ expected }: { readonly expected: string }): Fault {
  return fault("user:bad_request:invalid_body", { detail: `The request body ${expected}`, location: "body" });
}

/** As the vendor spells locations: `path.apiId`, `query.id`, `headers.x-tenant`, `body.a.b`. */
function location(placeholder: Placeholder): string {
  const name = formatPlaceholder(placeholder).slice(1, -1);
  return placeholder.kind === "header" ? name.replace("header.", "headers.") : name;
}
