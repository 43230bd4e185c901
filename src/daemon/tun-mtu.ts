/**
 * The TUN device's MTU when the file says `auto`: the largest inner packet that every configured suite can carry in
 * one outer packet, whatever the NAT situation turns out to be. What a smaller path needs is found by probes, and handled
 * per packet (ICMP, MSS clamp).
 */
import type { Config } from "../config/model.ts";
import { assumedPathMtu } from "../core/dataplane.ts";
import { innerMtu } from "../registry/index.ts";

export function tunMtu(config: Config): number {
  if (config.gateway.tun.mtu !== "auto") return config.gateway.tun.mtu;
  const outerIpBytes = config.gateway.addresses.some((address) => address.family === 6) ? 40 : 20;
  const suites = config.connections.flatMap((connection) =>
    connection.ipsec.proposals.flatMap((proposal) =>
      proposal.encryption.flatMap(({ id }) =>
        (proposal.integrity.length > 0 ? proposal.integrity : [undefined]).map((integrity) => ({
          id,
          integrity,
        })),
      ),
    ),
  );
  const largest = suites.map(({ id, integrity }) =>
    innerMtu(assumedPathMtu, outerIpBytes + udpBytes, id, integrity),
  );
  return Math.min(assumedPathMtu - outerIpBytes, ...largest);
}

const udpBytes = 8;
