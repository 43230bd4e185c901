/**
 * The children of an endpoint, CHILD_SAs or the IPsec SAs of IKEv1: found by what the data plane calls their SAs. An inbound SPI is ours, and names one; an
 * outbound SPI is the peer's choice, and names one only together with the peer's address. A peer that knows another
 * one's SPI and takes it for itself must not be taken for it.
 */
import type { IpAddress } from "../../core/address.ts";
import type { SaSpec } from "../../core/dataplane.ts";
import type { ChildSaView, IkeSaView } from "./views.ts";

export interface Owned<Sa, Child> {
  readonly sa: Sa;
  readonly child: Child;
}

/** An SA in the words of the data plane. */
export interface AboutSa {
  readonly direction: SaSpec["direction"];
  readonly spi: number;
  /** Where the peer was when the data plane spoke, which may be a moment ago. */
  readonly remote: IpAddress;
}

export class ChildTable<Sa extends IkeSaView, Child extends ChildSaView> {
  readonly #byInbound = new Map<number, Owned<Sa, Child>>();
  readonly #byOutbound = new Map<number, Set<Child>>();

  /** `child` is one of `sa` from now on. */
  own(sa: Sa, child: Child): void {
    this.#byInbound.set(child.spiIn, { sa, child });
    const alike = this.#byOutbound.get(child.spiOut);
    if (alike) alike.add(child);
    else this.#byOutbound.set(child.spiOut, new Set([child]));
  }

  /** `child` is gone. */
  disown(child: Child): void {
    this.#byInbound.delete(child.spiIn);
    const alike = this.#byOutbound.get(child.spiOut);
    alike?.delete(child);
    if (alike?.size === 0) this.#byOutbound.delete(child.spiOut);
  }

  inbound(spi: number): Owned<Sa, Child> | undefined {
    return this.#byInbound.get(spi);
  }

  /** The one that the data plane speaks of: the newest, if two claim to be. */
  find({ direction, spi, remote }: AboutSa): Owned<Sa, Child> | undefined {
    if (direction === "inbound") return this.#byInbound.get(spi);
    const alike = this.#sending(spi);
    const there = alike.findLast((c) => c.remote.equals(remote));
    const child = there ?? (alike.length === 1 ? alike[0] : undefined);
    return child && this.#byInbound.get(child.spiIn);
  }

  /** Another CHILD_SA than `child` sends to that address with that SPI: a second one cannot. */
  isTaken(spiOut: number, remote: IpAddress, child?: Child): boolean {
    return this.#sending(spiOut).some((c) => c !== child && c.remote.equals(remote));
  }

  #sending(spiOut: number): readonly Child[] {
    const alike = this.#byOutbound.get(spiOut);
    return alike ? [...alike].filter((c) => c.state.name !== "LINGERING" && !c.refused.has("outbound")) : [];
  }
}
