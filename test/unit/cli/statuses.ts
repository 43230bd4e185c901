/** Statuses that a daemon answers with, for the tests of what `culvert` prints. */
import type { DaemonStatus } from "../../../src/api/control-protocol.ts";
import type { FailureRecord } from "../../../src/core/failure.ts";
import type { ConnectionStatus } from "../../../src/gateway/contract.ts";

export const failure: FailureRecord & { readonly atMs: number } = {
  code: "NO_PROPOSAL_CHOSEN_IKE",
  connection: "hq-backup",
  peer: "203.0.113.9",
  ours: ["aes256gcm16-prfsha384-x25519-ecp384-ecp256-modp3072-modp2048", "aes128gcm16-prfsha256-x25519"],
  theirs: ["aes128-sha1-modp1024"],
  difference: "encryption: ours ENCR_AES_GCM_16/256, theirs ENCR_AES_CBC/128",
  remedy:
    "on the peer, add one of our proposals; or here, add aes128-sha1-modp1024 to ike.proposals (it is weak)",
  atMs: 3_988_000,
};

export const up: ConnectionStatus = {
  name: "hq-branch",
  state: "up",
  sinceMs: 10_000,
  weak: [],
  lastFailure: undefined,
  failures: [],
  warnings: [],
  counts: { handshakesInitiated: 0, handshakesAnswered: 0, ikeRekeys: 0, childRekeys: 0, failures: {} },
  tunnels: [
    {
      customerGateway: "branch",
      local: "192.0.2.1:4500",
      remote: "198.51.100.7:4500",
      localId: "hq.example",
      remoteId: "branch.example",
      state: "up",
      ike: {
        version: 2,
        mode: undefined,
        spiInitiator: "0011223344556677",
        spiResponder: "8899aabbccddeeff",
        role: "initiator",
        suite: "ENCR_AES_GCM_16/256 PRF_HMAC_SHA2_384 Curve25519",
        ageMs: 3_990_000,
        rekeyInMs: 82_000_000,
        nat: "remote",
        handshakeMs: 12.4,
      },
      pathMtu: { bytes: 1500, state: "complete" },
      pairs: undefined,
      children: [
        {
          spiIn: 0x1001,
          spiOut: 0x2002,
          suite: "ENCR_AES_GCM_16/256",
          encapsulation: "udp",
          innerMtu: 1438,
          localSelectors: ["0.0.0.0/0", "::/0"],
          remoteSelectors: ["0.0.0.0/0", "::/0"],
          ageMs: 3_990_000,
          rekeyInMs: undefined,
        },
      ],
    },
  ],
};

/** 60 pairs, of which one is refused. */
export const manyPairs: ConnectionStatus = {
  ...up,
  name: "many",
  tunnels: up.tunnels.map((tunnel) => ({
    ...tunnel,
    pairs: {
      total: 60,
      up: 59,
      missing: [
        {
          local: "10.1.59.0/24",
          remote: "2001:db8:1234:5678::/64",
          refusal: "the traffic selectors have nothing in common",
        },
      ],
    },
    children: Array.from({ length: 59 }, (_, i) => ({
      ...tunnel.children[0]!,
      spiIn: 0xc0ffee00 + i,
      localSelectors: [`10.1.${i}.0/24`],
      remoteSelectors: ["2001:db8:1234:5678::/64"],
    })),
  })),
};

export const failing: ConnectionStatus = {
  name: "hq-backup-with-a-very-long-name-that-somebody-found-descriptive-enough",
  state: "connecting",
  sinceMs: 3_000_000,
  weak: ["ike.proposals: modp1024"],
  tunnels: [
    {
      customerGateway: "backup",
      local: undefined,
      remote: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
      localId: undefined,
      remoteId: undefined,
      state: "connecting",
      ike: undefined,
      pathMtu: undefined,
      pairs: undefined,
      children: [],
    },
  ],
  lastFailure: failure,
  failures: [],
  warnings: [],
  counts: { handshakesInitiated: 0, handshakesAnswered: 0, ikeRekeys: 0, childRekeys: 0, failures: {} },
};

export const daemonStatus: DaemonStatus = {
  daemon: {
    version: "1.2.3",
    pid: 77,
    configFile: "/etc/culvert/culvert.yaml",
    startedAt: "2026-01-02T03:04:05.678Z",
    startedAtMs: 0,
    nowMs: 4_000_000,
    restartNeeded: ["connection hq-branch", "routes"],
    warnings: [
      "IPv4 forwarding is off: hosts behind this gateway cannot use the tunnels; sysctl -w net.ipv4.ip_forward=1",
    ],
  },
  tun: { name: "culvert0", mtu: 1438 },
  gateway: {
    name: "hq",
    ike: { halfOpen: 0, sas: 0, inboundSpis: 0, drops: {} },
    connections: [up, failing],
  },
  connectionTraffic: [
    {
      connection: "hq-branch",
      inbound: { packets: 4_100_000, bytes: 5_700_000_000 },
      outbound: { packets: 13, bytes: 1092 },
    },
  ],
  traffic: [
    { direction: "inbound", spi: 0x1001, connection: 0, packets: 4_000_000, bytes: 5_600_000_000 },
    { direction: "outbound", spi: 0x2002, connection: 0, packets: 12, bytes: 1008 },
  ],
  drops: [
    {
      reason: "replayed",
      severity: "warn",
      text: "sequence number is a replay or left of the window (RFC 4303 section 3.4.3)",
      packets: 7,
    },
    {
      reason: "no_route",
      severity: "info",
      text: "no policy or destination route takes this packet",
      packets: 1200,
    },
  ],
};
