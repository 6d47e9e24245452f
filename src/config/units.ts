/** Durations and sizes as the configuration and the command line spell them. */

const MS_PER_UNIT = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;
const BYTES_PER_UNIT = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;

export const DURATION_PATTERN = /^(\d{1,9})(ms|s|m|h)$/;
export const SIZE_PATTERN = /^(\d{1,9})(B|KiB|MiB|GiB)$/;

/** `250ms`, `10s`, `5m`, `24h` to milliseconds; null when it is none of these. */
export function parseDuration(text: string): number | null {
  const match = DURATION_PATTERN.exec(text);
  return match === null ? null : Number(match[1]) * MS_PER_UNIT[match[2] as keyof typeof MS_PER_UNIT];
}

/** `512B`, `64KiB`, `1MiB` to bytes; null when it is none of these. */
export function parseSize(text: string): number | null {
  const match = SIZE_PATTERN.exec(text);
  return match === null ? null : Number(match[1]) * BYTES_PER_UNIT[match[2] as keyof typeof BYTES_PER_UNIT];
}
