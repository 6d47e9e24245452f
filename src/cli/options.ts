/** Of every command that reads the configuration. */
export const CONFIG_OPTION = [
  "-c, --config <file>",
  "the configuration (default: $SENTINEL_CONFIG, config/sentinel.yaml, sentinel.yaml)",
] as const;

/** For an option that may be repeated: all of its values, in order. */
export function collect(value: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), value];
}
