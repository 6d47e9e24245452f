/** The environment, handed in. */
export type Environment = Readonly<Record<string, string | undefined>>;

export interface Filled {
  readonly text: string;
  /** At least one placeholder was filled in. */
  readonly changed: boolean;
  /** The scalar was one placeholder and nothing else: what it was filled with may be read as a number or boolean. */
  readonly whole: boolean;
  readonly mistakes: readonly FillMistake[];
}

export interface FillMistake {
  /** Index in the text that was given, from 0. */
  readonly offset: number;
  readonly message: string;
}

/**
 * Fills `${NAME}` and `${NAME:-default}` in one parsed scalar; `$${` stands for a literal `${`. A default also stands
 * in for an empty value, as in a shell. What was filled in is data: it is not filled again and can not add YAML.
 */
export function fillPlaceholders(text: string, env: Environment): Filled {
  if (!text.includes("${")) return { text, changed: false, whole: false, mistakes: [] };
  const mistakes: FillMistake[] = [];
  let filled = "";
  let changed = false;
  let at = 0;
  for (const match of text.matchAll(TOKEN)) {
    filled += text.slice(at, match.index);
    at = match.index + match[0].length;
    const { name, fallback } = match.groups ?? {};
    if (match[0] === "$${") {
      filled += "${";
    } else if (name === undefined) {
      mistakes.push({ offset: match.index, message: MALFORMED });
    } else {
      changed = true;
      const value = Object.hasOwn(env, name) ? env[name] : undefined;
      if (value === undefined && fallback === undefined) mistakes.push({ offset: match.index, message: missing(name) });
      else filled += fallback === undefined ? (value ?? "") : value === undefined || value === "" ? fallback : value;
    }
  }
  filled += text.slice(at);
  return { text: filled, changed, whole: changed && WHOLE.test(text), mistakes };
}

// In this order: the escape, a whole placeholder, and what begins like one.
const PLACEHOLDER = "\\$\\{(?<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?<fallback>[^}]*))?\\}";
const TOKEN = new RegExp(`\\$\\$\\{|${PLACEHOLDER}|\\$\\{`, "g");
const WHOLE = new RegExp(`^${PLACEHOLDER}$`);

const MALFORMED = "a placeholder is ${NAME} or ${NAME:-default}; write $${ for a literal ${";

function missing(name: string): string {
  return `the environment has no ${name}; set it, or give a default with \${${name}:-default}`;
}
