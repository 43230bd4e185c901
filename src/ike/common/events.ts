/** What an endpoint of either version of IKE tells its owner, in order. */
import type { Endpoint, IpAddress } from "../../core/address.ts";
import type { SaPath, SaSpec } from "../../core/dataplane.ts";
import type { FailureRecord } from "../../core/failure.ts";
import type { Secret } from "../../core/secret.ts";
import type { EspSuite, IkeSuite } from "../../registry/index.ts";
import type { ChildSaView, IkeSaView } from "./views.ts";

/** Why an IKE SA or a CHILD_SA ended. */
export type EndReason =
  /** Our operator, or the shutdown of the daemon. */
  | "requested"
  /** The peer's Delete. */
  | "deleted-by-peer"
  /** No answer while setting up. */
  | "unreachable"
  /** No answer on an established IKE SA. */
  | "dead-peer"
  /** A negotiation failed; a failure record says how. */
  | "failed"
  /** It proved that it has lost the IKE SA (RFC 6290). */
  | "peer-restarted"
  /** The hard lifetime passed before a rekey succeeded. */
  | "expired"
  /** A successor carries on: nothing is lost. */
  | "rekeyed"
  /** Both sides initiated at once, and the other IKE SA stays. */
  | "duplicate"
  /** The peer began anew (INITIAL_CONTACT, or another IKE SA of its making). */
  | "superseded"
  /** Nobody asked for a CHILD_SA in time. */
  | "childless";

/** `Sa` and `Child` are what the endpoint knows them to be; who reads both versions reads the views. */
export type IkeOutput<Sa extends IkeSaView = IkeSaView, Child extends ChildSaView = ChildSaView> =
  | {
      readonly kind: "send";
      readonly local: Endpoint;
      readonly remote: Endpoint;
      readonly datagram: Uint8Array;
      /** Nobody on the way may fragment it: a probe of the path MTU. */
      readonly unfragmented?: true;
    }
  | { readonly kind: "sendKeepalive"; readonly local: Endpoint; readonly remote: Endpoint }
  | { readonly kind: "installSa"; readonly sa: SaSpec }
  | {
      readonly kind: "removeSa";
      readonly direction: "inbound" | "outbound";
      readonly spi: number;
      readonly remote: IpAddress;
    }
  | {
      readonly kind: "updateSa";
      readonly direction: "inbound" | "outbound";
      readonly spi: number;
      readonly remote: IpAddress;
      readonly path: SaPath;
    }
  /** The addresses of `sa`, or of its peer, are others than before. */
  | { readonly kind: "moved"; readonly sa: Sa; readonly why: string }
  /** The path of `sa` carries outer packets of another size than `before`, in bytes; its SAs know. */
  | { readonly kind: "pathMtu"; readonly sa: Sa; readonly before: number }
  /** Nobody answers on the path of `sa`: a peer's name may lead elsewhere by now. */
  | { readonly kind: "pathSuspect"; readonly sa: Sa }
  | {
      readonly kind: "state";
      readonly sa: Sa;
      readonly from: string;
      readonly to: string;
      readonly why: string;
    }
  | { readonly kind: "established"; readonly sa: Sa }
  | { readonly kind: "rekeyed"; readonly sa: Sa; readonly successor: Sa }
  | { readonly kind: "ended"; readonly sa: Sa; readonly why: EndReason; readonly from: string }
  | {
      readonly kind: "childUp";
      readonly sa: Sa;
      readonly child: Child;
      readonly rekeyOf: number | undefined;
    }
  | { readonly kind: "childDown"; readonly sa: Sa; readonly child: Child; readonly why: EndReason }
  /** Which outbound SA should carry packets has changed. */
  | { readonly kind: "outboundChanged"; readonly sa: Sa }
  | { readonly kind: "failure"; readonly sa: Sa | undefined; readonly record: FailureRecord }
  | { readonly kind: "ikeKeys"; readonly keys: IkeKeyLog }
  | { readonly kind: "isakmpKeys"; readonly keys: IsakmpKeyLog }
  | { readonly kind: "espKeys"; readonly keys: EspKeyLog };

/** For an analyser's decryption table; emitted only when the endpoint was told to export keys. */
export interface IkeKeyLog {
  readonly spiInitiator: bigint;
  readonly spiResponder: bigint;
  readonly suite: IkeSuite;
  readonly SK_ai: Secret;
  readonly SK_ar: Secret;
  readonly SK_ei: Secret;
  readonly SK_er: Secret;
}

/** As `IkeKeyLog`, for IKEv1. */
export interface IsakmpKeyLog {
  /** The initiator's cookie. */
  readonly spiInitiator: bigint;
  /** The key of the cipher, expanded as the cipher needs it (RFC 2409 Appendix B). */
  readonly cipherKey: Secret;
}

export interface EspKeyLog {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly spi: number;
  readonly suite: EspSuite;
  readonly encrKey: Secret;
  readonly integKey: Secret;
}
