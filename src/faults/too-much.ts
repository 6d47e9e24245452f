import { type Fault, fault } from "./fault.ts";

/** Limits are told in the same words wherever they are found to be passed: by the parser, by the head, by the body. */

/** 413. */
export function bodyTooLarge(maxBytes: number): Fault {
  const detail = `The request body is larger than the ${maxBytes} bytes allowed here`;
  return fault("user:bad_request:request_body_too_large", { detail });
}

/** 414. */
export function targetTooLong(maxBytes: number): Fault {
  const detail = `The request target must not be longer than ${maxBytes} bytes`;
  return fault("user:bad_request:target_too_long", { detail });
}

/** 431. */
export function fieldsTooLarge(maxBytes: number): Fault {
  const detail = `The request's header fields must not be larger than ${maxBytes} bytes`;
  return fault("user:bad_request:headers_too_large", { detail });
}

/** 431. */
export function tooManyFields(maxLines: number): Fault {
  const detail = `The request must not have more than ${maxLines} header fields`;
  return fault("user:bad_request:headers_too_large", { detail });
}
