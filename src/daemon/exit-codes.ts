/** Exit codes of `culvertd`, from sysexits(3) where it has one; docs/operations.md lists them. */
export const exitCode = {
  ok: 0,
  /** A bug of ours, or a signal while shutting down. */
  failed: 1,
  usage: 64,
  /** Something the daemon needs is missing: the TUN device, the addon, a port. */
  unavailable: 69,
  /** Another daemon already runs. */
  busy: 75,
  noPermission: 77,
  config: 78,
} as const;

export type ExitCode = (typeof exitCode)[keyof typeof exitCode];

/** A start that cannot go on: one line for the operator that says what and what to do, and the exit code. */
export class StartError extends Error {
  override readonly name = "StartError";
  readonly code: ExitCode;
  readonly remedy: string;

  constructor(code: ExitCode, problem: string, remedy: string) {
    super(problem);
    this.code = code;
    this.remedy = remedy;
  }
}
