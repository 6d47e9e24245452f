/**
 * What `sentinel start`, `start -c FILE` and `start --config FILE` ask for. Null for every other command line, and for
 * unusual spellings of this one: those are for the command line's library, which takes its time to load.
 */
export function parsePlainStart(args: readonly string[]): { readonly config: string | undefined } | null {
  const [command, option, file, ...more] = args;
  if (command !== "start" || more.length > 0) return null;
  if (option === undefined) return { config: undefined };
  if ((option !== "-c" && option !== "--config") || file === undefined || !/^[^-]/.test(file)) return null;
  return { config: file };
}
