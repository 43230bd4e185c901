import type { Payload, PayloadKind } from "../../wire/index.ts";

/**
 * Which payloads make a message legal, as data (RFC 7296 Appendix C). Notify, Vendor ID and unknown payloads may
 * appear anywhere in any number (§2.5); other payloads that no rule mentions are ignored, as a MikroTik's CP in a rekey
 * must be.
 */
export interface PayloadRules {
  /** Exactly once each. */
  readonly required: readonly PayloadKind[];
  /** At most once each. */
  readonly optional: readonly PayloadKind[];
  /** All of them or none. */
  readonly together?: readonly PayloadKind[];
}

/** What is wrong with the set of payloads, e.g. `no Nonce payload`; undefined when it is legal. */
export function violation(rules: PayloadRules, payloads: readonly Payload[]): string | undefined {
  for (const kind of rules.required) {
    const n = count(payloads, kind);
    if (n !== 1) return n === 0 ? `no ${kind} payload` : `${n} ${kind} payloads`;
  }
  for (const kind of rules.optional) {
    const n = count(payloads, kind);
    if (n > 1) return `${n} ${kind} payloads`;
  }
  const { together } = rules;
  const missing = together?.find((kind) => count(payloads, kind) === 0);
  if (missing !== undefined && together!.some((kind) => count(payloads, kind) > 0))
    return `no ${missing} payload`;
  return undefined;
}

function count(payloads: readonly Payload[], kind: PayloadKind): number {
  let n = 0;
  for (const p of payloads) if (p.kind === kind) n++;
  return n;
}
