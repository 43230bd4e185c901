/** A failure record as lines that an operator can act on. */
import type { FailureRecord } from "../core/failure.ts";
import { failureReasons } from "../core/failure-reasons.ts";
import { formatDuration, labelled, printable, wrap } from "./table.ts";

/** `agoMs`: how long ago it happened. */
export function renderFailure(failure: FailureRecord, agoMs: number, width: number): string[] {
  const headline = `${failure.connection ?? "gateway"}: ${failureReasons[failure.code] ?? "failed"}`;
  const when = `${failure.code}, ${formatDuration(agoMs)} ago`;
  const rows: [string, string][] = [
    ["peer", failure.peer ?? ""],
    ...offers("we offered", failure.ours),
    ...offers("peer offered", failure.theirs),
    ["differs", failure.difference],
    ["change", failure.remedy],
  ];
  return [
    ...wrap(printable(`${headline} (${when})`), width),
    ...rows
      .filter(([, text]) => text !== "")
      .flatMap(([label, text]) => labelled(`  ${label}`, printable(text), labelWidth, width)),
  ];
}

/** A failure that has not hurt yet. */
export function renderWarning(failure: FailureRecord, agoMs: number, width: number): string[] {
  return ["warning:", ...renderFailure(failure, agoMs, width)];
}

const offers = (label: string, list: readonly string[]): [string, string][] =>
  list.map((text, i) => [i === 0 ? label : "", text]);

const labelWidth = 16;
