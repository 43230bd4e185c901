/** What the host is missing for a gateway to work: warnings with their remedy, one line each. Nothing is changed. */
import { readFileSync } from "node:fs";
import type { Config } from "../config/model.ts";

export interface HostFacts {
  /** A sysctl's value as text, e.g. of `net.ipv4.ip_forward`; undefined when the kernel has none. */
  sysctl(name: string): string | undefined;
}

export const hostFacts: HostFacts = {
  sysctl(name) {
    try {
      return readFileSync(`/proc/sys/${name.replaceAll(".", "/")}`, "utf8").trim();
    } catch {
      return undefined;
    }
  },
};

/** Settings that make a gateway drop or misroute packets although every tunnel is up. */
export function hostWarnings(config: Config, facts: HostFacts): string[] {
  const warnings: string[] = [];
  const families = new Set(
    [...config.routes.destination, ...config.routes.policy].map((route) => route.destination.family),
  );
  for (const connection of config.connections)
    for (const subnet of connection.remoteSubnets) families.add(subnet.family);
  if (families.has(4) && facts.sysctl("net.ipv4.ip_forward") === "0")
    warnings.push(
      "IPv4 forwarding is off: hosts behind this gateway cannot use the tunnels; sysctl -w net.ipv4.ip_forward=1",
    );
  if (families.has(6) && facts.sysctl("net.ipv6.conf.all.forwarding") === "0")
    warnings.push(
      "IPv6 forwarding is off: hosts behind this gateway cannot use the tunnels; " +
        "sysctl -w net.ipv6.conf.all.forwarding=1",
    );
  // The kernel uses the stricter of `all` and the device's own; the device's starts as `default`.
  const own = facts.sysctl(`net.ipv4.conf.${config.gateway.tun.name}.rp_filter`);
  const strict = [
    facts.sysctl("net.ipv4.conf.all.rp_filter"),
    own ?? facts.sysctl("net.ipv4.conf.default.rp_filter"),
  ];
  // 2 (loose) beats 1 (strict): the kernel takes the larger number.
  if (strict.includes("1") && !strict.includes("2"))
    warnings.push(
      "strict reverse path filtering drops tunnel packets whose way back is not the tunnel (a standby, an unpublished " +
        "route); sysctl -w net.ipv4.conf.all.rp_filter=2",
    );
  return warnings;
}
