import { describe, expect, it } from "vitest";
import type { FailureRecord } from "../../src/core/failure.ts";
import { type FailureCode, failureReasons } from "../../src/core/failure-reasons.ts";
import { Secret } from "../../src/core/secret.ts";
import { ExchangeType, NotifyType } from "../../src/registry/index.ts";
import { findPayload, type NotifyPayload, type PlainPayload } from "../../src/wire/index.ts";
import { type Change, CraftedPeer, without } from "./crafted-peer.ts";
import { impair } from "./network.ts";
import { type Node, tunnelStatus } from "./simulation.ts";
import { addressA, addressB, type Sites, twoSites } from "./two-sites.ts";

const N = NotifyType.code;
const X = ExchangeType.code;
type Options = Parameters<typeof twoSites>[0];

/** Starts both; what fails is found in `failures`. */
function started(options: Options = {}): Sites {
  const sites = twoSites(options);
  sites.sim.start(sites.a, sites.b);
  return sites;
}

function up(options: Options = {}): Sites {
  const sites = started(options);
  sites.sim.run(1000);
  expect(tunnelStatus(sites.sim, sites.a).state).toBe("up");
  return sites;
}

/** B answers; A is the crafted peer. */
function atTheDoor(options: Options = {}) {
  const sites = twoSites(options);
  sites.sim.start(sites.b);
  const peer = new CraftedPeer(sites.sim, sites.b, { own: addressA, node: addressB });
  return { ...sites, peer };
}

function letIn(options: Options = {}) {
  const door = atTheDoor(options);
  door.peer.init();
  door.peer.auth();
  expect(tunnelStatus(door.sim, door.b).state).toBe("up");
  return door;
}

/** A calls; B is the crafted peer. */
function called(options: Options = {}) {
  const sites = twoSites(options);
  const peer = new CraftedPeer(sites.sim, sites.a, { own: addressB, node: addressA });
  sites.sim.start(sites.a);
  return { ...sites, peer };
}

/** A is up with the crafted peer, and has just asked to rekey its CHILD_SA. */
function rekeying(options: Options = {}) {
  const site = called(options);
  site.peer.answerInit();
  site.peer.answerAuth();
  expect(tunnelStatus(site.sim, site.a).state).toBe("up");
  const { spi, remote } = site.a.outbound[0]!;
  site.sim.event(site.a, { kind: "softLifetime", spi, direction: "outbound", remote });
  const request = site.peer.received.splice(0).at(-1)!;
  return { ...site, request };
}

const notification = (type: number): NotifyPayload => ({
  kind: "N",
  protocolId: 0,
  spi: new Uint8Array(0),
  type,
  data: new Uint8Array(0),
});
const critical: PlainPayload = { kind: "unknown", type: 99, critical: true, body: Uint8Array.of(1) };
const flows = { routing: "protected-data-flows" } as const;

/** How each code comes about, and what its record must show. */
const scenarios: Record<
  FailureCode,
  { readonly run: () => Node; readonly shows: Partial<FailureRecord> | Record<string, unknown> }
> = {
  NO_PROPOSAL_CHOSEN_IKE: {
    run: () => {
      const { sim, a } = started({ b: { ike: ["aes256gcm16-prfsha384-ecp384"] } });
      sim.run(3500);
      return a;
    },
    shows: {
      ours: ["aes128gcm16-prfsha256-x25519"],
      theirs: ["NO_PROPOSAL_CHOSEN"],
      offered: { ike: ["aes128gcm16-prfsha256-x25519"] },
      configured: {
        ike: ["aes128gcm16-prfsha256-x25519"],
        esp: ["aes128gcm16"],
        selectors: ["0.0.0.0/0 ::/0 === 0.0.0.0/0 ::/0"],
      },
    },
  },
  NO_PROPOSAL_CHOSEN_ESP: {
    run: () => {
      const { sim, b } = started({ a: { esp: ["aes128gcm16"] }, b: { esp: ["aes256gcm16"] } });
      sim.run(500);
      return b;
    },
    shows: {
      ours: ["aes256gcm16"],
      theirs: ["aes128gcm16-esn-noesn"],
      offered: { esp: ["aes128gcm16-esn-noesn"], selectors: ["0.0.0.0/0 ::/0 === 0.0.0.0/0 ::/0"] },
      agreed: { ike: ["aes128gcm16-prfsha256-x25519"] },
    },
  },
  AUTHENTICATION_FAILED: {
    run: () => {
      const { sim, b } = started({ a: { psk: "one" }, b: { psk: "two" } });
      sim.run(500);
      return b;
    },
    shows: { difference: "the pre-shared keys differ" },
  },
  PPK_MISMATCH: {
    run: () => {
      const ppk = { id: "one", secret: "a postquantum preshared key, long enough", required: true };
      const { sim, b } = started({ b: { ppk } });
      sim.run(500);
      return b;
    },
    shows: { ours: ["PPK one"], difference: "the peer has another PPK, or none" },
  },
  AUTH_METHOD_UNSUPPORTED: {
    run: () => {
      const { peer, b } = atTheDoor();
      peer.init();
      peer.auth(without("AUTH"));
      return b;
    },
    shows: { ours: ["SHARED_KEY_MIC"], theirs: ["EAP"] },
  },
  PEER_IDENTITY_MISMATCH: {
    run: () => {
      const { sim, b } = started({ b: { remoteId: { kind: "fqdn", fqdn: "a.example" } } });
      sim.run(500);
      return b;
    },
    shows: { ours: ["a.example"], theirs: [addressA] },
  },
  TS_UNACCEPTABLE: {
    run: () => {
      const { sim, b } = started({
        a: { ...flows, localSubnets: ["10.1.0.0/16"], remoteSubnets: ["10.2.0.0/16"] },
        b: { ...flows, localSubnets: ["10.3.0.0/16"], remoteSubnets: ["10.1.0.0/16"] },
      });
      sim.run(500);
      return b;
    },
    shows: {
      ours: ["10.3.0.0/16 === 10.1.0.0/16"],
      theirs: ["10.2.0.0/16 === 10.1.0.0/16"],
      offered: { esp: ["aes128gcm16-esn-noesn"], selectors: ["10.2.0.0/16 === 10.1.0.0/16"] },
    },
  },
  INVALID_KE: {
    run: () => {
      const { sim, a, peer } = called();
      const data = Uint8Array.of(0, 2);
      peer.answerInit(() => [{ ...notification(N.INVALID_KE_PAYLOAD), data }, ...nonce(peer)]);
      sim.run(3500);
      return a;
    },
    shows: { ours: ["x25519"], theirs: ["modp1024"], difference: "DH group: ours x25519, theirs modp1024" },
  },
  PEER_UNREACHABLE: {
    run: () => {
      const { sim, a } = called();
      sim.run(30_500);
      return a;
    },
    shows: { ours: ["aes128gcm16-prfsha256-x25519"], theirs: [] },
  },
  IKE_AUTH_UNANSWERED: {
    run: () => {
      const sites = twoSites();
      sites.sim.network.faults.push(impair.drop("IKE_AUTH"));
      sites.sim.start(sites.a, sites.b);
      sites.sim.run(30_500);
      return sites.a;
    },
    shows: { agreed: { ike: ["aes128gcm16-prfsha256-x25519"] } },
  },
  PEER_NAME_UNRESOLVED: {
    run: () => {
      const { sim, a } = started({ a: { peers: ["nowhere.example"] } });
      sim.run(500);
      return a;
    },
    shows: { ours: ["nowhere.example"], peer: "nowhere.example" },
  },
  NO_LOCAL_ADDRESS: {
    run: () => {
      const { sim, a } = started({
        a: { peers: ["six.example"] },
        sim: { dns: () => ["2001:db8::7"] },
      });
      sim.run(500);
      return a;
    },
    shows: { ours: [addressA], theirs: ["2001:db8::7"] },
  },
  NO_CONNECTION_MATCHES: {
    run: () => {
      const { sim, b } = started({ b: { peers: ["203.0.113.200"] } });
      sim.run(100);
      return b;
    },
    shows: { connection: undefined, peer: `${addressA}:500` },
  },
  IKE_VERSION_MISMATCH: {
    run: () => {
      const { b, peer } = atTheDoor();
      const header = Buffer.alloc(28);
      header.set([1, 2, 3, 4, 5, 6, 7, 8]);
      header.set([1, 0x10, 2, 0], 16);
      header.writeUInt32BE(28, 24);
      peer.raw(header);
      return b;
    },
    shows: { connection: "site", difference: "version: ours ikev2, theirs ikev1" },
  },
  PEER_PROTOCOL_ERROR: {
    run: () => {
      const { b, peer } = letIn();
      peer.request(X.CREATE_CHILD_SA, [{ kind: "SA", proposals: [peer.espProposal(0xc0ffee01)] }]);
      return b;
    },
    shows: { difference: expect.stringMatching(/^CREATE_CHILD_SA: .*Nonce/) },
  },
  UNSUPPORTED_CRITICAL_PAYLOAD: {
    run: () => {
      const { b, peer } = letIn();
      peer.request(X.INFORMATIONAL, [critical]);
      return b;
    },
    shows: { difference: "INFORMATIONAL: critical payload 99 is unknown here" },
  },
  PEER_REFUSED_CHILD: {
    run: () => {
      const { a, peer } = called();
      peer.answerInit();
      peer.answerAuth((p) => [...p.slice(0, 2), notification(N.FAILED_CP_REQUIRED)]);
      return a;
    },
    shows: { ours: ["aes128gcm16"], theirs: ["FAILED_CP_REQUIRED"] },
  },
  CHILD_SA_LIMIT: {
    run: () => {
      const { b, peer } = letIn({ sim: { limits: { children: 16 } } });
      for (let i = 1; i <= 16; i++) peer.request(X.CREATE_CHILD_SA, newChild(peer, 0xc0ffee00 + i));
      return b;
    },
    shows: { difference: "the peer asks for another CHILD_SA, and this IKE SA has 16" },
  },
  REKEY_REFUSED: {
    run: () => {
      const { a, peer, request } = rekeying();
      peer.answer(request, [notification(N.NO_ADDITIONAL_SAS)]);
      expect(a.installed).toHaveLength(2);
      return a;
    },
    shows: {
      theirs: ["NO_ADDITIONAL_SAS"],
      agreed: {
        ike: ["aes128gcm16-prfsha256-x25519"],
        esp: ["aes128gcm16"],
        selectors: ["0.0.0.0/0 ::/0 === 0.0.0.0/0 ::/0"],
      },
    },
  },
  REKEY_REHEARSAL_FAILED: {
    run: () => {
      const { sim, a } = started({ a: { esp: ["aes128gcm16-x25519"], rehearseRekey: true } });
      sim.run(5000);
      return a;
    },
    shows: {
      ours: ["aes128gcm16-x25519"],
      theirs: ["NO_PROPOSAL_CHOSEN"],
      difference: "perfect forward secrecy: we ask for DH group x25519, the peer answers NO_PROPOSAL_CHOSEN",
    },
  },
  LIFETIME_EXPIRED: {
    run: () => {
      const { sim, a } = up();
      const { spi, remote } = a.outbound[0]!;
      sim.event(a, { kind: "hardLifetime", spi, direction: "outbound", remote });
      return a;
    },
    shows: { difference: "the CHILD_SA reached its limit of bytes or packets and was not rekeyed before" },
  },
  CHILD_SA_NOT_FOUND: {
    run: () => {
      const { a, peer, request } = rekeying();
      peer.answer(request, [notification(N.CHILD_SA_NOT_FOUND)]);
      return a;
    },
    shows: { theirs: ["CHILD_SA_NOT_FOUND"] },
  },
  PEER_DELETED: {
    run: () => {
      const { sim, a, b } = up();
      sim.command(b, "down");
      sim.run(500);
      return a;
    },
    shows: { theirs: ["D"], difference: "the peer sent a Delete for the IKE SA" },
  },
  DPD_TIMEOUT: {
    run: () => {
      const { sim, a, b } = up({ a: { dpd: { action: "clear" } } });
      b.dead = true;
      sim.run(60_000);
      return a;
    },
    shows: { agreed: expect.objectContaining({ esp: ["aes128gcm16-esn"] }) },
  },
  PEER_RESTARTED: {
    run: () => {
      const crashSecretOf = (name: string) => Secret.fromText(`${name} has a secret of 32 octets here`);
      const { sim, a, b, configB } = up({ sim: { crashSecretOf } });
      sim.crash(b, configB);
      sim.run(13_000);
      return a;
    },
    shows: { agreed: expect.objectContaining({ esp: ["aes128gcm16-esn"] }) },
  },
  CHILDLESS_UNSUPPORTED: {
    run: () => {
      const { sim, a } = started({ a: { childless: "force" }, b: { childless: "never" } });
      sim.run(3500);
      return a;
    },
    shows: { connection: "site" },
  },
  DATAPLANE_ERROR: {
    run: () => {
      const { sim, a, b } = twoSites();
      a.refuses = (sa) => (sa.direction === "outbound" ? "out of memory" : undefined);
      sim.start(a, b);
      sim.run(500);
      return a;
    },
    shows: { ours: ["aes128gcm16-esn"], difference: "outbound SA: out of memory" },
  },
  HALF_OPEN_LIMIT: {
    run: () => {
      const { b, peer } = atTheDoor({ sim: { limits: { halfOpenPerAddress: 1 } } });
      peer.init();
      peer.spiInitiator = 7n;
      peer.spiResponder = 0n;
      peer.init();
      return b;
    },
    shows: { connection: undefined },
  },
  OTHER_NOTIFY: {
    run: () => {
      const { a, peer } = called();
      peer.answerInit();
      peer.answerAuth(() => [notification(N.SINGLE_PAIR_REQUIRED)]);
      return a;
    },
    shows: { ours: [`our identity ${addressA}`], theirs: ["SINGLE_PAIR_REQUIRED"] },
  },
  IKE_MODE_MISMATCH: {
    run: () => {
      const { sim, a } = started({ both: { version: "ikev1" }, b: { mode: "aggressive" } });
      sim.run(30_100);
      return a;
    },
    shows: { ours: ["mode main"], theirs: ["UNSUPPORTED_EXCHANGE_TYPE"] },
  },
};

const nonce = (peer: CraftedPeer): PlainPayload[] => [
  { kind: "SA", proposals: [peer.ikeProposal()] },
  { kind: "KE", dhGroup: peer.suite.group, data: peer.keyPair.publicValue },
  { kind: "Nonce", nonce: new Uint8Array(32).fill(3) },
];

function newChild(peer: CraftedPeer, spi: number): PlainPayload[] {
  const [TSi, TSr] = [findPayload(peer.authPayloads(), "TSi")!, findPayload(peer.authPayloads(), "TSr")!];
  const proposals = [peer.espProposal(spi)];
  return [{ kind: "SA", proposals }, { kind: "Nonce", nonce: new Uint8Array(32).fill(9) }, TSi, TSr];
}

describe("every failure code comes about, with one record for one failed attempt", () => {
  it.each(Object.keys(failureReasons) as FailureCode[])("%s", (code) => {
    const { run, shows } = scenarios[code];
    const { failures } = run();
    expect(failures.map((f) => f.code)).toEqual([code]);
    expect(failures[0]).toMatchObject(shows);
    expect(failures[0]!.difference).not.toBe("");
    expect(failures[0]!.remedy).not.toBe("");
  });
});

describe("what is no failure, or has its record already", () => {
  it("the Delete of an IKE SA whose CHILD_SA was refused adds no second record", () => {
    const { sim, b } = started({ a: { esp: ["aes128gcm16"] }, b: { esp: ["aes256gcm16"] } });
    sim.run(900);
    expect(b.failures.map((f) => f.code)).toEqual(["NO_PROPOSAL_CHOSEN_ESP"]);
  });

  it("both call at once: the IKE SA that is closed again is nobody's failure", () => {
    const { sim, a, b } = started({ b: { start: "immediately" } });
    sim.run(60_000);
    expect([a.failures, b.failures]).toEqual([[], []]);
  });

  it("a rekey, by either side, of either SA", () => {
    const { sim, a, b } = up({ both: { lifetimeSeconds: 100, ikeLifetimeSeconds: 150 } });
    sim.run(600_000);
    expect([a.failures, b.failures]).toEqual([[], []]);
  });

  it("a record stays small, whatever the peer offers", () => {
    const { peer, b } = atTheDoor({ b: { ike: ["aes256gcm16-prfsha384-ecp384"] } });
    const many: Change = (payloads) =>
      payloads.map((p) =>
        p.kind === "SA"
          ? {
              ...p,
              proposals: Array.from({ length: 200 }, (_, i) => ({ ...p.proposals[0]!, number: i + 1 })),
            }
          : p,
      );
    peer.init(many);
    expect(b.failures[0]!.theirs).toHaveLength(9);
    expect(b.failures[0]!.theirs.at(-1)).toBe("and 192 more");
    expect(JSON.stringify(b.failures[0]).length).toBeLessThan(4000);
  });
});
