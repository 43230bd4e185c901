/**
 * What the kinds of CREATE_CHILD_SA have in common: the responder's key exchange, refusals, when to try again,
 * which CHILD_SA is one too many.
 */

import { jittered } from "../../../core/random.ts";
import { ok, type Result } from "../../../core/result.ts";
import type { Secret } from "../../../core/secret.ts";
import type { Instant } from "../../../core/time.ts";
import { NotifyType } from "../../../registry/index.ts";
import { findPayload, type PlainPayload } from "../../../wire/index.ts";
import { failureOf } from "../../common/failures.ts";
import { sharedSecret } from "../../common/key-pairs.ts";
import { isSubset } from "../../common/selectors.ts";
import { type ChildSa, outboundOrder } from "../child-sa.ts";
import type { Answer } from "../exchange.ts";
import type { IkeSa } from "../ike-sa.ts";
import { groupData, notify } from "../notify.ts";

/** Octets of Ni and Nr: at least half the key size of the prf (§2.10). */
export const nonceBytes = 32;

export interface Agreed {
  readonly shared: Secret | undefined;
  /** `KEr`, when there is one. */
  readonly payloads: readonly PlainPayload[];
}

/** The responder's half of the key exchange; `group` 0 means none. */
export function agreeKey(
  sa: IkeSa,
  payloads: readonly PlainPayload[],
  group: number,
): Result<Agreed, Answer> {
  if (group === 0) return ok({ shared: undefined, payloads: [] });
  const ke = findPayload(payloads, "KE");
  if (ke?.dhGroup !== group) {
    const answer = { payloads: [notify(NotifyType.code.INVALID_KE_PAYLOAD, groupData(group))] };
    return { ok: false, error: answer };
  }
  const keyPair = sa.host.keyPairs.take(group);
  const shared = sharedSecret(keyPair, ke.data);
  const data = Uint8Array.from(keyPair.publicValue);
  keyPair.wipe();
  if (shared) return ok({ shared, payloads: [{ kind: "KE", dhGroup: group, data }] });
  sa.host.count("key_exchange");
  const difference = "CREATE_CHILD_SA: the key exchange data is not a valid public value";
  sa.host.emit({ kind: "failure", sa, record: failureOf(sa, "PEER_PROTOCOL_ERROR", { difference }) });
  return { ok: false, error: refuse(NotifyType.code.NO_PROPOSAL_CHOSEN) };
}

export const refuse = (notifyType: number): Answer => ({ payloads: [notify(notifyType)] });

/** After a refusal that will hardly change; `leftMs` is what is left of the lifetime. */
export function refusedDelay(sa: IkeSa, leftMs: number): number {
  return retryDelay(sa, Math.max(sa.host.limits.refusedRetryMs, leftMs / 8));
}

/** Moved by up to half of itself, so that two sides that collided do not collide again. */
export function retryDelay(sa: IkeSa, delayMs: number): number {
  return Math.round(jittered(sa.host.random, delayMs, 0.5));
}

/** Another one, made at `since` or later, carries everything that `made` does. */
export function isDuplicate(sa: IkeSa, made: ChildSa, since: Instant): boolean {
  return outboundOrder(sa).some(
    (other) =>
      other !== made &&
      other.state.name === "INSTALLED" &&
      other.installedAt >= since &&
      isSubset(made.localSelectors, other.localSelectors) &&
      isSubset(made.remoteSelectors, other.remoteSelectors),
  );
}
