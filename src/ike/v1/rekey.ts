/** A lifetime is over, or an operator asks: the quick mode begins that makes another pair for the same traffic. */
import { jittered } from "../../core/random.ts";
import type { Instant } from "../../core/time.ts";
import { rekeyIpsecSa } from "./exchanges/quick-mode.ts";
import { type IpsecSa, twinsOf } from "./ipsec-sa.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";

/** `sa` has `child`, and it is INSTALLED; otherwise nothing happens. */
export function rekeyChildNow(sa: IsakmpSa, now: Instant, child: IpsecSa): void {
  if (child.state.name !== "INSTALLED") return;
  sa.host.touch(sa);
  if (child.rekeying) {
    child.rekeyAt = undefined;
    return;
  }
  // The peer is at it, or we are: what comes of that takes the place of this one.
  if (twinsOf(sa, child).some(({ state, rekeying }) => state.name === "AWAITED" || rekeying)) {
    child.rekeyAt = now + awaitedMs;
    return;
  }
  if (!sa.usable) {
    // The ISAKMP SA is gone: another one comes first, and has the IPsec SAs then.
    child.rekeyAt = now + retryDelay(sa, sa.host.limits.rekeyRetryMs);
    sa.host.replace(sa, now);
    return;
  }
  // From here on the exchange decides when to try again.
  child.rekeyAt = undefined;
  child.rekeying = true;
  sa.initiate(now, rekeyIpsecSa(child));
}

/** Moved by up to half of itself, so that two sides that collided do not collide again. */
export function retryDelay(sa: IsakmpSa, delayMs: number): number {
  return Math.round(jittered(sa.host.random, delayMs, 0.5));
}

/** How soon we look again whether the replacement has come to be. */
const awaitedMs = 1_000;
