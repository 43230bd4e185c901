// One line per step with its seconds; a failing step shows the end of what it printed and where the rest is.
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** A failure that a person can act on: printed without a stack. */
export class BootstrapError extends Error {
  constructor(message) {
    super(message);
    this.name = "BootstrapError";
  }
}

/** Runs `work` under the title `title`. Returns its result. */
export async function step(title, work) {
  const started = Date.now();
  const terminal = process.stderr.isTTY === true;
  const seconds = () => `${((Date.now() - started) / 1000).toFixed(1)} s`;
  process.stderr.write(`  ${title} ...${terminal ? "" : "\n"}`);
  const ticker = terminal ? setInterval(() => rewrite(`  ${title} ... ${seconds()}`), 500) : undefined;
  try {
    const result = await work();
    clearInterval(ticker);
    if (terminal) rewrite(`  ${title}: ${seconds()}\n`);
    else process.stderr.write(`  ${title}: ${seconds()}\n`);
    return result;
  } catch (error) {
    clearInterval(ticker);
    process.stderr.write(`${terminal ? "\n" : ""}  ${title}: failed after ${seconds()}\n`);
    throw error;
  }
}

/** Runs a command quietly; on failure throws its last lines. The whole output is kept in `logFile`. */
export async function command(argv, { cwd, env, logFile, lines = 30, hint }) {
  const { code, output } = await capture(argv, { cwd, env });
  mkdirSync(join(logFile, ".."), { recursive: true });
  writeFileSync(logFile, output);
  if (code === 0) return output;
  const end = output.trimEnd().split("\n").slice(-lines).join("\n");
  throw new BootstrapError(
    `${argv.join(" ")} ended with ${code}:\n${end}\n\nAll of its output: ${logFile}${hint ? `\n${hint}` : ""}`,
  );
}

/** Runs a command and returns its exit code and everything it printed. */
export function capture(argv, { cwd, env } = {}) {
  return new Promise((resolve) => {
    const child = spawn(argv[0], argv.slice(1), {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const chunks = [];
    child.stdout.on("data", (chunk) => chunks.push(chunk));
    child.stderr.on("data", (chunk) => chunks.push(chunk));
    child.on("error", (error) => resolve({ code: -1, output: String(error) }));
    child.on("close", (code) =>
      resolve({ code: code ?? -1, output: Buffer.concat(chunks).toString("utf8") }),
    );
  });
}

function rewrite(text) {
  process.stderr.write(`\r\u001b[K${text}`);
}
