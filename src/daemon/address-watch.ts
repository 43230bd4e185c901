/**
 * Which of the gateway's outer addresses this host has. The kernel's list is read four times a second: what is sent from
 * an address that went is lost until then. Thread: JavaScript's.
 */
import { networkInterfaces } from "node:os";
import { IpAddress } from "../core/address.ts";

/** Addresses of every interface that is up, without duplicates of a scope. */
export function hostAddresses(): IpAddress[] {
  const found: IpAddress[] = [];
  for (const rows of Object.values(networkInterfaces())) {
    for (const row of rows ?? []) {
      const address = IpAddress.tryParse(row.address);
      if (address) found.push(address);
    }
  }
  return found;
}

export class AddressWatch {
  readonly #wanted: readonly IpAddress[];
  readonly #read: () => readonly IpAddress[];
  readonly #changed: (present: readonly IpAddress[]) => void;
  /** A start needs all of them: the sockets are bound. */
  #present: string;

  /** `wanted`: the gateway's addresses. `changed` is told those that are there, when they are others than before. */
  constructor(
    wanted: readonly IpAddress[],
    changed: (present: readonly IpAddress[]) => void,
    read: () => readonly IpAddress[] = hostAddresses,
  ) {
    this.#wanted = wanted;
    this.#changed = changed;
    this.#read = read;
    this.#present = wanted.join(" ");
  }

  /** Reads once; call it every `addressWatchMs`. */
  poll(): void {
    const here = this.#read();
    const present = this.#wanted.filter((address) => here.some((a) => a.equals(address)));
    const text = present.join(" ");
    if (text === this.#present) return;
    this.#present = text;
    this.#changed(present);
  }
}

export const addressWatchMs = 250;
