/** What a scanner finds: ike-scan in main, aggressive and IKEv2 mode against a gateway that speaks one of them. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { Culvert, type CulvertOptions } from "../../testbed/culvert.ts";
import { delay, must } from "../../testbed/exec.ts";
import type { Testbed } from "../../testbed/testbed.ts";
import { describeInNamespaces, gatewayOn, network } from "./support.ts";

/** What ike-scan says was returned. */
interface Found {
  readonly handshakes: number;
  readonly notifies: number;
  readonly text: string;
}

describeInNamespaces("ike-scan", ["ike-scan"], () => {
  it("main mode, to a connection in main mode: the proposal, and no hash of its key in aggressive mode", async () => {
    const scanned = await gateway({ ikev1: "main", ikeProposals: ["aes128-sha256-modp2048"] });
    const main = await scanned.scan([acceptable]);
    expect(main).toMatchObject({ handshakes: 1, notifies: 0 });
    expect(main.text).toContain("Enc=AES");
    // Without our proposal, only that.
    expect(await scanned.scan([])).toMatchObject({ handshakes: 0, notifies: 1 });
    const aggressive = await scanned.scan([acceptable, "--aggressive", ...callerId, scanned.crackArgument]);
    expect(aggressive.handshakes).toBe(0);
    expect(scanned.crackable()).toBe("");
    // A scanner that only knows the newer version.
    expect((await scanned.scan(["--ikev2"])).handshakes).toBe(0);
    await scanned.expectModesty();
  });

  it("aggressive mode, to a connection in aggressive mode: the hash that the documents warn of, once", async () => {
    const scanned = await gateway({ ikev1: "aggressive", ikeProposals: ["aes128-sha256-modp2048"] });
    expect((await scanned.scan([acceptable])).handshakes).toBe(0);
    const stranger = await scanned.scan([acceptable, "--aggressive", "--id=nobody", scanned.crackArgument]);
    expect(stranger.handshakes).toBe(0);
    expect(scanned.crackable()).toBe("");
    const caller = await scanned.scan([acceptable, "--aggressive", ...callerId, scanned.crackArgument]);
    expect(caller.handshakes).toBe(1);
    expect(scanned.crackable().split(":").length).toBe(9);
    await scanned.expectModesty();
  });

  it("IKEv2 mode, to a connection that speaks IKEv2: IKEv1 finds nothing", async () => {
    const scanned = await gateway({});
    expect(await scanned.scan([acceptable])).toMatchObject({ handshakes: 0 });
    expect(
      (await scanned.scan([acceptable, "--aggressive", ...callerId, scanned.crackArgument])).handshakes,
    ).toBe(0);
    expect(scanned.crackable()).toBe("");
    const { handshakes, notifies } = await scanned.scan(["--ikev2"]);
    expect(handshakes + notifies).toBe(1);
    await scanned.expectModesty();
  });

  it("from an address that no connection names: nothing at all", async () => {
    const scanned = await gateway({
      ikev1: "main",
      ikeProposals: ["aes128-sha256-modp2048"],
      remoteAddress: "198.51.100.77",
    });
    for (const how of [[acceptable], [acceptable, "--aggressive", ...callerId, scanned.crackArgument], []])
      expect(await scanned.scan(how)).toMatchObject({ handshakes: 0, notifies: 0 });
    expect(scanned.crackable()).toBe("");
    expect((await scanned.octets()).answered).toBe(0);
  });
});

/** aes128-sha256-modp2048 with a pre-shared key. */
const acceptable = "--trans=(1=7,14=128,2=4,3=1,4=14)";
/** The address of the peer that the gateway expects. */
const callerId = ["--id=0xc0000202", "--idtype=1", "--dhgroup=14"];

/** culvertd at A, scanned from B, which is its peer unless `options` say otherwise. */
async function gateway(options: Partial<CulvertOptions>): Promise<Scanned> {
  const { bed, a, b } = await network();
  await Culvert.start(bed, gatewayOn(a, b, "a", { start: "passive", ...options }));
  await must(["nft", "-f", "-"], { netns: a.gateway, input: counters });
  return new Scanned(bed, a.gateway, b.gateway, a.outerAddress);
}

class Scanned {
  readonly #crackFile: string;
  readonly #netns: string;
  readonly #from: string;
  readonly #address: string;

  constructor(bed: Testbed, netns: string, from: string, address: string) {
    this.#crackFile = bed.file("psk.txt", "");
    this.#netns = netns;
    this.#from = from;
    this.#address = address;
  }

  /** Writes what can be tried against guesses of the key. */
  get crackArgument(): string {
    return `--pskcrack=${this.#crackFile}`;
  }

  crackable(): string {
    return readFileSync(this.#crackFile, "utf8").trim();
  }

  async scan(how: readonly string[]): Promise<Found> {
    const argv = ["ike-scan", "--nodns", "--retry=1", "--timeout=700", ...how, this.#address];
    const text = await must(argv, { netns: this.#from });
    const [, handshakes, notifies] = /(\d+) returned handshake; (\d+) returned notify/.exec(text)!;
    return { handshakes: Number(handshakes), notifies: Number(notifies), text };
  }

  /** Octets of UDP payload that came to IKE's ports and that left them, and how many datagrams. */
  async octets(): Promise<{ asked: number; answered: number; answers: number; requests: number }> {
    const { nftables } = JSON.parse(
      await must(["nft", "-j", "list", "counters"], { netns: this.#netns }),
    ) as {
      nftables: { counter?: { name: string; packets: number; bytes: number } }[];
    };
    const of = (wanted: string) => nftables.find(({ counter }) => counter?.name === wanted)!.counter!;
    const [asked, answered] = [of("asked"), of("answered")];
    const payload = ({ packets, bytes }: typeof asked) => bytes - packets * headerBytes;
    return {
      asked: payload(asked),
      answered: payload(answered),
      requests: asked.packets,
      answers: answered.packets,
    };
  }

  /** Nothing was repeated to an initiator that has proven nothing, and nothing made more than three times as large. */
  async expectModesty(): Promise<void> {
    const before = await this.octets();
    expect(before.answers).toBeLessThanOrEqual(before.requests);
    expect(before.answered).toBeGreaterThan(0);
    expect(before.answered).toBeLessThanOrEqual(3 * before.asked);
    // Longer than the first repetitions of anybody take.
    await delay(1_000);
    expect((await this.octets()).answers).toBe(before.answers);
  }
}

/** IPv4 and UDP. */
const headerBytes = 28;
const counters = `
table inet ike {
  counter asked { }
  counter answered { }
  chain in {
    type filter hook input priority 0;
    udp dport { 500, 4500 } counter name asked
  }
  chain out {
    type filter hook output priority 0;
    udp sport { 500, 4500 } counter name answered
  }
}
`;
