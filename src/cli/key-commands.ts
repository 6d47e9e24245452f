import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { hashKey, readBearer } from "../keys/bearer.ts";
import { formatInstant, LAST_INSTANT } from "../keys/instant.ts";
import { checkKeyFields, NO_FIELDS } from "../keys/key-fields.ts";
import { KeyringInvalid, parseKeyring } from "../keys/keyring-file.ts";
import { isKeyHash, type KeyRecord, standing } from "../keys/root-key.ts";
import {
  type CreatedKey,
  IncompleteChange,
  isSharedKeyStore,
  KeyStoreRefusal,
  type SharedKeyStore,
  SourceUnavailable,
  type WaitReport,
} from "../keys/source.ts";
import { CommandFailure, type CommandIo, EXIT, type ExitStatus } from "./exit.ts";
import { formatListLine, formatRecord, formatRows, formatStanding, LIST_HEADER, recordJson } from "./format-key.ts";
import { invalidFiles } from "./invalid-files.ts";
import { type OpenedStore, type OpenStore, openConfiguredStore } from "./key-store.ts";
import { looksLikeDuration, readClear, readDuration, readFields } from "./key-values.ts";
import type { KeysOptions, RunKeysCommand } from "./keys.ts";
import { interruptible } from "./signals.ts";

/**
 * Runs one of the `keys` commands and answers its exit status. What goes wrong ends in a `CommandFailure`: a value that
 * is refused is exit 2 and is refused before the store is opened, an unknown id exit 1, a store out of reach exit 3.
 */
export async function runKeysCommand(
  command: RunKeysCommand,
  argument: string | undefined,
  options: KeysOptions,
  io: CommandIo,
  open: OpenStore = openConfiguredStore,
): Promise<ExitStatus> {
  const task = new KeysTask(argument, options, io, open);
  try {
    return await task[command]();
  } catch (error) {
    throw toFailure(error, io);
  } finally {
    await task.close();
  }
}

/** The answer of a command: what `--json` prints, and what people read. */
interface Answer {
  readonly json: Readonly<Record<string, unknown>>;
  readonly text: string;
  /** For people, beside the data: what to do next. */
  readonly next?: string;
}

const WAIT_MS = 10_000;

class KeysTask {
  readonly #options: KeysOptions;
  readonly #io: CommandIo;
  readonly #open: OpenStore;
  readonly #now = Date.now();
  /** What `--wait` says; null where it was not given. */
  readonly #waitMs: number | null;
  readonly #argument: string | undefined;
  #opened: OpenedStore | null = null;

  constructor(argument: string | undefined, options: KeysOptions, io: CommandIo, open: OpenStore) {
    this.#options = options;
    this.#io = io;
    this.#open = open;
    const { wait } = options;
    // `--wait` takes a duration or none, so in `delete --wait key_1` the key id was taken for the duration.
    const isId = typeof wait === "string" && argument === undefined && !looksLikeDuration(wait);
    this.#argument = isId ? wait : argument;
    this.#waitMs = wait === undefined ? null : wait === true || isId ? WAIT_MS : readDuration(wait, "--wait");
  }

  async create(): Promise<ExitStatus> {
    const fields = { ...NO_FIELDS, ...checkKeyFields(readFields(this.#options, this.#now), [], this.#now) };
    const { store } = await this.#opening();
    const created = await this.#keepingSecret(() => store.create(fields));
    return this.#answer(await this.#newKey(created));
  }

  async get(): Promise<ExitStatus> {
    const { store } = await this.#opening();
    const record = await store.get(this.#keyId());
    if (record === null) throw new KeyStoreRefusal("unknown", `there is no key ${this.#keyId()}`);
    return this.#answer(this.#record(record));
  }

  async list(): Promise<ExitStatus> {
    const { store, name } = await this.#opening();
    let count = 0;
    for await (const record of store.list()) {
      if (this.#options.json) this.#io.out(`${count === 0 ? "[\n" : ",\n"}${JSON.stringify(recordJson(record))}`);
      else this.#io.out(`${count === 0 ? LIST_HEADER : ""}${formatListLine(record, this.#now)}`);
      count += 1;
    }
    if (this.#options.json) this.#io.out(count === 0 ? "[]\n" : "\n]\n");
    else if (count === 0) this.#io.err(`There are no keys in ${name} yet. Make one with: ${this.#command("create")}\n`);
    return EXIT.done;
  }

  async update(): Promise<ExitStatus> {
    const keyId = this.#keyId();
    const clear = readClear(this.#options.clear);
    const fields = readFields(this.#options, this.#now);
    if (clear.length === 0 && Object.keys(fields).length === 0) {
      throw new CommandFailure(EXIT.usage, "Nothing to update: give a flag of `keys create`, or --clear MEMBER.");
    }
    checkKeyFields(fields, clear, this.#now);
    const { store } = await this.#opening();
    return this.#answer(this.#record(await store.update(keyId, fields, clear)));
  }

  async disable(): Promise<ExitStatus> {
    const keyId = this.#keyId();
    const { store } = await this.#opening();
    const { json } = this.#record(await store.setEnabled(keyId, false));
    const next = `To let it in again: ${this.#command(`enable ${keyId}`)}`;
    return this.#answerAndWait({ json, text: `${keyId} is disabled.\n`, next });
  }

  async enable(): Promise<ExitStatus> {
    const keyId = this.#keyId();
    const { store } = await this.#opening();
    const record = await store.setEnabled(keyId, true);
    const state = formatStanding(record, this.#now);
    const text = `${keyId} is enabled${state === "valid" ? "" : `, but ${state}`}.\n`;
    return this.#answer({ ...this.#record(record), text });
  }

  async reroll(): Promise<ExitStatus> {
    const keyId = this.#keyId();
    const graceMs = readDuration(this.#options.grace ?? "0s", "--grace");
    if (this.#now + graceMs > LAST_INSTANT) throw new CommandFailure(EXIT.usage, "--grace is too long.");
    const { store } = await this.#opening();
    // Before anything is made: a secret must not be lost to a look-up that fails behind it.
    const expiresAt = (await store.get(keyId))?.expiresAt ?? null;
    const created = await this.#keepingSecret(() => store.reroll(keyId, graceMs));
    const answer = await this.#newKey(created);
    const old = graceMs === 0 ? `${keyId} no longer works.` : `${keyId} works until its grace ends.`;
    // Of a key that was rerolled before, this is the end of its grace, and hardly what is wanted of the new one.
    const end =
      expiresAt === null ? "" : `The new key expires when the old one would have, at ${formatInstant(expiresAt)}.\n`;
    return this.#answerAndWait({ ...answer, next: `${old}\n${end}${answer.next}` });
  }

  async delete(): Promise<ExitStatus> {
    const keyId = this.#keyId();
    const { store } = await this.#opening();
    await store.delete(keyId);
    return this.#answerAndWait({ json: { keyId }, text: `${keyId} is deleted.\n` });
  }

  async verify(): Promise<ExitStatus> {
    const given = this.#argument === "-" ? (await this.#io.stdin()).replace(/\r?\n$/, "") : (this.#argument ?? "");
    const { store, keyPrefix } = await this.#opening();
    const reading = readBearer(`Bearer ${given}`, 1, keyPrefix);
    // White space at its end would be HTTP's in a request; here it is part of what was given.
    if (reading.kind !== "secret" || reading.secret !== given) {
      this.#answer({
        json: { valid: false, standing: "malformed" },
        text: "malformed: no request with it would be looked up\n",
        next:
          keyPrefix === ""
            ? "A key holds only A-Z a-z 0-9 _ -"
            : `A key starts with ${keyPrefix} and holds only A-Z a-z 0-9 _ -`,
      });
      return EXIT.notSo;
    }
    const record = await store.findByHash(hashKey(reading.secret));
    if (record === null) {
      this.#answer({ json: { valid: false, standing: "not_found" }, text: "not found: there is no such key\n" });
      return EXIT.notSo;
    }
    const state = standing(record, this.#now);
    this.#answer(this.#verified(record));
    return state === "valid" ? EXIT.done : EXIT.notSo;
  }

  async import(): Promise<ExitStatus> {
    const file = this.#argument ?? "";
    const reading = parseKeyring(await readKeyringFile(resolve(this.#io.cwd, file), file), file);
    if (reading.kind === "problems") throw new KeyringInvalid(reading.problems);
    const store = await this.#shared("import");
    const summary = await interruptible((signal) => store.importKeyring(reading.keyring, signal));
    const { created, updated } = summary;
    return this.#answer({ json: { created, updated }, text: `${created} created, ${updated} updated\n` });
  }

  async forget(): Promise<ExitStatus> {
    const named = this.#argument ?? "";
    const isHash = isKeyHash(named);
    if (!isHash && !/^key_[A-Za-z0-9_.-]+$/.test(named)) {
      // It may be a secret that was pasted here: it is not repeated.
      throw new CommandFailure(EXIT.usage, "forget takes a key id (key_...) or the hash of a key (44 characters).");
    }
    await (await this.#shared("forget")).forget(isHash ? { hash: named } : { id: named });
    return this.#answer({
      json: isHash ? { hash: named } : { keyId: named },
      text: `${named} will be asked for anew.\n`,
    });
  }

  async close(): Promise<void> {
    await this.#opened?.store.close();
  }

  async #opening(): Promise<OpenedStore> {
    this.#opened ??= await this.#open(this.#options.config, this.#io);
    return this.#opened;
  }

  async #shared(command: string): Promise<SharedKeyStore> {
    const { store, name } = await this.#opening();
    if (isSharedKeyStore(store)) return store;
    throw new CommandFailure(
      EXIT.usage,
      `keys ${command} needs Redis; this configuration's keys are in ${name}, which instances read themselves.`,
    );
  }

  /** Another of the `keys` commands, as it is typed for the same configuration. */
  #command(text: string): string {
    const { config } = this.#options;
    return `sentinel keys ${text}${config === undefined ? "" : ` -c ${quoteWord(config)}`}`;
  }

  #keyId(): string {
    const keyId = this.#argument;
    if (keyId === undefined) throw new CommandFailure(EXIT.usage, "Which key? Give its id (key_...).");
    if (keyId.startsWith("key_")) return keyId;
    // It may be a secret that was pasted here: it is not repeated.
    throw new CommandFailure(EXIT.usage, "A key id starts with key_. For a key itself there is `keys verify`.");
  }

  /** A key that was made although something after it failed: its secret is shown nowhere else, so it is shown now. */
  async #keepingSecret(make: () => Promise<CreatedKey>): Promise<CreatedKey> {
    try {
      return await make();
    } catch (error) {
      if (error instanceof IncompleteChange && error.created !== null) this.#answer(await this.#newKey(error.created));
      throw error;
    }
  }

  async #newKey({ keyId, key }: CreatedKey): Promise<Answer> {
    const { gatewayUrl } = await this.#opening();
    return {
      json: { keyId, key },
      text: formatRows([
        ["keyId", keyId],
        ["key", key],
      ]),
      next: `The key is shown this once. Try it:\n  curl -H "Authorization: Bearer $KEY" ${gatewayUrl}/`,
    };
  }

  #record(record: KeyRecord): Answer {
    return { json: recordJson(record), text: formatRecord(record, this.#now) };
  }

  #verified(record: KeyRecord): Answer {
    const state = standing(record, this.#now);
    const { id, name, workspaceId, expiresAt, roles } = record;
    return {
      json: {
        valid: state === "valid",
        standing: state,
        keyId: id,
        ...(name !== null && { name }),
        ...(workspaceId !== null && { workspaceId }),
        ...(expiresAt !== null && { expiresAt: formatInstant(expiresAt) }),
        permissions: [...record.grants],
        roles,
      },
      text: formatRecord(record, this.#now),
    };
  }

  #answer({ json, text, next }: Answer): ExitStatus {
    this.#io.out(this.#options.json ? `${JSON.stringify(json)}\n` : text);
    if (next !== undefined && !this.#options.json) this.#io.err(`${next}\n`);
    return EXIT.done;
  }

  /**
   * The answer, and with `--wait` what the instances made of it. The answer may hold a secret: whatever becomes of the
   * waiting, it is printed.
   */
  async #answerAndWait(answer: Answer): Promise<ExitStatus> {
    const { store, name } = await this.#opening();
    if (this.#waitMs === null) return this.#answer(answer);
    if (!isSharedKeyStore(store)) {
      this.#io.err(`--wait waits for nothing: instances read ${name} themselves, within 2 s.\n`);
      return this.#answer(answer);
    }
    if (!this.#options.json) this.#answer(answer);
    let report: WaitReport | null = null;
    try {
      report = await store.waitForInstances(this.#waitMs);
    } finally {
      if (this.#options.json) this.#answer({ ...answer, json: { ...answer.json, ...report } });
    }
    const { instances, acknowledged, ms, missing } = report;
    if (missing.length > 0) {
      throw new CommandFailure(
        EXIT.unreachable,
        `The change is made, but ${missing.length} of ${instances} instances did not answer in ${ms} ms: ${missing.join(", ")}`,
      );
    }
    if (!this.#options.json) {
      const text =
        instances === 0
          ? "No instance is running.\n"
          : `${acknowledged} of ${instances} instances acted on it in ${ms} ms.\n`;
      this.#io.out(text);
    }
    return EXIT.done;
  }
}

/** As a shell reads it back: one word. */
function quoteWord(text: string): string {
  return /^[\w./:@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

async function readKeyringFile(path: string, name: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new CommandFailure(EXIT.usage, `${name} can not be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}

function toFailure(error: unknown, io: CommandIo): unknown {
  if (error instanceof KeyStoreRefusal) {
    return new CommandFailure(error.reason === "unknown" ? EXIT.notSo : EXIT.usage, sentence(error.message));
  }
  if (error instanceof KeyringInvalid) return invalidFiles(error.problems, io);
  if (error instanceof SourceUnavailable) return new CommandFailure(EXIT.unreachable, sentence(error.message));
  return error;
}

/** The first word is left alone where it is a name. */
function sentence(text: string): string {
  const start = /^[a-z]+\s/.test(text) ? text.slice(0, 1).toUpperCase() + text.slice(1) : text;
  return /[.!?]$/.test(start) ? start : `${start}.`;
}
