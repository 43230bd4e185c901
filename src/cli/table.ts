/** Text for a terminal: tables and wrapped lines that fit a width. */

/** Columns of a terminal that nobody widened. */
export const terminalColumns = 80;

export interface Column {
  readonly title: string;
  readonly align?: "right";
  /** May be cut with `…` when the table would be wider than the terminal. */
  readonly shrink?: boolean;
}

/** `rows` under the titles, two spaces apart. Shrinkable columns, the widest first, give up what does not fit. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
): string[] {
  const widths = columns.map((column, i) =>
    Math.max(column.title.length, ...rows.map((row) => (row[i] ?? "").length)),
  );
  const shrinkable = columns.flatMap((column, i) => (column.shrink ? [i] : []));
  for (;;) {
    const total = widths.reduce((sum, w) => sum + w + gap, -gap);
    const widest = shrinkable
      .filter((i) => widths[i]! > narrowest)
      .reduce<number | undefined>(
        (best, i) => (best === undefined || widths[i]! > widths[best]! ? i : best),
        undefined,
      );
    if (total <= width || widest === undefined) break;
    widths[widest] = Math.max(narrowest, widths[widest]! - 1);
  }
  const line = (cells: readonly string[]) =>
    columns
      .map((column, i) => {
        const cell = cut(cells[i] ?? "", widths[i]!);
        return column.align === "right" ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!);
      })
      .join(" ".repeat(gap))
      .trimEnd();
  return [line(columns.map((column) => column.title)), ...rows.map(line)];
}

/** `label` in a column of `labelWidth`, and `text` wrapped behind it, every line within `width`. */
export function labelled(label: string, text: string, labelWidth: number, width: number): string[] {
  const lines = wrap(text, width - labelWidth);
  return lines.map((line, i) => ((i === 0 ? label : "").padEnd(labelWidth) + line).trimEnd());
}

/** Breaks at spaces; a word longer than `width` is broken where the line ends. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (let word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = "";
    }
    while (word.length > width) {
      lines.push(word.slice(0, width));
      word = word.slice(width);
    }
    line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** `3d 4h`, `2h 13m`, `12m 5s`, `7s`: the two largest units. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const parts = [
    [Math.floor(seconds / 86400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "m"],
    [seconds % 60, "s"],
  ] as const;
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0s";
  return parts
    .slice(first, first + 2)
    .filter(([count], i) => i === 0 || count > 0)
    .map(([count, unit]) => `${count}${unit}`)
    .join(" ");
}

/** `1.5 GiB`: three digits at most before the unit, powers of 1024. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < byteUnits.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${byteUnits[unit]}`;
}

/** Text from a peer or the daemon, made harmless for a terminal: control characters become `?`. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?");
}

const cut = (text: string, width: number): string =>
  text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;

const gap = 2;
const narrowest = 8;
const byteUnits = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
