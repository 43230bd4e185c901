/** What an operator reads when the daemon cannot start: one line, and the exit code. */
import { type ExitCode, exitCode, StartError } from "./exit-codes.ts";

export interface StartProblem {
  readonly code: ExitCode;
  readonly line: string;
}

/** The addon's errors have the errno's name as `code` and say what to do; anything unknown is a bug of ours. */
export function startProblem(error: unknown): StartProblem {
  if (error instanceof StartError)
    return { code: error.code, line: `culvertd: ${error.message}; ${error.remedy}` };
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined || !/^(E[A-Z0-9]+|ADDON_[A-Z]+)$/.test(code)) {
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { code: exitCode.failed, line: `culvertd: this is a bug, please report it: ${what}` };
  }
  const denied = code === "EPERM" || code === "EACCES";
  const remedy = denied && !message.includes(";") ? `; ${rootRemedy}` : "";
  return {
    code: denied ? exitCode.noPermission : exitCode.unavailable,
    line: `culvertd: ${message}${remedy}`,
  };
}

const rootRemedy = "run as root, or with the capabilities CAP_NET_ADMIN and CAP_NET_RAW";
