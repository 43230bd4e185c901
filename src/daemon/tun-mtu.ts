/**
 * The TUN device's MTU when the file says `auto`: the largest inner packet that every configured suite can carry in
 * one outer packet, whatever the NAT situation turns out to be.
 *
 *   outer IP (20 or 40) + UDP (8) + SPI and sequence (8) + IV + [inner + padding + pad length + next header] + ICV
 *   ⇒ inner = floor_to_multiple(pathMtu − outer IP − UDP − 8 − IV − ICV, max(block, 4)) − 2     (RFC 4303 §2.4)
 */
import type { Config } from "../config/model.ts";
import { encrById, integById } from "../registry/index.ts";

/** Bytes; Ethernet's. What a smaller path needs is handled per packet (ICMP, MSS clamp) or set by `gateway.tun.mtu`. */
export const assumedPathMtu = 1500;

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
  const largest = suites.map(({ id, integrity }) => innerMtu(assumedPathMtu, outerIpBytes, id, integrity));
  return Math.min(assumedPathMtu - outerIpBytes, ...largest);
}

/** Bytes of inner packet that fit, with UDP encapsulation. `integrity`: IANA number, absent for AEAD. */
export function innerMtu(
  pathMtu: number,
  outerIpBytes: 20 | 40,
  encryption: number,
  integrity: number | undefined,
): number {
  const cipher = encrById.get(encryption);
  if (!cipher) throw new RangeError(`no algorithm row for encryption transform ${encryption}`);
  const icvBytes =
    cipher.icvBytes + (integrity === undefined ? 0 : (integById.get(integrity)?.icvBytes ?? 0));
  const room = pathMtu - outerIpBytes - udpBytes - espHeaderBytes - cipher.ivBytes - icvBytes;
  // RFC 4303 §2.4: the pad length and next header fields end on a 4-byte boundary even without a block cipher.
  const unit = Math.max(cipher.block, 4);
  return Math.floor(room / unit) * unit - trailerBytes;
}

const udpBytes = 8;
const espHeaderBytes = 8;
const trailerBytes = 2;
