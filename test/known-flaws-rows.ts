/**
 * What other IKE and ESP implementations have got wrong, by the names under which it is known, and the tests here that
 * hold each input against us. `known-flaws.test.ts` fails when a row has no test, or names one that does not exist.
 */
export interface KnownFlaw {
  readonly known: string;
  readonly input: string;
  /** File below `test/` or `native/test/`, and a part of the test's title or text. */
  readonly tests: readonly (readonly [file: string, text: string])[];
}

const flaws = "sim/known-flaws.test.ts";
const more = "sim/known-flaws-more.test.ts";
const v1 = "sim/ikev1-known-flaws.test.ts";
const v1more = "sim/ikev1-known-flaws-more.test.ts";
const fragments = "sim/fragmentation.test.ts";
const esp = (part: string) => `../native/test/esp/${part}_test.cc`;

export const knownFlaws: readonly KnownFlaw[] = [
  {
    known: "CVE-2026-12413 libreswan",
    input: "SKF message whose outer chain carries 1 to 200 unknown payloads",
    tests: [
      [fragments, "behind 1 to 200 unknown payloads are taken"],
      [flaws, "1 to 200 unknown payloads"],
    ],
  },
  {
    known: "CVE-2026-50721, -50722 libreswan, CVE-2018-16151, -16152 strongSwan",
    input: "RSA PKCS#1 v1.5 AUTH with damaged padding",
    tests: [[flaws, "AUTH method %d is refused"]],
  },
  {
    known: "CVE-2026-14957 libreswan, CVE-2017-9022, -9023, -11185, CVE-2018-17540 strongSwan",
    input: "CERT with an RSA exponent of 0, 1, even or huge, a tiny or zero modulus, before authentication",
    tests: [[more, "certificates are not looked into"]],
  },
  {
    known: "CVE-2022-40617, CVE-2026-35331 strongSwan",
    input: "certificate with the attacker's OCSP or CRL address, or name constraints",
    tests: [[more, "certificates are not looked into"]],
  },
  {
    known: "CVE-2018-6459, CVE-2021-41990 strongSwan",
    input: "RSASSA-PSS parameters absent, salt length huge",
    tests: [
      [flaws, "AUTH method %d is refused"],
      [more, "SIGNATURE_HASH_ALGORITHMS"],
    ],
  },
  {
    known: "CVE-2024-2357 libreswan",
    input: "IKE_AUTH repeated while our PSK does not fit",
    tests: [[flaws, "a failed IKE_AUTH repeated gets the same answer, byte for byte"]],
  },
  {
    known: "CVE-2023-38710 libreswan",
    input: "REKEY_SA with protocol id 0 or 1",
    tests: [
      [flaws, "REKEY_SA with protocol %d"],
      [flaws, "REKEY_SA with an SPI of %d octets"],
    ],
  },
  {
    known: "CVE-2023-23009 libreswan",
    input: "TS payload with bad lengths and counts",
    tests: [
      [flaws, "a TS payload that promises two selectors and holds one"],
      [flaws, "a TS payload with a short selector"],
      [more, "TS payloads with bad lengths and counts"],
    ],
  },
  {
    known: "CVE-2022-23094, CVE-2020-1763 libreswan",
    input: "malformed IKEv1 message without state",
    tests: [
      [more, "IKEv1 datagrams, whole and damaged"],
      [v1more, "whole and damaged datagrams of no ISAKMP SA"],
    ],
  },
  {
    known: "CVE-2019-12312 libreswan",
    input: "INFORMATIONAL right after IKE_SA_INIT",
    tests: [
      [flaws, "right after IKE_SA_INIT (CVE-2019-12312"],
      [v1more, "quick mode and informational messages change nothing"],
    ],
  },
  {
    known: "CVE-2016-5391 libreswan",
    input: "IKE_SA_INIT proposal without any DH transform",
    tests: [
      [flaws, "without any DH transform (CVE-2016-5391)"],
      [v1, "no group (CVE-2016-5391)"],
    ],
  },
  {
    known: "CVE-2016-3071 libreswan",
    input: "a listed transform that nobody implements (AES-XCBC)",
    tests: [
      [flaws, "with PRF_AES128_XCBC (CVE-2016-3071)"],
      [flaws, "with a listed cipher that nobody implements"],
      [v1, "AES-XCBC (CVE-2016-3071)"],
    ],
  },
  {
    known: "CVE-2015-3240 libreswan and openswan, CVE-2023-41913 strongSwan",
    input:
      "KE with g^x of 0, 1, p-1, p, more than p, short, long; X25519 of zeros; a value larger than the group",
    tests: [
      [flaws, "x25519: %s is dropped"],
      [flaws, "modp2048: %s is dropped"],
      [more, "modp2048: p − 1, p and p + 1 are dropped"],
      [more, "in CREATE_CHILD_SA as in IKE_SA_INIT"],
      [v1, "modp2048: %s is dropped"],
      [v1, "a point that is not on the curve"],
      [v1, "in quick mode as in phase 1"],
    ],
  },
  {
    known: "CVE-2015-3204 libreswan",
    input: "next payload 15 and other IKEv1 types",
    tests: [
      [flaws, "IKEv1 payload types inside IKEv2 (CVE-2015-3991)"],
      [v1, "renumbered to SAK (CVE-2015-3204)"],
      [v1, "other DOIs, undefined bits of the situation"],
    ],
  },
  {
    known: "CVE-2013-6467 libreswan",
    input: "each mandatory payload removed or renumbered",
    tests: [
      [flaws, "mandatory payloads removed, doubled or renumbered (CVE-2013-6467)"],
      [more, "CREATE_CHILD_SA: mandatory payloads removed, doubled or renumbered"],
      [v1, "mandatory payloads removed, doubled or renumbered (CVE-2013-6467)"],
    ],
  },
  {
    known: "CVE-2013-4564 libreswan",
    input: "datagrams of 0 to 27 bytes; length not the datagram's; major versions 0 and 3 to 15",
    tests: [
      [more, "datagrams of 0 to 27 octets"],
      [more, "a length that is not the datagram's"],
      [more, "major version %d"],
      [v1more, "datagrams of 0 to 27 octets"],
    ],
  },
  {
    known: "CVE-2014-9221 strongSwan",
    input: "KE of private-use group 1025",
    tests: [
      [flaws, "with private group 1025 (CVE-2014-9221)"],
      [flaws, "a KE for private group 1025 beside an honest proposal"],
      [v1, "private-use group 1025 (CVE-2014-9221)"],
    ],
  },
  {
    known: "CVE-2015-3991 strongSwan",
    input: "IKEv1 payload types in an IKEv2 message",
    tests: [
      [flaws, "IKEv1 payload types inside IKEv2 (CVE-2015-3991)"],
      [v1more, "IKEv2's payloads inside IKEv1 are none"],
    ],
  },
  {
    known: "CVE-2014-2338 strongSwan",
    input: "CREATE_CHILD_SA for an IKE SA that is not authenticated",
    tests: [
      [flaws, "a rekey of the unauthenticated IKE SA is dropped"],
      [v1more, "phase 2 before phase 1 is through (CVE-2014-2338"],
    ],
  },
  {
    known: "CVE-2013-6075, -6076 strongSwan",
    input: "ID_DER_ASN1_DN with short and odd lengths",
    tests: [
      [flaws, "ID_DER_ASN1_DN of %d octets (CVE-2013-6075)"],
      [v1more, "ID_DER_ASN1_DN of %d octets in phase 1"],
      [v1more, "fragments (CVE-2016-1287, CVE-2013-6076)"],
    ],
  },
  {
    known: "CVE-2018-10811 strongSwan",
    input: "a PRF that the crypto backend refuses",
    tests: [
      [more, "with a PRF that no connection names (CVE-2018-10811)"],
      [v1, "TIGER as hash (CVE-2018-10811)"],
    ],
  },
  {
    known: "CVE-2021-45079, CVE-2023-26463, CVE-2025-62291, CVE-2026-25075, -35330 strongSwan",
    input: "EAP: early success, wrong lengths",
    tests: [
      [flaws, "IKE_AUTH without AUTH asks for EAP, which is refused and said so"],
      [more, "EAP payloads beside an honest AUTH"],
    ],
  },
  {
    known: "amplification (CVE-2016-5361 and its kind)",
    input: "a responder must not repeat itself to an initiator that has not proven its address",
    tests: [
      [more, "is answered once for each time it is asked, and never by ourselves"],
      [
        v1more,
        "is answered once for each time it asks, never by ourselves, with no more than thrice its octets",
      ],
    ],
  },
  {
    known: "CVE-2016-1287 Cisco",
    input: "fragments with gaps, repetitions, and more than any message needs",
    tests: [
      [fragments, "with a gap wait, then are forgotten"],
      [fragments, "twice or from a smaller set are dropped"],
      [fragments, "of more than 64 in all, or of more octets than we collect"],
      [v1more, "with gaps, repetitions, odd first ones"],
    ],
  },
  {
    known: "CVE-2024-3652 libreswan",
    input: "IKEv1 quick mode that proposes AES-GMAC, whose key has no length",
    tests: [
      [v1, "ESP_NULL_AUTH_AES_GMAC (CVE-2024-3652)"],
      ["unit/crypto/isakmp-keys.test.ts", "has no key of no length"],
    ],
  },
  {
    known: "CVE-2023-38711 libreswan",
    input: "IKEv1 quick mode with an FQDN as IDcr",
    tests: [[v1more, "FQDN (CVE-2023-38711)"]],
  },
  {
    known: "CVE-2023-38712 libreswan",
    input: "IKEv1 Delete, then notifications about the same SA, then the Delete again",
    tests: [[v1more, "then notifications for the same SA, then the Delete again"]],
  },
  {
    known: "CVE-2023-30570 libreswan",
    input: "aggressive mode with nothing acceptable, then messages with the SPI of the error",
    tests: [[v1more, "gives no SPI away that could be used (CVE-2023-30570)"]],
  },
  {
    known: "CVE-2019-10155 libreswan and strongSwan",
    input: "IKEv1 informational message with a wrong hash",
    tests: [[v1more, "whose hash is wrong change nothing (CVE-2019-10155)"]],
  },
  {
    known: "CVE-2009-0790 openswan and strongSwan",
    input: "R_U_THERE for an ISAKMP SA that is gone",
    tests: [
      [v1more, "R_U_THERE on an ISAKMP SA that is gone"],
      [v1more, "R_U_THERE with %s is not echoed at length"],
    ],
  },
  {
    known: "CVE-2016-6415 Cisco",
    input: "truncated IKEv1 SA payload that has the answer filled with memory",
    tests: [[v1, "gives no octet of ours away (CVE-2016-6415)"]],
  },
  {
    known: "CVE-2018-0131 Cisco",
    input: "authentication by encrypted nonces, whose errors are an oracle",
    tests: [[v1, "RSA encryption (CVE-2018-0131)"]],
  },
  {
    known: "IKEv1 has one key for both directions: reflection",
    input: "our own liveness checks, deletes and quick modes, sent back to us",
    tests: [
      ["sim/ikev1-reflection.test.ts", "is no sign of its life"],
      ["sim/ikev1-reflection.test.ts", "none of them moves the peer"],
      ["sim/ikev1-reflection.test.ts", "our quick mode is no quick mode of the peer's"],
    ],
  },
  {
    known: "IKEv1 aggressive mode, its key guessed offline",
    input: "aggressive mode to a connection that does not name it",
    tests: [
      [v1more, "a connection that is not aggressive gives no hash of its key away"],
      ["netns/ike-scan.test.ts", "no hash of its key"],
    ],
  },
];

/** ESP is the data plane's: the rows and their native tests. */
export const espFlaws: readonly KnownFlaw[] = [
  {
    known: "ESP side, from another implementation",
    input: "truncated, ICV flipped, next header 59, SPI below 256, sequence 0, replay at the window's edge",
    tests: [
      ["addon/scapy.test.ts", "truncated: 2"],
      ["addon/scapy.test.ts", "bad_icv: 1"],
      ["addon/scapy.test.ts", "replayed: 2"],
      ["addon/scapy.test.ts", "sequence_zero: 1"],
    ],
  },
  {
    known: "tcpdump esp_truncated",
    input: "an ESP datagram cut short at any byte, or with a length that is no whole number of blocks",
    tests: [
      [esp("inbound"), "a datagram cut short at any byte is dropped and changes nothing"],
      [esp("inbound"), "a length that is no whole number of blocks is refused before it is decrypted"],
    ],
  },
  {
    known: "scapy, altered packets",
    input: "one bit flipped in any field, in every suite",
    tests: [
      [esp("inbound"), "one flipped bit anywhere in the datagram is dropped and does not move the window"],
      [esp("inbound"), "in a run of any length exactly the damaged packets are dropped: every suite"],
    ],
  },
  {
    known: "VPP ef5a3e9",
    input: "pad length beyond the payload, wrong padding, every value of the decrypted fields",
    tests: [
      [esp("inbound"), "a pad length beyond the payload is refused"],
      [esp("fields"), "every pad length with every kind of next header"],
      [esp("fields"), "every value of every byte of the inner header"],
      [esp("fields"), "the inner packet's length at its edges"],
    ],
  },
  {
    known: "ESP dummy packets and TFC padding",
    input: "next header 59, and bytes behind the inner packet (RFC 4303 §2.6, §2.7)",
    tests: [
      [esp("inbound"), "only next headers 4 and 41 carry a packet; 59 is a dummy"],
      [esp("inbound"), "TFC padding behind the inner packet is cut off"],
    ],
  },
  {
    known: "ESP SPI 0 and 1 to 255",
    input: "an SA with a reserved SPI (RFC 4303 §2.1)",
    tests: [[esp("round_trip"), "an SA is refused with a reason when its parameters are wrong"]],
  },
  {
    known: "ESP sequence numbers and replay",
    input: "sequence 0, ESN high-half rollback, replay at the window's edges ±1",
    tests: [
      [esp("inbound"), "sequence number 0 is dropped although its ICV is right"],
      [esp("inbound"), "(high-half rollback)"],
      [esp("inbound"), "the window's edges hold for packets"],
      [esp("fields"), "a sequence number on the wire at every edge, with and without ESN"],
    ],
  },
];
