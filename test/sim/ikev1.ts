/** What the simulations of IKEv1 share. */
import type { SiteOptions } from "./config.ts";
import type { Fault } from "./network.ts";

export const modes = ["main", "aggressive"] as const;

/** Options of both sites. */
export const ikev1 = (mode: (typeof modes)[number], more: SiteOptions = {}): SiteOptions => ({
  version: "ikev1",
  mode,
  ...more,
});

/** The messages of phase 1 and of the first quick mode, by their sender and their place among its messages. */
export const messagesOf: Readonly<
  Record<(typeof modes)[number], readonly (readonly [name: string, from: string, nth: number])[]>
> = {
  main: [
    ["HDR, SA", "A", 0],
    ["HDR, SA (answer)", "B", 0],
    ["HDR, KE, Ni", "A", 1],
    ["HDR, KE, Nr", "B", 1],
    ["HDR*, IDii, HASH_I", "A", 2],
    ["HDR*, IDir, HASH_R", "B", 2],
    ["quick mode 1", "A", 3],
    ["quick mode 2", "B", 3],
    ["quick mode 3", "A", 4],
  ],
  aggressive: [
    ["HDR, SA, KE, Ni, IDii", "A", 0],
    ["HDR, SA, KE, Nr, IDir, HASH_R", "B", 0],
    ["HDR*, HASH_I", "A", 1],
    ["quick mode 1", "A", 2],
    ["quick mode 2", "B", 1],
    ["quick mode 3", "A", 3],
  ],
};

/** Does `verdict` to the first `times` copies of the `nth` different datagram of `from`. */
export function toDatagram(
  from: string,
  nth: number,
  verdict: "drop" | { readonly delayMs: number },
  times = Number.POSITIVE_INFINITY,
): Fault {
  const seen: string[] = [];
  let left = times;
  return (packet) => {
    if (packet.from !== from) return "pass";
    const key = Buffer.from(packet.datagram).toString("latin1");
    if (!seen.includes(key)) seen.push(key);
    if (seen.indexOf(key) !== nth || left <= 0) return "pass";
    left--;
    return verdict;
  };
}
