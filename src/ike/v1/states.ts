/** The states of an ISAKMP SA, each with the data that only it has. */
import type { Instant } from "../../core/time.ts";
import type { EndReason } from "../common/events.ts";

export type IsakmpSaState =
  /** Initiator: message 1 is out, and nothing has come back. */
  | { readonly name: "INIT_SENT" }
  /** Initiator in main mode: message 3 is out. */
  | { readonly name: "KEY_SENT" }
  /** Initiator in main mode: message 5, the first encrypted one, is out. */
  | { readonly name: "AUTH_SENT" }
  /** Responder: message 1 is answered, and nobody has proven anything yet. */
  | { readonly name: "HALF_OPEN"; readonly until: Instant }
  | { readonly name: "ESTABLISHED"; readonly since: Instant }
  /** Another ISAKMP SA with the same peer has its IPsec SAs. Nothing new is begun here; the peer still may. */
  | {
      readonly name: "REPLACED";
      readonly since: Instant;
      /** When we delete it, if it is not in use. */
      readonly until: Instant;
      /** When we delete it whatever it is. */
      readonly gone: Instant;
    }
  /**
   * The ISAKMP SA itself is gone, keys and all, and its IPsec SAs are not: they wait here for the next ISAKMP SA with
   * the peer, or for their own end.
   */
  | { readonly name: "DETACHED"; readonly since: Instant }
  /** Our Delete is out; it has no answer (RFC 2408 §5.15), and is said a second time at `until`. */
  | {
      readonly name: "DELETING";
      readonly until: Instant;
      readonly why: EndReason;
      /** Inbound SPIs of the IPsec SAs that go with it. */
      readonly spis: readonly number[];
    }
  | { readonly name: "CLOSED" };

export type StateName = IsakmpSaState["name"];
