/** Why an IKE datagram was dropped without an answer. One row per counter; nothing is logged per datagram. */
export const ikeDrops = {
  malformed: "the bytes are not an IKE message",
  wrong_version: "not IKE version 2",
  unknown_spi: "no IKE SA has these SPIs",
  unknown_to_peer: "an unproven notification that the peer does not have this IKE SA: it was asked",
  not_authentic: "the integrity check failed, or nothing was protected",
  message_id: "neither the next message nor a repetition of the last",
  fragment: "a fragment that was not agreed on, contradicts the others, or is more than we collect",
  fragment_repeated: "a fragment that we have, or that belongs to a request answered already",
  unexpected: "this exchange is not possible in the state of its IKE SA",
  payloads: "the payloads of an unauthenticated message break the rules of its exchange",
  half_open_limit: "as many half-open IKE SAs as we allow",
  half_open_limit_address: "as many half-open IKE SAs from one address as we allow",
  amplification:
    "the answer would be more than three times as large, and the peer has not proved its address",
  no_connection: "no connection is configured for this peer",
  key_exchange: "the key exchange data is not a valid public value",
} as const satisfies Record<string, string>;

export type IkeDrop = keyof typeof ikeDrops;
