/** Errors are sorted by whose fault they are; anything that is none of these is a bug of ours. */

/** The bytes are not a message: truncated, wrong lengths, wrong version. */
export class WireError extends Error {
  override readonly name = "WireError";
  /** The field that did not decode, outermost first, e.g. `SA > Proposal > Transform Length`. */
  readonly field: string;
  constructor(field: string, problem: string) {
    super(`${field}: ${problem}`);
    this.field = field;
  }
}

/** What `decode` makes of bytes; undefined when they are not a message. Throws whatever else is wrong. */
export function attemptDecode<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}

/** A well-formed message that breaks the protocol. */
export class PeerMisbehaved extends Error {
  override readonly name = "PeerMisbehaved";
}

/** Legal, but not for us: no common proposal, unacceptable selectors, wrong PSK. */
export class PeerIncompatible extends Error {
  override readonly name = "PeerIncompatible";
}

/** The operator's configuration breaks a rule. `path` is the key, e.g. `connections.hq.ike.proposals[0]`. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly path: string;
  constructor(path: string, problem: string) {
    super(`${path}: ${problem}`);
    this.path = path;
  }
}

/** A bound that protects us was reached. */
export class LimitExceeded extends Error {
  override readonly name = "LimitExceeded";
}
