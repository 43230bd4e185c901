/** Why an attempt failed. One row per code: the text an operator reads, and what it usually takes. */
export const failureReasons = {
  NO_PROPOSAL_CHOSEN_IKE: "no IKE proposal in common",
  NO_PROPOSAL_CHOSEN_ESP: "no IPsec proposal in common",
  AUTHENTICATION_FAILED: "the pre-shared keys differ, or the peer does not accept our identity",
  PEER_IDENTITY_MISMATCH: "the peer's identity is not the one this connection expects",
  TS_UNACCEPTABLE: "the traffic selectors have nothing in common",
  INVALID_KE: "the peers could not agree on a key exchange group",
  PEER_UNREACHABLE: "no answer to retransmitted requests",
  PEER_NAME_UNRESOLVED: "the peer's DNS name did not resolve",
  NO_CONNECTION_MATCHES: "no configured connection matches this peer",
  PEER_PROTOCOL_ERROR: "the peer broke the protocol",
  PEER_DELETED: "the peer deleted the SA",
  DPD_TIMEOUT: "the peer stopped answering liveness checks",
  PEER_RESTARTED: "the peer restarted and has forgotten the tunnel",
  CHILDLESS_UNSUPPORTED: "the peer makes no IKE SA without a CHILD_SA",
  DATAPLANE_ERROR: "the data plane refused the SA",
  HALF_OPEN_LIMIT: "too many half-open IKE SAs",
  OTHER_NOTIFY: "the peer answered with an error notification",
} as const satisfies Record<string, string>;

export type FailureCode = keyof typeof failureReasons;
