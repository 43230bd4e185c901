/**
 * Everything the addon exports, declared once. No other file names a native signature.
 */

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Kernel } from "./kernel.ts";

export interface NativeAddon {
  readonly DataPlane: new (
    options: NativeOptions,
    /** Gets a batch of event records, which `events.ts` decodes; the bytes are its own. */
    onEvents: (records: Uint8Array) => void,
  ) => NativeDataPlane;
  readonly tables: NativeTables;
  readonly kernel: Kernel;
  readonly curves: NativeCurves;
  readonly symmetric: NativeSymmetric;
}

/** Groups of curves by their transform IDs; private keys and values in IKE's lengths (native/crypto/curves.h). */
export interface NativeCurves {
  /** Undefined when it is not a private key of the group. */
  publicValue(group: number, privateKey: Uint8Array): Uint8Array | undefined;
  /** Undefined when that is not a public value of the group. */
  sharedSecret(group: number, privateKey: Uint8Array, publicValue: Uint8Array): Uint8Array | undefined;
}

/**
 * IKE's hashes, prf+ and Encrypted payload (native/crypto/ike_symmetric.h). What goes in and comes out lies in `block`,
 * from its start, one part after the other; the arguments count octets. They throw a TypeError when that does not fit.
 * Keys, and what an HMAC covers, are wiped from the block; what comes out is the caller's to wipe. `hash` is an index of
 * native/crypto/algorithms.h, the others are transform IDs and key lengths.
 */
export interface NativeSymmetric {
  readonly block: Uint8Array;
  /** text → digest, at the start. */
  digest(hash: number, textBytes: number): void;
  /** key, text → the same, HMAC. */
  hmac(hash: number, keyBytes: number, textBytes: number): void;
  /** key, seed → the same, key stream of `bytes`. */
  prfPlus(hash: number, keyBytes: number, seedBytes: number, bytes: number): void;
  /** message with its IV, key and salt, integrity key → message. False when the layout is impossible. */
  seal(encr: number, keyBits: number, integ: number, bodyOffset: number, messageBytes: number): boolean;
  /** The same; false also when the ICV is wrong. */
  open(encr: number, keyBits: number, integ: number, bodyOffset: number, messageBytes: number): boolean;
}

export interface NativeOptions {
  readonly tunName: string;
  readonly tunMtu: number;
  readonly workers: number;
  readonly addresses: readonly Uint8Array[];
  readonly ikePort: number;
  readonly natPort: number;
  readonly mark: number;
  readonly pathMtu: number;
  readonly ikeSockets: readonly number[];
  readonly backend: "auto" | "ipsec-mb" | "portable";
  readonly busyPollMicroseconds: number;
  readonly pinWorkers: boolean;
  readonly allowBenchNull: boolean;
}

export interface NativeDataPlane {
  installSa(sa: NativeSa): void;
  removeSa(direction: NativeDirection, spi: number, remote: Uint8Array): NativeTotals | undefined;
  saTotals(direction: NativeDirection, spi: number, remote: Uint8Array): NativeTotals | undefined;
  publish(plan: NativePlan): void;
  /** Only these rows differ from the plan that was published last, which has a row of each. */
  publishConnections(change: Pick<NativePlan, "connections">): void;
  sendIke(
    local: Uint8Array,
    localPort: number,
    remote: Uint8Array,
    remotePort: number,
    message: Uint8Array,
    unfragmented: boolean,
  ): void;
  sendKeepalive(local: Uint8Array, localPort: number, remote: Uint8Array, remotePort: number): void;
  sendProbe(
    connection: number,
    source: Uint8Array,
    destination: Uint8Array,
    id: number,
    sequence: number,
  ): void;
  updateSa(direction: NativeDirection, spi: number, remote: Uint8Array, path: NativePath): boolean;
  /** For each worker its counters, then its drops, in the order of the tables. */
  readCounters(into: BigUint64Array): void;
  listSas(): NativeSaView[];
  describe(): NativeDescription;
  close(): void;
}

export type NativeDirection = "inbound" | "outbound";

export interface NativeSelector {
  readonly protocol: number;
  readonly startPort: number;
  readonly endPort: number;
  readonly startAddress: Uint8Array;
  readonly endAddress: Uint8Array;
}

export interface NativeSa extends NativePath {
  readonly direction: NativeDirection;
  readonly spi: number;
  readonly connection: number;
  readonly encr: number;
  readonly encrKeyBits: number;
  readonly integ: number;
  readonly encrKey: Uint8Array;
  readonly integKey: Uint8Array;
  readonly esn: boolean;
  readonly replayWindow: number;
  readonly localSelectors: readonly NativeSelector[];
  readonly remoteSelectors: readonly NativeSelector[];
  readonly nonFirstFragments: boolean;
  readonly dontFragment: "clear" | "copy" | "set";
  readonly softBytes: number;
  readonly hardBytes: number;
  readonly softPackets: number;
  readonly hardPackets: number;
}

export interface NativePath {
  readonly local: Uint8Array;
  readonly remote: Uint8Array;
  readonly udp: boolean;
  readonly localPort: number;
  readonly remotePort: number;
  /** 0: the data plane's own. */
  readonly pathMtu: number;
}

export interface NativeTotals {
  readonly packets: number;
  readonly bytes: number;
  readonly sequence: number;
  /** CLOCK_MONOTONIC, which is `process.hrtime`'s. */
  readonly lastUsedMs: number;
}

export interface NativeSaView {
  readonly direction: NativeDirection;
  readonly spi: number;
  readonly connection: number;
  readonly local: Uint8Array;
  readonly remote: Uint8Array;
  readonly udp: boolean;
  readonly localPort: number;
  readonly remotePort: number;
  readonly totals: NativeTotals;
  /** Reasons that are not zero, by name. */
  readonly drops: Readonly<Record<string, number>>;
}

export interface NativePlan {
  readonly policyRoutes: readonly {
    readonly source: Uint8Array;
    readonly sourceLength: number;
    readonly destination: Uint8Array;
    readonly destinationLength: number;
    readonly connection: number;
  }[];
  readonly destinationRoutes: readonly {
    readonly destination: Uint8Array;
    readonly destinationLength: number;
    readonly connection: number;
  }[];
  readonly connections: readonly {
    readonly connection: number;
    readonly outbound: readonly { readonly spi: number; readonly remote: Uint8Array }[];
  }[];
}

export interface NativeDescription {
  readonly tunName: string;
  readonly tunIndex: number;
  readonly workers: number;
  readonly crypto: string;
  readonly tunChecksum: boolean;
  readonly tunTcp: boolean;
  readonly tunUdp: boolean;
  readonly udpSendRuns: boolean;
  readonly udpReceiveRuns: boolean;
  readonly notices: readonly string[];
}

export interface NativeRow {
  readonly name: string;
  readonly text: string;
}

export interface NativeTables {
  readonly drops: readonly (NativeRow & { readonly severity: string })[];
  readonly counters: readonly NativeRow[];
  readonly events: readonly NativeRow[];
  readonly ciphers: readonly {
    readonly name: string;
    readonly encr: number;
    readonly keyBits: number;
    readonly saltBytes: number;
    readonly ivBytes: number;
    readonly icvBytes: number;
    readonly blockBytes: number;
    readonly wantsIntegrity: boolean;
  }[];
  readonly integrities: readonly {
    readonly name: string;
    readonly integ: number;
    readonly keyBits: number;
    readonly icvBytes: number;
  }[];
}

/** nettle's curves, for key exchange. */
export function nativeCurves(): NativeCurves {
  return addon().curves;
}

/** nettle's hashes and ciphers, for IKE. */
export function nativeSymmetric(): NativeSymmetric {
  return addon().symmetric;
}

let loaded: NativeAddon | undefined;

/** Loads the addon on first use. Throws an Error with code `ADDON_MISSING` when it was not built. */
export function addon(): NativeAddon {
  loaded ??= load();
  return loaded;
}

function load(): NativeAddon {
  const path = findAddon();
  if (!path) {
    throw Object.assign(new Error("the native data plane is not built: run `npm run build:native`"), {
      code: "ADDON_MISSING",
    });
  }
  try {
    return createRequire(import.meta.url)(path) as NativeAddon;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw Object.assign(
      new Error(
        `the native data plane does not load: ${reason}. Install libipsec-mb1, libhogweed6, libnettle8 and libmnl0, or run \`npm run build:native\` again`,
        { cause },
      ),
      { code: "ADDON_BROKEN" },
    );
  }
}

/** The package's root is some levels up: this file runs from `src/` and from `dist/src/`. */
function findAddon(): string | undefined {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const path = join(folder, "build", "addon", "Release", "culvert.node");
    if (existsSync(path)) return path;
    const parent = dirname(folder);
    if (parent === folder) return undefined;
    folder = parent;
  }
}
