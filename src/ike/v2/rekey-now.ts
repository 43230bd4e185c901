/** A lifetime is over, or an operator asks: the exchange that replaces an SA begins, unless it is under way. */
import type { Instant } from "../../core/time.ts";
import { type ChildSa, isConfirmed } from "./child-sa.ts";
import { ikeRekeyName, rekeyIkeSa } from "./exchanges/rekey-ike-sa.ts";
import { rekeyChildSa } from "./exchanges/request-child-sa.ts";
import type { IkeSa } from "./ike-sa.ts";

export function rekeyChildNow(sa: IkeSa, child: ChildSa, now: Instant): void {
  if (!isConfirmed(sa, child, now)) {
    child.rekeyAt = now + unconfirmedMs;
    sa.host.touch(sa);
    return;
  }
  const exchange = rekeyChildSa(child);
  // From here on the exchange decides when to try again.
  child.rekeyAt = undefined;
  if (!sa.hasExchange(exchange.name)) sa.initiate(now, exchange);
}

export function rekeyIkeSaNow(sa: IkeSa, now: Instant): void {
  sa.rekeyAt = undefined;
  if (!sa.hasExchange(ikeRekeyName)) sa.initiate(now, rekeyIkeSa());
}

/** How soon a rekey that had to wait for the peer's SA to exist is tried again. */
const unconfirmedMs = 1_000;
