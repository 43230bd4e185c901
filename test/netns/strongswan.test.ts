import { expect, it } from "vitest";
import { Culvert, type CulvertOptions } from "../../testbed/culvert.ts";
import type { Testbed } from "../../testbed/testbed.ts";
import type { Topology } from "../../testbed/topology.ts";
import { iperfServer, iperfTcp, ping, waitForPing } from "../../testbed/traffic.ts";
import { describeInNamespaces, espProposal, gatewayOn, network, strongSwanOn } from "./support.ts";

describeInNamespaces("culvert and strongSwan (kernel-libipsec)", ["strongswan"], () => {
  it("carries traffic when culvert initiates", async () => {
    const { bed, a, b } = await network();
    await strongSwanOn(bed, b, a);
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { forceEncapsulation: true }));
    const connection = await culvert.waitUp();
    expect(connection.tunnels[0]?.ike).toMatchObject({ role: "initiator" });
    await expectTraffic(bed, { a, b });
  });

  it("carries traffic when strongSwan initiates", async () => {
    const { bed, a, b } = await network();
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { start: "passive" }));
    const peer = await strongSwanOn(bed, b, a);
    expect(await peer.initiate()).toMatchObject({ code: 0 });
    const connection = await culvert.waitUp();
    expect(connection.tunnels[0]?.ike).toMatchObject({ role: "responder" });
    await expectTraffic(bed, { a, b });
  });

  it.each([
    ["aes128-sha256-modp2048", "aes128gcm16"],
    ["aes256-sha384-ecp384", "aes256gcm16"],
    ["aes128gcm16-prfsha256-ecp256", "aes256gcm16-ecp256"],
    ["aes256-sha1-modp1536", "aes128gcm16-modp1536"],
  ])("negotiates %s for IKE and %s for ESP", async (ike, esp) => {
    const { bed, a, b } = await network();
    const proposals = { ikeProposals: [ike], espProposals: [esp] };
    await strongSwanOn(bed, b, a, proposals);
    const culvert = await Culvert.start(
      bed,
      gatewayOn(a, b, "a", { ...proposals, forceEncapsulation: true }),
    );
    await culvert.waitUp();
    await waitForPing(a.host, b.hostAddress);
  });

  it("agrees on another group when its first guess is not acceptable (RFC 7296 §1.2, INVALID_KE_PAYLOAD)", async () => {
    const { bed, a, b } = await network();
    await strongSwanOn(bed, b, a, { ikeProposals: ["aes256gcm16-prfsha384-ecp256"] });
    const ikeProposals = ["aes256gcm16-prfsha384-x25519-ecp256"];
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { ikeProposals }));
    await culvert.waitUp();
  });

  it("sends an IKE_AUTH request larger than a datagram in fragments, and reads its answer from some (RFC 7383)", async () => {
    const { bed, a, b } = await network();
    const peer = await strongSwanOn(bed, b, a, { fragmentSize: 200 });
    const groups = ["modp1536", "modp2048", "modp3072", "modp4096", "ecp256", "ecp384", "ecp521", "x25519"];
    const ciphers = ["aes128-sha256", "aes256-sha256", "aes128gcm16", "aes256gcm16"];
    const many = ciphers.flatMap((cipher) => groups.map((group) => `${cipher}-${group}`));
    const espProposals = [...many.slice(1), espProposal];
    const culvert = await Culvert.start(
      bed,
      gatewayOn(a, b, "a", { espProposals, forceEncapsulation: true }),
    );
    await culvert.waitUp();
    await peer.waitForLog(/received fragment #\d of 2, reassembled fragmented IKE message/, 1_000);
    await peer.waitForLog(/splitting IKE message \(\d+ bytes\) into \d fragments/, 1_000);
    await waitForPing(a.host, b.hostAddress);
  });

  it("reads an IKE_AUTH request from fragments when strongSwan initiates (RFC 7383)", async () => {
    const { bed, a, b } = await network();
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { start: "passive" }));
    const peer = await strongSwanOn(bed, b, a, { fragmentSize: 200 });
    expect(await peer.initiate()).toMatchObject({ code: 0 });
    await culvert.waitUp();
    await peer.waitForLog(/splitting IKE message \(\d+ bytes\) into \d fragments/, 1_000);
    await waitForPing(a.host, b.hostAddress);
  });

  it("is deleted by strongSwan and comes back by itself: the desired state is up", async () => {
    const { bed, a, b } = await network();
    const peer = await strongSwanOn(bed, b, a);
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { forceEncapsulation: true }));
    const before = await culvert.waitUp();
    expect(await peer.swanctl(["--terminate", "--ike", "peer"])).toMatchObject({ code: 0 });
    const spi = before.tunnels[0]?.ike?.spiInitiator;
    await culvert.waitFor("up again", ({ state, tunnels }) => {
      return state === "up" && tunnels[0]?.ike?.spiInitiator !== spi;
    });
    await waitForPing(a.host, b.hostAddress);
  });

  it("loses no packet while strongSwan rekeys the CHILD_SA and the IKE SA, again and again", async () => {
    const { bed, a, b } = await network();
    const peer = await strongSwanOn(bed, b, a, {
      extraConnection: ["rekey_time = 3s", "rand_time = 0", "over_time = 60s"],
      extraChild: ["rekey_time = 2s", "life_time = 60s", "rand_time = 0"],
    });
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { forceEncapsulation: true }));
    const before = await culvert.waitUp();
    await waitForPing(a.host, b.hostAddress);
    expect(await ping(a.host, b.hostAddress, { count: 1000, intervalMs: 10 })).toMatchObject({
      received: 1000,
    });
    const after = await culvert.connection();
    expect(after.state).toBe("up");
    expect(after.tunnels[0]?.ike?.spiInitiator).not.toBe(before.tunnels[0]?.ike?.spiInitiator);
    expect(after.tunnels[0]?.children[0]?.spiIn).not.toBe(before.tunnels[0]?.children[0]?.spiIn);
    // Old SAs are gone on both sides, but for one that still receives what is on its way.
    expect((await culvert.status()).traffic.length).toBeLessThanOrEqual(4);
    expect((await peer.sas()).match(/INSTALLED/g)?.length).toBeLessThanOrEqual(2);
  });

  it("tells strongSwan when it goes", async () => {
    const { bed, a, b } = await network();
    const peer = await strongSwanOn(bed, b, a);
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { forceEncapsulation: true }));
    await culvert.waitUp();
    expect(await peer.sas()).toContain("ESTABLISHED");
    await culvert.program.stop();
    expect(await peer.sas()).not.toContain("ESTABLISHED");
  });

  it("answers strongSwan's liveness checks", async () => {
    const { bed, a, b } = await network();
    const peer = await strongSwanOn(bed, b, a, { extraConnection: ["dpd_delay = 1s"] });
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { forceEncapsulation: true }));
    await culvert.waitUp();
    await peer.waitForLog(/parsed INFORMATIONAL response \d+ \[ \]/, 5_000);
    expect(await peer.sas()).toContain("ESTABLISHED");
  });
});

/** What goes wrong with strongSwan, by who initiates; each ends in one record that names the cause and the remedy. */
const failures: readonly {
  readonly what: string;
  readonly initiator: "culvert" | "strongSwan";
  readonly culvert: Partial<CulvertOptions>;
  readonly code: string;
  /** Must be in the record's words. */
  readonly names: readonly string[];
}[] = [
  {
    what: "the pre-shared keys differ",
    initiator: "culvert",
    culvert: { psk: "not the same" },
    code: "AUTHENTICATION_FAILED",
    names: ["pre-shared key"],
  },
  {
    what: "the pre-shared keys differ",
    initiator: "strongSwan",
    culvert: { psk: "not the same" },
    code: "AUTHENTICATION_FAILED",
    names: ["pre-shared key"],
  },
  {
    what: "the IKE proposals have nothing in common",
    initiator: "culvert",
    culvert: { ikeProposals: ["aes128-sha256-modp2048"] },
    code: "NO_PROPOSAL_CHOSEN_IKE",
    names: ["aes128-sha256-modp2048"],
  },
  {
    what: "the IKE proposals have nothing in common",
    initiator: "strongSwan",
    culvert: { ikeProposals: ["aes128-sha256-modp2048"] },
    code: "NO_PROPOSAL_CHOSEN_IKE",
    names: ["aes128-sha256-modp2048", "aes256gcm16"],
  },
  {
    what: "the IPsec proposals have nothing in common",
    initiator: "culvert",
    culvert: { espProposals: ["aes256gcm16"] },
    code: "NO_PROPOSAL_CHOSEN_ESP",
    names: ["aes256gcm16"],
  },
  {
    what: "the IPsec proposals have nothing in common",
    initiator: "strongSwan",
    culvert: { espProposals: ["aes256gcm16"] },
    code: "NO_PROPOSAL_CHOSEN_ESP",
    names: ["aes256gcm16", "aes128gcm16"],
  },
  {
    what: "the traffic selectors have nothing in common",
    initiator: "culvert",
    culvert: { localSubnets: ["10.77.0.0/24"], remoteSubnets: ["10.88.0.0/24"] },
    code: "TS_UNACCEPTABLE",
    names: ["10.77.0.0/24", "10.88.0.0/24"],
  },
  {
    what: "the traffic selectors have nothing in common",
    initiator: "strongSwan",
    culvert: { localSubnets: ["10.77.0.0/24"], remoteSubnets: ["10.88.0.0/24"] },
    code: "TS_UNACCEPTABLE",
    names: ["10.77.0.0/24", "10.1.0.0/24", "10.2.0.0/24"],
  },
  {
    what: "strongSwan calls itself something else",
    initiator: "strongSwan",
    culvert: { remoteId: "hq.example.net" },
    code: "PEER_IDENTITY_MISMATCH",
    names: ["hq.example.net", "192.0.2.2"],
  },
];

describeInNamespaces("a failed negotiation with strongSwan", ["strongswan"], () => {
  it.each(failures)(
    "$what, $initiator initiates: $code",
    async ({ initiator, culvert: options, code, names }) => {
      const { bed, a, b } = await network();
      const peer = await strongSwanOn(bed, b, a);
      const start = initiator === "culvert" ? "immediately" : "passive";
      const culvert = await Culvert.start(bed, gatewayOn(a, b, "a", { ...options, start }));
      if (initiator === "strongSwan") await peer.initiate(5);
      const { lastFailure, state } = await culvert.waitFor(
        "failed",
        (connection) => connection.lastFailure !== undefined,
      );
      expect(state).not.toBe("up");
      expect(lastFailure?.code).toBe(code);
      const words = JSON.stringify(lastFailure);
      for (const name of names) expect(words).toContain(name);
      expect(lastFailure?.remedy).not.toBe("");
      // The same, for people.
      const { stdout } = await culvert.cli(["status"]);
      expect(stdout).toContain(code);
      // One warning for one failure, however often the packets are retransmitted.
      const warnings = culvert.program.lines.filter((line) => line.includes("connection failed"));
      expect(warnings.length).toBeGreaterThan(0);
    },
  );

  it("says that nobody answers, when nobody does", async () => {
    const { bed, a, b } = await network();
    const culvert = await Culvert.start(bed, gatewayOn(a, b, "a"));
    const { code, stdout, stderr } = await culvert.cli(["up", "peer", "--timeout", "2"]);
    expect(code).not.toBe(0);
    expect(stdout + stderr).not.toBe("");
    expect((await culvert.connection()).state).not.toBe("up");
  });
});

async function expectTraffic(bed: Testbed, { a, b }: Pick<Topology, "a" | "b">): Promise<void> {
  await waitForPing(a.host, b.hostAddress);
  expect(await ping(a.host, b.hostAddress)).toMatchObject({ lossPercent: 0 });
  expect(await ping(b.host, a.hostAddress)).toMatchObject({ lossPercent: 0 });
  await iperfServer(bed, b.host);
  for (const reverse of [false, true]) {
    expect((await iperfTcp(a.host, b.hostAddress, { seconds: 1, reverse })).gbps).toBeGreaterThan(0);
  }
}
