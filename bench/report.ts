/** Tables, medians, and the record in bench/RESULTS.md. */
import { readFileSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { repository } from "../testbed/culvert.ts";

/** Middle value; the mean of the middle two for an even count. NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = values.filter((value) => Number.isFinite(value)).sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** A Markdown table, the first column to the left and the rest to the right. */
export function markdownTable(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = titles.map((title, i) => Math.max(title.length, 3, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(" | ")} |`;
  const ruler = `|${widths.map((width, i) => (i === 0 ? "-".repeat(width + 2) : `${"-".repeat(width + 1)}:`)).join("|")}|`;
  return [line(titles), ruler, ...rows.map(line)].join("\n");
}

/** The machine in one line: what a figure means depends on it. */
export function machine(): string {
  const cpu = cpus();
  const info = readFileSync("/proc/cpuinfo", "utf8");
  const flags = /^flags\s*:\s*(.*)$/m.exec(info)?.[1]?.split(" ") ?? [];
  const interesting = ["aes", "vaes", "vpclmulqdq", "avx2", "avx512f"].filter((flag) => flags.includes(flag));
  const family = /^cpu family\s*:\s*(\d+)$/m.exec(info)?.[1];
  const model = /^model\s*:\s*(\d+)$/m.exec(info)?.[1];
  const name = cpu[0]?.model ?? process.arch;
  const numbers = family === undefined ? "" : ` family ${family} model ${model}`;
  const virtual = flags.includes("hypervisor") ? ", virtual machine" : "";
  return (
    `${cpu.length} × ${name}${numbers} (${interesting.join(" ")})${virtual}, ` +
    `${Math.round(totalmem() / 2 ** 30)} GB, Linux ${release()}, Node ${process.versions.node}`
  );
}

/** Replaces the section `name` of bench/RESULTS.md, or adds it. */
export function writeResults(
  name: string,
  section: { readonly command: string; readonly text: string },
): void {
  const path = join(repository, "bench/RESULTS.md");
  const start = `<!-- ${name} -->`;
  const end = `<!-- end of ${name} -->`;
  const body = [
    start,
    `## ${name}`,
    "",
    `\`${section.command}\`, ${new Date().toISOString().slice(0, 10)}, on ${machine()}.`,
    "",
    section.text,
    end,
  ].join("\n");
  const before =
    read(path) ?? "# Results\n\nThe last measurements, written by `npm run bench -- … --write`.\n";
  const from = before.indexOf(start);
  const to = before.indexOf(end);
  const after =
    from < 0 || to < from
      ? `${before.trimEnd()}\n\n${body}\n`
      : before.slice(0, from) + body + before.slice(to + end.length);
  writeFileSync(path, after);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
