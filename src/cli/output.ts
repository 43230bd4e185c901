/** Where a command prints: injected, so that tests read what an operator would see. */
import { terminalColumns } from "./table.ts";

export interface Output {
  line(text: string): void;
  error(text: string): void;
  /** Columns that a line may take. */
  readonly width: number;
}

export const terminal: Output = {
  line: (text) => process.stdout.write(`${text}\n`),
  error: (text) => process.stderr.write(`${text}\n`),
  width: Math.max(process.stdout.columns ?? terminalColumns, terminalColumns),
};

/** One JSON document, indented: for people who pipe it and people who read it. */
export function printJson(output: Output, value: unknown): void {
  output.line(JSON.stringify(value, undefined, 2));
}
