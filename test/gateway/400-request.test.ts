import { auth } from "../support/rig.ts";
import { asked, describeFaults, type FaultRow, posted } from "./faults.ts";

const row = (code: string): Omit<FaultRow, "name" | "send"> => ({
  code: `user:bad_request:${code}`,
  status: 400,
  title: "Bad Request",
  detail: /./,
});
const JSON_TYPE = "Content-Type: application/json\r\n";

describeFaults("400", [
  {
    ...row("invalid_request"),
    name: "two lengths",
    send: posted("/open", "abc", "Content-Length: 3\r\n"),
    detail: /more than one Content-Length/,
    location: /content-length/,
  },
  {
    ...row("invalid_request"),
    name: "a length and a transfer coding",
    send: posted("/open", "abc", "Transfer-Encoding: chunked\r\n"),
    detail: /without/,
    location: /content-length|transfer-encoding/,
  },
  {
    ...row("invalid_request"),
    name: "a transfer coding behind chunked",
    send: asked("/open", "Transfer-Encoding: chunked, gzip\r\n"),
    detail: /chunked, by itself/,
    location: /transfer-encoding/,
  },
  {
    ...row("invalid_request"),
    name: "a space before the colon",
    send: asked("/open", "X-Id : a\r\n"),
    detail: /space before its colon/,
    location: /headers/,
  },
  {
    ...row("invalid_request"),
    name: "a line that ends in LF alone",
    send: asked("/open", "X-Id: a\n"),
    detail: /CR and LF/,
  },
  { ...row("invalid_request"), name: "no Host", send: "GET /open HTTP/1.1\r\n\r\n", location: /host/ },
  {
    ...row("invalid_request"),
    name: "a protected name in Connection",
    send: asked("/any", `${auth()}Connection: authorization\r\n`),
    location: /connection/,
  },
  { ...row("invalid_request"), name: "two credentials on an open route", send: asked("/open", `${auth()}${auth()}`) },
  { ...row("ambiguous_path"), name: "a dot segment", send: asked("/open/../any"), location: /path/ },
  {
    ...row("ambiguous_path"),
    name: "an encoded slash where it is not allowed",
    send: asked("/open/a%2fx"),
    location: /path/,
  },
  {
    ...row("invalid_resource_id"),
    name: "an id with a dot",
    send: asked("/apis/a.b"),
    detail: /path\.apiId/,
    location: /./,
  },
  {
    ...row("invalid_resource_id"),
    name: "an id that is absent from the body",
    send: posted("/body", "{}", auth() + JSON_TYPE),
    detail: /body\.apiId/,
  },
  {
    ...row("invalid_resource_id"),
    name: "an id that is a number",
    send: posted("/body", '{"apiId":1}', auth() + JSON_TYPE),
    detail: /body\.apiId/,
  },
  {
    ...row("invalid_body"),
    name: "a body that is no JSON",
    send: posted("/body", "{", auth() + JSON_TYPE),
    location: /body/,
  },
  {
    ...row("invalid_body"),
    name: "a body of another type",
    send: posted("/body", "{}", `${auth()}Content-Type: text/plain\r\n`),
  },
  { ...row("invalid_body"), name: "a body of no type", send: posted("/body", "{}") },
  {
    ...row("invalid_body"),
    name: "a member twice",
    send: posted("/body", '{"apiId":"a","apiId":"b"}', auth() + JSON_TYPE),
  },
  {
    ...row("invalid_body"),
    name: "a body that is not UTF-8",
    send: posted("/body", "{}", auth() + JSON_TYPE)
      .replace("Length: 2", "Length: 3")
      .concat("\xff"),
  },
]);
