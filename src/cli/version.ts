declare const SENTINEL_VERSION: string;

/** Put in place by the build, from package.json. */
export function version(): string {
  return typeof SENTINEL_VERSION === "string" ? SENTINEL_VERSION : "0.0.0-source";
}
