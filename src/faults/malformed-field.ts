import { type Fault, fault } from "./fault.ts";

/** A line of the head that is no field, so that no part of it can be read. `cause` is for the log. */
export function malformedField(cause?: string): Fault {
  return fault("user:bad_request:invalid_request", {
    detail: "A header field is malformed: its name, a space before its colon, a control character or a folded line",
    location: "headers",
    cause,
  });
}
