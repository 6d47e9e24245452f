import { auth } from "../support/rig.ts";
import { asked, describeFaults, type FaultRow, posted } from "./faults.ts";

const CHALLENGE = 'Bearer realm="sentinel"';

const missing: Omit<FaultRow, "name" | "send"> = {
  code: "unkey:authentication:missing",
  status: 401,
  title: "Unauthorized",
  detail: "Authentication credentials were not provided",
  fields: { "www-authenticate": CHALLENGE },
};
const malformed: Omit<FaultRow, "name" | "send"> = {
  code: "unkey:authentication:malformed",
  status: 401,
  title: "Unauthorized",
  detail: "Authentication credentials were incorrectly formatted",
  fields: { "www-authenticate": `${CHALLENGE}, error="invalid_request"` },
};
const notFound: Omit<FaultRow, "name" | "send"> = {
  code: "unkey:authentication:key_not_found",
  status: 401,
  title: "Unauthorized",
  detail: "The provided API key was not found",
  fields: { "www-authenticate": `${CHALLENGE}, error="invalid_token"` },
};

describeFaults("401", [
  { ...missing, name: "no Authorization field is missing", send: asked("/any", "") },
  { ...missing, name: "a HEAD gets the headers alone", send: asked("/any", "").replace("GET", "HEAD"), method: "HEAD" },
  {
    ...missing,
    name: "401 comes before 413",
    send: posted("/body", "x".repeat(2000), "Content-Type: application/json\r\n"),
  },
  { ...missing, name: "401 comes before a bad id", send: asked("/apis/a.b", "") },
  { ...malformed, name: "another scheme is malformed", send: asked("/any", "Authorization: Basic eA==\r\n") },
  { ...malformed, name: "an empty field is malformed", send: asked("/any", "Authorization:\r\n") },
  { ...malformed, name: "two fields are malformed", send: asked("/any", `${auth()}${auth()}`) },
  { ...notFound, name: "an unknown key is not found", send: asked("/any", auth("UNKNOWN")) },
  { ...notFound, name: "an expired key is not found", send: asked("/any", auth("EXPIRED")) },
  {
    ...notFound,
    name: "401 comes before 400 of the body",
    send: posted("/body", "{", `${auth("UNKNOWN")}Content-Type: application/json\r\n`),
  },
]);
