/** What a command's exit status says (contract section 1). */
export const EXIT = {
  done: 0,
  /** The thing asked about is not so: invalid configuration, denied request, unknown key id. */
  notSo: 1,
  /** Wrong usage, or a value that is refused. */
  usage: 2,
  /** A server it needs is out of reach. */
  unreachable: 3,
} as const;

export type ExitStatus = (typeof EXIT)[keyof typeof EXIT];

/** Where a command writes: data to `out`, everything else to `err`. Handed in, so that tests can read both. */
export interface CommandIo {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Reads standard input to its end. */
  readonly stdin: () => Promise<string>;
  /** Colour only on a terminal, and never with NO_COLOR. */
  readonly colour: boolean;
}

/** Ends a command with a status and a sentence on stderr. */
export class CommandFailure extends Error {
  override readonly name = "CommandFailure";
  readonly status: ExitStatus;

  constructor(status: ExitStatus, message: string) {
    super(message);
    this.status = status;
  }
}
