import { auth } from "../support/rig.ts";
import { asked, describeFaults, type FaultRow, posted } from "./faults.ts";

const lacking: Omit<FaultRow, "name" | "send" | "detail"> = {
  code: "unkey:authorization:insufficient_permissions",
  status: 403,
  title: "Forbidden",
};

describeFaults("403", [
  {
    ...lacking,
    name: "a missing permission is named",
    detail: "Your key does not have the required 'api.api_1234.update_api' permission",
    send: asked("/apis/api_1234"),
  },
  {
    ...lacking,
    name: "the alternatives of an OR are listed, each by its first missing part",
    detail: "Your key does not have one of the required permissions 'api.a.read', 'api.c.read'",
    send: asked("/either"),
  },
  {
    ...lacking,
    name: "an AND names the first that is missing",
    detail: "Your key does not have the required 'doc.main.never' permission",
    send: asked("/both"),
  },
  {
    ...lacking,
    name: "an id out of the body is named",
    detail: "Your key does not have the required 'api.api_9.create_key' permission",
    send: posted("/body", '{"apiId":"api_9"}', `${auth("RO")}Content-Type: application/json\r\n`),
  },
  {
    code: "unkey:authorization:key_disabled",
    status: 403,
    title: "Forbidden",
    name: "a disabled key",
    detail: "The API key used for authentication has been disabled",
    send: asked("/any", auth("DISABLED")),
  },
  {
    code: "unkey:authorization:workspace_disabled",
    status: 403,
    title: "Forbidden",
    name: "a key of a disabled workspace",
    detail: "The workspace associated with this API key has been disabled",
    send: asked("/any", auth("WORKSPACE_OFF")),
  },
]);
