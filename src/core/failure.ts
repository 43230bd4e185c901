/**
 * A failure as data: the same record feeds the log, the status, the event stream and the metrics.
 * The reason codes themselves are the table in `failure-reasons.ts`.
 */
import type { FailureCode } from "./failure-reasons.ts";

/** Proposals or suites in an operator's keywords, and selectors as `local === remote`, both from our point of view. */
export interface Terms {
  readonly ike?: readonly string[];
  readonly esp?: readonly string[];
  readonly selectors?: readonly string[];
}

export interface FailureRecord {
  readonly code: FailureCode;
  readonly connection: string | undefined;
  readonly peer: string | undefined;
  /** What our configuration says, what was offered in this attempt, and what is agreed already: as far as each exists. */
  readonly configured?: Terms;
  readonly offered?: Terms;
  readonly agreed?: Terms;
  /** What this side configured or offered, as an operator would write it. */
  readonly ours: readonly string[];
  /** What the peer offered or answered, as far as it is known. */
  readonly theirs: readonly string[];
  /** The first thing that differs, e.g. `DH group: ours x25519, theirs modp2048`. */
  readonly difference: string;
  /** What to change and on which side. */
  readonly remedy: string;
}
