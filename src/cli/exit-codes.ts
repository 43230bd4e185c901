/** Exit codes of `culvert`; docs/operations.md lists them. */
export const exitCode = {
  ok: 0,
  /** The connection did not do what was asked, or the daemon answered with an error. */
  failed: 1,
  usage: 64,
  /** No daemon answers at the control socket. */
  unavailable: 69,
  /** `--timeout` passed before there was a result. */
  timeout: 75,
  noPermission: 77,
  /** The configuration breaks a rule. */
  config: 78,
} as const;

export type ExitCode = (typeof exitCode)[keyof typeof exitCode];

/** Ends a command: `message` for the operator on stderr, and the exit code. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly code: ExitCode;

  constructor(code: ExitCode, message: string) {
    super(message);
    this.code = code;
  }
}
