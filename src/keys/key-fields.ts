import { grantProblem } from "../permissions/permission.ts";
import type { EpochMs } from "./root-key.ts";
import { type ClearableMember, type KeyFields, KeyStoreRefusal } from "./source.ts";

/** What `create` starts from: every member at its empty value. */
export const NO_FIELDS: KeyFields = {
  name: null,
  workspaceId: null,
  permissions: [],
  roles: [],
  expiresAt: null,
  externalId: null,
  meta: {},
};

/** The member of `KeyFields` that each clearable name stands for. */
const MEMBER_OF = {
  name: "name",
  workspace: "workspaceId",
  permissions: "permissions",
  roles: "roles",
  expires: "expiresAt",
  "external-id": "externalId",
  meta: "meta",
} as const satisfies Record<ClearableMember, keyof KeyFields>;

export const CLEARABLE_MEMBERS = Object.keys(MEMBER_OF) as readonly ClearableMember[];

/**
 * `fields` with every clearable name of `clear` at its empty value, lists without repeats. Throws `KeyStoreRefusal`
 * (`refused`) for a value that no store takes, and for a member that is both given and cleared. Every store calls it first.
 */
export function checkKeyFields(
  fields: Partial<KeyFields>,
  clear: readonly ClearableMember[],
  now: EpochMs,
): Partial<KeyFields> {
  const emptied: Partial<KeyFields> = {};
  for (const name of clear) {
    const member = MEMBER_OF[name];
    if (fields[member] !== undefined) refuse(`${name} is both given and cleared`);
    Object.assign(emptied, { [member]: NO_FIELDS[member] });
  }
  for (const permission of fields.permissions ?? []) {
    const problem = grantProblem(permission);
    if (problem !== null) refuse(`permission '${permission}' would satisfy nothing: ${problem}`);
  }
  for (const role of fields.roles ?? []) if (role === "") refuse("a role's name is empty");
  if (fields.expiresAt !== undefined && fields.expiresAt !== null && !(fields.expiresAt > now)) {
    refuse("the expiry is not in the future");
  }
  for (const [what, value] of [
    ["name", fields.name],
    ["workspace", fields.workspaceId],
    ["external id", fields.externalId],
  ] as const) {
    if (typeof value === "string" && !isLabel(value)) {
      refuse(`the ${what} ${LABEL_EXPECTED}`);
    }
  }
  return {
    ...fields,
    ...(fields.permissions !== undefined && { permissions: [...new Set(fields.permissions)] }),
    ...(fields.roles !== undefined && { roles: [...new Set(fields.roles)] }),
    ...emptied,
  };
}

const MAX_LABEL_CHARACTERS = 255;

/** What `isLabel` asks for, in the words of a refusal. */
export const LABEL_EXPECTED = `must be 1 to ${MAX_LABEL_CHARACTERS} characters without control characters`;

/** Levels in a `meta`, which is the first, wherever it is read: what one store takes every other one has to. */
export const META_DEPTH_MAX = 32;

/** A name as people see it in logs and lists. */
export function isLabel(text: string): boolean {
  return text.length >= 1 && text.length <= MAX_LABEL_CHARACTERS && !/[\u0000-\u001f\u007f]/.test(text);
}

function refuse(message: string): never {
  throw new KeyStoreRefusal("refused", message);
}
