/** Two IKE endpoints, mouth to ear: every datagram that one emits is the other's next input. */

import { systemRandom } from "../../src/api/system-random.ts";
import { IpAddress, Prefix } from "../../src/core/address.ts";
import { RandomPool } from "../../src/core/random-pool.ts";
import { Secret } from "../../src/core/secret.ts";
import { selectorFromPrefix } from "../../src/core/traffic-selector.ts";
import { accelerate, generateKeyPair } from "../../src/crypto/index.ts";
import { nativeCurves, nativeSymmetric } from "../../src/dataplane/index.ts";
import type { PeerSettings } from "../../src/ike/common/settings.ts";
import { IkeEndpoint } from "../../src/ike/v2/endpoint.ts";
import type { IkeOutput } from "../../src/ike/v2/events.ts";
import { parseProposal } from "../../src/registry/index.ts";

/** One handshake from nothing to a CHILD_SA on both sides, and back to nothing. Throws when it does not come up. */
export type Handshake = () => void;

export function handshakes(ikeProposal: string): Handshake {
  accelerate(nativeSymmetric());
  const initiator = endpoint("192.0.2.1", "192.0.2.2", ikeProposal);
  const responder = endpoint("192.0.2.2", "192.0.2.1", ikeProposal);
  // The endpoints' own clock: each handshake happens in its own second, so that no limit of half-open SAs is met.
  let now = 0;
  return () => {
    now += 1000;
    const sa = initiator.machine.initiate(now, initiator.peer, initiator.peer.remote[0]!);
    const up = exchange(now, initiator.machine, responder.machine);
    if (up !== 2) throw new Error(`${ikeProposal}: ${up} of 2 ends have a CHILD_SA`);
    initiator.machine.close(now, sa!, "requested");
    exchange(now, initiator.machine, responder.machine);
    // What a closed SA keeps for repeated messages goes, too.
    now += 60_000;
    for (const { machine } of [initiator, responder]) machine.handleTimeout(now);
    exchange(now, initiator.machine, responder.machine);
  };
}

/** Delivers until both are silent. Returns how many ends reported a CHILD_SA. */
function exchange(now: number, a: IkeEndpoint, b: IkeEndpoint): number {
  let up = 0;
  for (let busy = true; busy; ) {
    busy = false;
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      for (let output = from.pollOutput(); output !== undefined; output = from.pollOutput()) {
        busy = true;
        if (output.kind === "send") to.handleDatagram(now, output.remote, output.local, output.datagram);
        else if (output.kind === "childUp") up += 1;
        else perform(output);
      }
    }
  }
  return up;
}

function perform(output: IkeOutput): void {
  // Every pair ends with one side's Delete, which the other records.
  if (output.kind === "failure" && output.record.code !== "PEER_DELETED")
    throw new Error(JSON.stringify(output.record));
  if (output.kind !== "installSa") return;
  // As the daemon does once the data plane has its copy.
  output.sa.encrKey.wipe();
  output.sa.integKey.wipe();
}

function endpoint(local: string, remote: string, ikeProposal: string) {
  let spi = 0xff;
  const machine = new IkeEndpoint({
    random: new RandomPool(systemRandom),
    keyPairs: { take: (group) => generateKeyPair(group, nativeCurves()) },
    allocateSpi: () => {
      spi = spi === 0xffffffff ? 0x100 : spi + 1;
      return spi;
    },
    releaseSpi: () => {},
    keepsUp: () => false,
    exportKeys: false,
  });
  const any = [selectorFromPrefix(Prefix.any(4))];
  const peer: PeerSettings = {
    id: remote,
    connection: "bench",
    connectionIndex: 0,
    version: "ikev2",
    mode: "main",
    local: [IpAddress.parse(local)],
    remote: [IpAddress.parse(remote)],
    roaming: false,
    pathMtu: 1500,
    dontFragment: "clear",
    psk: Secret.fromText("a benchmark's"),
    localId: undefined,
    remoteId: undefined,
    ikeProposals: [parseProposal(ikeProposal, "ike")],
    reauthenticate: false,
    childless: "allow",
    mobike: true,
    espProposals: [parseProposal("aes128gcm16", "esp")],
    localSelectors: any,
    remoteSelectors: any,
    pairs: [{ local: any[0]!, remote: any[0]! }],
    perSubnetPair: "auto",
    ikeLifetimeMs: 86_400_000,
    childLifetimeMs: 86_400_000,
    childLifetimeBytes: 0,
    childLifetimePackets: 0,
    rehearseRekey: false,
    replayWindow: 4096,
    answerTimeoutMs: 30_000,
    livenessIntervalMs: undefined,
    natTraversal: { forceEncapsulation: false, keepaliveMs: 20_000 },
  };
  machine.setPeers([peer]);
  return { machine, peer };
}
