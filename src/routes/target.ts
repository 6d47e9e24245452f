import type { Fault } from "../faults/fault.ts";

/**
 * The request target, parsed once from the raw bytes. What was matched and authorised is what is logged and what the
 * upstream gets (contract section 2.2).
 */
export interface Target {
  /** Canonical: begins with `/`, unreserved escapes decoded, the others in upper case. */
  readonly path: string;
  /** As it came, with its `?`; empty where there was none. */
  readonly query: string;
  /** `%2F` is in a segment: refused unless the route has `allowEncodedSlash`. */
  readonly hasEncodedSlash: boolean;
  /** `;` (or `%3B`) is in a segment: refused unless the route has `allowSemicolon`. */
  readonly hasSemicolon: boolean;
  /** The authority of an absolute-form target, as sent, to be compared with Host; null for origin-form. */
  readonly authority: string | null;
}

/** Reads a target other than `*`. Ends in `ambiguous_path`, `invalid_request`. */
export declare function parseTarget(raw: string): Target | Fault;
