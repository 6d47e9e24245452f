import { type Node, Pair, Scalar, YAMLMap, YAMLSeq } from "yaml";

/**
 * The part of YAML that keyrings are written in, read in a fraction of the time the library takes: block mappings and
 * lists, `[ ]` and `{ }` on one line or as a whole JSON text, plain and quoted scalars on one line, comments. What comes
 * out is what `parseDocument` would make of the text, without ranges. Null for everything else, and for whatever could be
 * read in two ways: anchors, tags, block scalars, escapes, tabs, repeated names, unusual numbers. Then the library decides,
 * and says what is wrong.
 */
export function parsePlainYaml(text: string): Node | null {
  try {
    return new PlainReader(text).read();
  } catch (error) {
    if (error === NOT_PLAIN) return null;
    throw error;
  }
}

/** Thrown as it is, without a stack: it only says that the library has to read the text. */
const NOT_PLAIN = Symbol("not plain");

const DEPTH_MAX = 32;
/** `-`, and what stands behind it on the line. */
const ITEM = /- +(?=[^ #])/y;
/** `name:` and the spaces behind it. Names that look like anything but a string do not match. */
const NAME = /([A-Za-z_][A-Za-z0-9_-]{0,99}):(?= |\n|$) */y;
const FLOW_NAME = /(?:"([A-Za-z_][A-Za-z0-9_-]{0,99})" *:|([A-Za-z_][A-Za-z0-9_-]{0,99}):(?= )) */y;
const QUOTED = /"([^"\\\n]{0,1000})"|'([^'\n]{0,1000})'(?!')/y;
/** In a block, to the end of the line or ` #`; a colon that a space follows would make it a name. */
const PLAIN = /[A-Za-z0-9_+/](?:[A-Za-z0-9_+/.*=@,;()-]|:(?![ \n]|$)| (?=[A-Za-z0-9_+/.*=@,;()-]))*/y;
const FLOW_PLAIN = /[A-Za-z0-9_+/](?:[A-Za-z0-9_+/.*=@;()-]|:(?=[A-Za-z0-9_/.*-]))*/y;
/** Numbers as everybody reads them. */
const INTEGER = /^(?:0|[1-9]\d{0,14})$/;
const INSTANT = /^\d{4}-\d{2}-\d{2}(?:T[\d:.]+(?:Z|[+-][\d:]+))?$/;
/** What starts like a number and is surely none: a hash in base64. */
const BASE64 = /^[A-Za-z0-9+/]{43}=$/;
const RESERVED = /^(?:null|true|false)$/i;
/** Anything but printable characters that mean themselves wherever they stand; \n is the one line end. */
const UNUSUAL = /[^\n\x20-\x7e\u00a1-\u1fff\u2010-\u2027\u2030-\u205e\u2070-\ud7ff]/;

class PlainReader {
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): Node {
    if (UNUSUAL.test(this.#text)) throw NOT_PLAIN;
    const indent = this.#toContent();
    if (indent === null) throw NOT_PLAIN;
    const first = this.#text[this.#at];
    const root = first === "{" || first === "[" ? this.#flow(FREE) : this.#block(indent);
    if (first === "{" || first === "[") this.#endOfLine();
    if (this.#toContent() !== null) throw NOT_PLAIN;
    return root;
  }

  /** Passes empty lines and comments; `#at` is at the first character of a line that holds something. Its indentation. */
  #toContent(): number | null {
    const text = this.#text;
    for (;;) {
      let at = this.#at;
      while (text[at] === " ") at++;
      if (at >= text.length) return null;
      if (text[at] !== "\n" && text[at] !== "#") {
        const indent = at - this.#at;
        this.#at = at;
        return indent;
      }
      const end = text.indexOf("\n", at);
      if (end === -1) return null;
      this.#at = end + 1;
    }
  }

  /** Like `#toContent`, without moving: what the next line's indentation is. */
  #nextIndent(): number {
    const before = this.#at;
    const indent = this.#toContent();
    this.#at = before;
    return indent ?? -1;
  }

  #block(indent: number): Node {
    if (++this.#depth > DEPTH_MAX) throw NOT_PLAIN;
    const node = this.#text[this.#at] === "-" ? this.#blockList(indent) : this.#blockMap(indent);
    this.#depth--;
    return node;
  }

  #blockList(indent: number): YAMLSeq {
    const list = new YAMLSeq<Node>();
    do {
      const dash = this.#at;
      this.#match(ITEM);
      const inner = indent + this.#at - dash;
      // `- id: a` begins a mapping whose other members stand below `id`.
      list.items.push(this.#isName() ? this.#block(inner) : this.#inlineValue());
    } while (this.#another(indent, true));
    return list;
  }

  #blockMap(indent: number): YAMLMap {
    const map = new YAMLMap<Node, Node>();
    const names = new Set<string>();
    do {
      const name = this.#match(NAME)[1] ?? "";
      this.#addMember(map, names, name, this.#memberValue(indent));
    } while (this.#another(indent, false));
    return map;
  }

  /** Behind `name:`: something on the line, or a block below it. A list may stand as far left as the name. */
  #memberValue(indent: number): Node {
    const next = this.#text[this.#at];
    if (next !== undefined && next !== "\n" && next !== "#") return this.#inlineValue();
    this.#endOfLine();
    const below = this.#nextIndent();
    if (below < indent) throw NOT_PLAIN;
    this.#toContent();
    if (below === indent && this.#text[this.#at] !== "-") throw NOT_PLAIN;
    return this.#block(below);
  }

  /** Moves to the next member of the collection at `indent`; false where it is over. Deeper lines belong to nothing. */
  #another(indent: number, isList: boolean): boolean {
    const next = this.#nextIndent();
    if (next > indent) throw NOT_PLAIN;
    if (next < indent) return false;
    const before = this.#at;
    this.#toContent();
    const isItem = this.#text[this.#at] === "-";
    if (isItem === isList) return true;
    // The next member of a mapping, below a list that stands as far left as its name.
    if (isItem) throw NOT_PLAIN;
    this.#at = before;
    return false;
  }

  /** A value on the rest of the line, and the line's end. */
  #inlineValue(): Node {
    const first = this.#text[this.#at];
    const value = first === "{" || first === "[" ? this.#flow(ONE_LINE) : this.#scalar(PLAIN);
    this.#endOfLine();
    return value;
  }

  #isName(): boolean {
    NAME.lastIndex = this.#at;
    return NAME.test(this.#text);
  }

  #flow(space: RegExp): Node {
    if (++this.#depth > DEPTH_MAX) throw NOT_PLAIN;
    const isMap = this.#text[this.#at++] === "{";
    const node = isMap ? this.#flowMap(space) : this.#flowList(space);
    this.#depth--;
    return node;
  }

  #flowMap(space: RegExp): YAMLMap {
    const map = new YAMLMap<Node, Node>();
    map.flow = true;
    const names = new Set<string>();
    this.#match(space);
    if (this.#take("}")) return map;
    do {
      this.#match(space);
      const [, quoted, plain] = this.#match(FLOW_NAME);
      this.#addMember(map, names, quoted ?? plain ?? "", this.#flowValue(space));
      this.#match(space);
    } while (this.#take(","));
    if (!this.#take("}")) throw NOT_PLAIN;
    return map;
  }

  #flowList(space: RegExp): YAMLSeq {
    const list = new YAMLSeq<Node>();
    list.flow = true;
    this.#match(space);
    if (this.#take("]")) return list;
    do {
      this.#match(space);
      list.items.push(this.#flowValue(space));
      this.#match(space);
    } while (this.#take(","));
    if (!this.#take("]")) throw NOT_PLAIN;
    return list;
  }

  #flowValue(space: RegExp): Node {
    const first = this.#text[this.#at];
    return first === "{" || first === "[" ? this.#flow(space) : this.#scalar(FLOW_PLAIN);
  }

  #scalar(plain: RegExp): Scalar {
    const first = this.#text[this.#at];
    if (first === '"' || first === "'") {
      const [, double, single] = this.#match(QUOTED);
      return scalar(double ?? single ?? "", double ?? single ?? "");
    }
    const [source] = this.#match(plain);
    return scalar(resolve(source), source);
  }

  #addMember(map: YAMLMap<Node, Node>, names: Set<string>, name: string, value: Node): void {
    if (names.has(name) || RESERVED.test(name)) throw NOT_PLAIN;
    names.add(name);
    map.items.push(new Pair<Node, Node>(scalar(name, name), value));
  }

  /** Spaces and a comment; a comment needs a space before it. */
  #endOfLine(): void {
    const text = this.#text;
    const spaces = this.#at;
    while (text[this.#at] === " ") this.#at++;
    if (text[this.#at] === "#" && this.#at > spaces - (text[spaces - 1] === " " ? 1 : 0)) {
      const end = text.indexOf("\n", this.#at);
      this.#at = end === -1 ? text.length : end;
    }
    if (this.#at >= text.length) return;
    if (text[this.#at] !== "\n") throw NOT_PLAIN;
    this.#at++;
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #match(pattern: RegExp): RegExpExecArray {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match === null) throw NOT_PLAIN;
    this.#at = pattern.lastIndex;
    return match;
  }
}

/** Between the parts of a `[ ]` or `{ }`: in a block, on its line only; where it is the whole text, anywhere. */
const ONE_LINE = / */y;
const FREE = /[ \n]*/y;

/** A plain scalar's value by YAML's core schema. */
function resolve(source: string): string | number | boolean {
  if (source === "true") return true;
  if (source === "false") return false;
  if (RESERVED.test(source)) throw NOT_PLAIN;
  if (!/^[0-9+]/.test(source) || BASE64.test(source) || INSTANT.test(source)) return source;
  if (INTEGER.test(source)) return Number(source);
  throw NOT_PLAIN;
}

function scalar(value: string | number | boolean, source: string): Scalar {
  const node = new Scalar(value);
  node.source = source;
  return node;
}
