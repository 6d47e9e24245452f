/** What a comment in values.yaml says of the value below it. */
export interface ValueComment {
  /** `keyring.existingSecret` */
  readonly name: string;
  readonly description: string;
  /** What to show in place of the default itself; null: the default. */
  readonly shownDefault: string | null;
}

/** Reads the comments that begin with `# -- ` above the keys of values.yaml, in their order. Keys are indented by two. */
export function readValuesComments(text: string): ValueComment[] {
  const comments: ValueComment[] = [];
  const path: string[] = [];
  let comment: string[] | null = null;
  let shownDefault: string | null = null;
  for (const line of text.split("\n")) {
    const [, indent = "", said, key] = /^( *)(?:# ?(.*)|([A-Za-z][A-Za-z0-9]*):.*)$/.exec(line) ?? [];
    if (said?.startsWith("-- ")) {
      comment = [said.slice("-- ".length)];
    } else if (said?.startsWith("@default -- ")) {
      shownDefault = said.slice("@default -- ".length);
    } else if (said !== undefined) {
      comment?.push(said);
    } else if (key !== undefined) {
      path.splice(indent.length / 2, path.length, key);
      if (comment !== null) comments.push({ name: path.join("."), description: comment.join(" "), shownDefault });
      comment = null;
      shownDefault = null;
    } else {
      comment = null;
    }
  }
  return comments;
}
