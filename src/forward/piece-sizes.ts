/** A body of up to this many bytes, either way, is copied to leave with its head as one: that is cheaper than a second write. */
export const ONE_WRITE_BYTES = 12 * 1024;

/** Below this a piece of a body that has to wait costs more memory than it is bytes. */
export const SMALL_BYTES = 1024;
