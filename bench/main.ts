/** `npm run bench -- path|native|ike`. Progress goes to stderr, the table or the JSON to stdout. */
import { benchIke } from "./ike/main.ts";
import { benchNative } from "./native.ts";
import { parseOptions, usage } from "./options.ts";
import { benchPath } from "./path/main.ts";
import { machine, writeResults } from "./report.ts";

export interface BenchReport {
  /** For --json. */
  readonly data: unknown;
  /** Markdown, for people and for bench/RESULTS.md. */
  readonly text: string;
}

async function main(args: readonly string[]): Promise<void> {
  const options = parseOptions(args);
  if (options === "help") {
    process.stdout.write(usage);
    return;
  }
  const benches = { path: benchPath, native: benchNative, ike: benchIke };
  const report = await benches[options.what](options);
  if (options.write) writeResults(options.what, { command: options.command, text: report.text });
  if (options.json) process.stdout.write(`${JSON.stringify({ machine: machine(), results: report.data })}\n`);
  else process.stdout.write(`\n${machine()}\n\n${report.text}\n`);
}

main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
