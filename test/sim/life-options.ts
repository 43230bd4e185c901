/**
 * What a seed decides about a life: how the two gateways are configured, and what happens to them. One line each: a
 * new feature takes part as soon as it has its line here.
 */

import type { Life } from "./life.ts";
import type { SeededRandom } from "./random.ts";

/** Each seed picks one value of every line. A value that stands twice is picked twice as often. */
const ikev2 = {
  version: ["ikev2"],
  versionB: ["ikev2"],
  mode: ["main"],
  /** Pairs of subnets: in IKEv1 each has IPsec SAs of its own. */
  pairs: [1],
  /** B does not know where A lives. */
  roaming: [false],
  /** Without and with perfect forward secrecy; AEAD and two algorithms. */
  esp: ["aes128gcm16", "aes128gcm16", "aes128gcm16-x25519", "aes128-sha256-x25519"],
  ike: ["aes128gcm16-prfsha256-x25519", "aes128gcm16-prfsha256-x25519", "aes128-sha1-x25519"],
  /** From a twentieth of these on, both kinds of SA are rekeyed. */
  childLifetimeSeconds: [30, 45, 60],
  ikeLifetimeSeconds: [16, 24, 32],
  startB: ["passive", "immediately", "on-traffic"],
  dpdSeconds: [0, 2, 5],
  dpdAction: ["restart", "restart", "clear"],
  forceEncapsulation: [false, true],
  /** Octets of an IP datagram: the second cuts every message. */
  fragmentIpBytes: [1280, 1280, 1280, 250],
  cookies: [false, false, false, true],
  /** RFC 6023. */
  childless: ["allow", "allow", "force", "never"],
  /** Both can prove that they have restarted (RFC 6290). */
  crashSecret: [false, true],
  /** In place of rekeys of the IKE SA. */
  reauthenticate: [false, false, false, true],
  rehearseRekey: [false, true],
  /** RFC 4555. With it a responder does not follow a NAT in front of its peer (§3.8): lives behind one go without. */
  mobike: [true, false],
  /** A NAT in front of A, which forgets its mappings now and then. */
  nat: [false, false, true],
  /** A calm life loses up to a fifth of its datagrams, and no tunnel. */
  calm: [true, true, true, false],
} as const;

/** The same for lives over IKEv1: A speaks it alone, or B does, or neither minds. */
const ikev1 = {
  ...ikev2,
  version: ["ikev1", "ikev1", "ikev1", "auto"],
  versionB: ["ikev1", "ikev1", "ikev1", "auto"],
  mode: ["main", "main", "aggressive"],
  pairs: [1, 1, 2],
  roaming: [false, false, true],
  /** A new one is made beside the old one, and each time two stand for a while: at some time each has to be alone. */
  childLifetimeSeconds: [40, 50, 60],
  ikeLifetimeSeconds: [30, 36, 45],
  esp: ["aes128gcm16", "aes128-sha256", "aes128gcm16-ecp256", "aes128-sha1-modp2048-ecp256"],
  ike: ["aes128-sha256-ecp256", "aes256-sha384-ecp256", "3des-md5-modp2048"],
  cookies: [false],
  childless: ["allow"],
  crashSecret: [false],
  reauthenticate: [false],
  rehearseRekey: [false],
  mobike: [false],
} as const;

type Table = typeof ikev1 | typeof ikev2;
export type Choices = { readonly [K in keyof Table]: Table[K][number] };

export function choose(random: SeededRandom, version: "ikev1" | "ikev2"): Choices {
  const picked: Record<string, unknown> = {};
  // What there is no choice about costs no luck: old seeds mean what they meant.
  for (const [name, values] of Object.entries<readonly unknown[]>(version === "ikev1" ? ikev1 : ikev2))
    picked[name] = values.length === 1 ? values[0] : values[random.below(values.length)];
  return picked as unknown as Choices;
}

export interface Happening {
  readonly name: string;
  /** It may interrupt an established tunnel: not in a calm life. */
  readonly rough?: true;
  readonly act: (life: Life) => void;
}

export const happenings: readonly Happening[] = [
  { name: "A rekeys the CHILD_SA", act: (life) => life.lifetime("A", "softLifetime") },
  { name: "B rekeys the CHILD_SA", act: (life) => life.lifetime("B", "softLifetime") },
  {
    name: "both rekey the CHILD_SA",
    act: (life) => {
      life.lifetime("A", "softLifetime");
      life.lifetime("B", "softLifetime");
    },
  },
  { name: "the NAT forgets", act: (life) => life.forgetNat() },
  { name: "A's CHILD_SA expires", rough: true, act: (life) => life.lifetime("A", "hardLifetime") },
  { name: "B's CHILD_SA expires", rough: true, act: (life) => life.lifetime("B", "hardLifetime") },
  {
    name: "both CHILD_SAs expire",
    rough: true,
    act: (life) => {
      life.lifetime("A", "hardLifetime");
      life.lifetime("B", "hardLifetime");
    },
  },
  { name: "reset on A", rough: true, act: (life) => life.command("A", "reset") },
  { name: "reset on B", rough: true, act: (life) => life.command("B", "reset") },
  { name: "down on A", rough: true, act: (life) => life.command("A", "down") },
  { name: "down on B", rough: true, act: (life) => life.command("B", "down") },
  { name: "up on A", rough: true, act: (life) => life.command("A", "up") },
  { name: "up on B", rough: true, act: (life) => life.command("B", "up") },
  { name: "A crashes", rough: true, act: (life) => life.crash("A") },
  { name: "B crashes", rough: true, act: (life) => life.crash("B") },
  { name: "the path is cut", rough: true, act: (life) => life.cut() },
];
