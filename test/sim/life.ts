/**
 * A long life of two gateways, from a seed: both kinds of SA are rekeyed every few seconds while datagrams are lost,
 * late, repeated and out of order, and things happen. After every step `checkStep` looks at everything that must hold
 * at any time; when the weather clears, both sides must agree within `convergeMs`; after `down` nothing may be left.
 */
import assert from "node:assert/strict";
import { type Endpoint, IpAddress } from "../../src/core/address.ts";
import type { DataPlaneEvent } from "../../src/core/dataplane.ts";
import { Secret } from "../../src/core/secret.ts";
import type { SiteOptions } from "./config.ts";
import {
  checkSpis,
  checkStep,
  expectGone,
  inboundOf,
  isSettled,
  isWell,
  preferred,
} from "./life-invariants.ts";
import { type Choices, choose, happenings } from "./life-options.ts";
import { fair, Nat } from "./network.ts";
import { pooledKeyPair } from "./pooled-keys.ts";
import { SeededRandom } from "./random.ts";
import { endpoint, type Node, type SimulationOptions } from "./simulation.ts";
import { addressA, addressB, type Sites, twoSites } from "./two-sites.ts";

export interface LifeReport {
  readonly choices: Choices;
  /** What A has counted. */
  readonly children: number;
  readonly ikeSas: number;
  readonly steps: number;
  /** Of the traffic that flows all the time, those that arrived and could be opened. */
  readonly packets: number;
  /** Times when both had a tunnel, and then one of them sent with what the other could not open. */
  readonly interruptions: number;
  /** From the end of the bad weather until both sides agreed, ms. */
  readonly convergedMs: number;
}

export type Trace = (line: string) => void;
type Party = "A" | "B";

const convergeMs = 150_000;
const afterwardsMs = 6_000;
const lifeMs = 34_000;
const packetEveryMs = 200;
const nothing = new Uint8Array(0);
const insideA = "10.99.0.1";
const nameOfA = { kind: "fqdn", fqdn: "a.example" } as const;

/** Throws on the first thing that must not be. */
export function live(seed: number, trace?: Trace, version: "ikev1" | "ikev2" = "ikev2"): LifeReport {
  return new Life(seed, version, trace).run();
}

export class Life {
  readonly choices: Choices;
  readonly #random: SeededRandom;
  readonly #sites: Sites;
  readonly #nat: Nat | undefined;
  readonly #trace: Trace | undefined;
  readonly #said = new Map<Node, number>();
  #steps = 0;
  #packets = 0;
  #interruptions = 0;
  #ended = false;
  #wasWell = false;
  /** From now on whoever was well stays well. */
  #peaceful: boolean;
  #cutUntil = 0;
  #newestSentAt = 0;

  constructor(seed: number, version: "ikev1" | "ikev2", trace?: Trace) {
    this.#random = new SeededRandom(seed ^ 0x11fe);
    this.choices = choose(this.#random, version);
    this.#peaceful = this.choices.calm;
    this.#sites = sitesOf(seed, this.choices, (node) => this.#onStep(node));
    const { network } = this.#sites.sim;
    for (const node of [this.#sites.a, this.#sites.b]) node.severalPairs = this.choices.pairs > 1;
    this.#nat = this.choices.nat ? new Nat(insideA, addressA) : undefined;
    if (this.#nat) network.nats.push(this.#nat);
    network.faults.push(() => (this.#cutUntil > this.#sites.sim.now ? "drop" : "pass"));
    this.#trace = trace;
    if (!trace) return;
    this.#say(JSON.stringify(this.choices));
    network.observe = ({ from }, name, delays) =>
      this.#say(`${from}: ${name} ${delays.length ? `arrives after ${delays.map(Math.round)}` : "is lost"}`);
  }

  run(): LifeReport {
    const { sim, a, b } = this.#sites;
    sim.start(a, b);
    const traffic = () => {
      this.#packet(a, b);
      this.#packet(b, a);
      if (!this.#ended) sim.at(packetEveryMs, traffic);
    };
    sim.at(packetEveryMs, traffic);
    const possible = happenings.filter((h) => !h.rough || !this.choices.calm);
    const end = sim.now + lifeMs;
    while (sim.now < end) {
      this.#changeWeather();
      for (let i = this.#random.below(4); i >= 0; i--) {
        sim.run(this.#random.below(2_500));
        const happening = possible[this.#random.below(possible.length)]!;
        this.#say(happening.name);
        happening.act(this);
      }
    }
    const convergedMs = this.#heal();
    this.#end();
    const { choices } = this;
    const count = (message: string) => a.logs.filter((l) => l.message === message).length;
    const made = { children: count("CHILD_SA rekeyed"), ikeSas: count("IKE SA rekeyed") };
    return {
      choices,
      ...made,
      steps: this.#steps,
      packets: this.#packets,
      interruptions: this.#interruptions,
      convergedMs,
    };
  }

  // ── What can happen ──────────────────────────────────────────────────────────────────────────────────────────

  lifetime(party: Party, kind: "softLifetime" | "hardLifetime"): void {
    const node = this.#node(party);
    const spis = preferred(node);
    const spi = spis[spis.length > 1 ? this.#random.below(spis.length) : 0];
    const sa = node.outbound.find((o) => o.spi === spi);
    if (sa) this.#event(node, { kind, spi: sa.spi, direction: "outbound", remote: sa.remote });
  }

  command(party: Party, verb: "up" | "down" | "reset"): void {
    this.#sites.sim.command(this.#node(party), verb);
  }

  crash(party: Party): void {
    const { sim, configA, configB } = this.#sites;
    sim.crash(this.#node(party), party === "A" ? configA : configB);
  }

  cut(): void {
    this.#cutUntil = this.#sites.sim.now + this.#random.below(12_000);
  }

  forgetNat(): void {
    this.#nat?.forget();
  }

  // ── The course of it ─────────────────────────────────────────────────────────────────────────────────────────

  #changeWeather(): void {
    const random = this.#random;
    const weather = {
      loss: random.unit() * (this.choices.calm ? 0.2 : 0.4),
      duplication: random.unit() * 0.3,
      delayMs: 1 + random.below(40),
      jitterMs: random.below(2) ? 0 : random.below(400),
    };
    this.#say(`weather: ${JSON.stringify(weather)}`);
    this.#sites.sim.network.weather = weather;
  }

  /** Fair weather: both agree within the bound, and then nothing is interrupted any more. */
  #heal(): number {
    const { sim, a, b } = this.#sites;
    this.#cutUntil = 0;
    sim.network.weather = fair;
    for (const node of [a, b]) sim.command(node, "up");
    this.#say("the weather is fair");
    const since = sim.now;
    const settled = sim.runUntil(() => isSettled(a, b), convergeMs);
    assert.ok(settled, `not settled ${convergeMs} ms after the network healed`);
    const convergedMs = sim.now - since;
    this.#peaceful = true;
    sim.run(afterwardsMs);
    assert.ok(
      sim.runUntil(() => isSettled(a, b), convergeMs),
      "something is left beside one IKE SA with its CHILD_SA",
    );
    return convergedMs;
  }

  /** The operators end it: nothing is left, of what was installed and of what was kept. */
  #end(): void {
    const { sim, a, b } = this.#sites;
    this.#peaceful = false;
    this.#ended = true;
    this.#say("the end");
    sim.command(b, "down");
    sim.command(a, "down");
    sim.run(20_000);
    for (const node of [a, b]) expectGone(node, sim.now);
  }

  #onStep(node: Node): void {
    this.#steps++;
    const { a, b, sim } = this.#sites;
    if (this.#trace) this.#sayLogs(node);
    checkStep(node);
    if (this.#steps % 16 === 0) checkSpis(node, sim.now);
    const well = isWell(a, b);
    if (this.#wasWell && !well && !this.#ended) {
      this.#say("interrupted");
      this.#interruptions++;
      assert.ok(!this.#peaceful, `the tunnel is interrupted at ${sim.now}`);
    }
    this.#wasWell = well;
  }

  #node(party: Party): Node {
    return party === "A" ? this.#sites.a : this.#sites.b;
  }

  #event(node: Node, event: DataPlaneEvent): void {
    this.#sites.sim.event(node, event);
  }

  /** One packet of the traffic that flows all the time, late and lost as the weather is; it must find its SA. */
  #packet(from: Node, to: Node): void {
    const { sim } = this.#sites;
    const spis = preferred(from);
    const pair = spis.length > 1 ? this.#random.below(spis.length) : 0;
    const spi = spis[pair];
    if (spi === undefined) {
      this.#acquire(from, pair);
      return;
    }
    const { loss, delayMs, jitterMs } = sim.network.weather;
    if (this.#cutUntil > sim.now || this.#random.unit() < loss) return;
    const mustArrive = this.#wasWell && this.#peaceful;
    const sentAt = sim.now;
    const source = from === this.#sites.a ? this.#throughNat() : undefined;
    sim.at(delayMs + this.#random.unit() * jitterMs, () => {
      if (inboundOf(to, spi)) {
        this.#packets++;
        to.lastInbound.set(spi, sim.now);
        if (source) this.#seen(to, spi, source, sentAt);
        if (to.used.has(spi)) return;
        to.used.add(spi);
        this.#event(to, { kind: "saInUse", spi });
      } else if (mustArrive && this.#peaceful)
        throw new Error(`a packet to ${to.name} finds no SA at ${sim.now}`);
    });
  }

  /** Where an ESP packet of A seems to come from, when there is a NAT. */
  #throughNat(): Endpoint | undefined {
    const [source, destination] = [endpoint(insideA, 4500), endpoint(addressB, 4500)];
    return this.#nat?.translate({ from: "A", source, destination, datagram: nothing })?.source;
  }

  /** The data plane reports an SA whose newest packet came from elsewhere than the one before. */
  #seen(to: Node, spi: number, source: Endpoint, sentAt: number): void {
    const sa = inboundOf(to, spi)!;
    if (sa.encapsulation.kind !== "udp" || sentAt < this.#newestSentAt) return;
    this.#newestSentAt = sentAt;
    if (sa.encapsulation.remotePort !== source.port)
      this.#event(to, { kind: "peerMoved", spi, remote: source });
  }

  #acquire(node: Node, pair: number): void {
    const inside = [IpAddress.parse("10.1.0.1"), IpAddress.parse(`10.${2 + pair}.0.1`)];
    const [source, destination] =
      this.choices.pairs > 1
        ? node === this.#sites.a
          ? inside
          : inside.toReversed()
        : [this.#sites.configA, this.#sites.configB].map((config) => config.gateway.addresses[0]!);
    const ports = { sourcePort: 1, destinationPort: 2, protocol: 17 };
    this.#event(node, {
      kind: "acquire",
      connection: 0,
      source: source!,
      destination: destination!,
      ...ports,
    });
  }

  #sayLogs(node: Node): void {
    for (const { message, fields } of node.logs.slice(this.#said.get(node) ?? 0))
      this.#say(`${node.name}:   ${message} ${JSON.stringify(fields)}`);
    this.#said.set(node, node.logs.length);
  }

  #say(line: string): void {
    this.#trace?.(`${Math.round(this.#sites.sim.now)} ${line}`);
  }
}

/** `auto` begins with IKEv2: a peer that has IKEv1 alone has to call it, and cannot behind a NAT that is not its own. */
function versionsOf({ version, versionB, nat, roaming, startB }: Choices) {
  const inVain = version === "auto" && versionB === "ikev1";
  const unreachable = nat || roaming;
  return {
    a: inVain && unreachable ? "ikev1" : version,
    b: versionB,
    startB: inVain && !unreachable ? "immediately" : startB,
  } as const;
}

function subnets({ pairs }: Choices, localSubnets: string[], remoteSubnets: string[]): SiteOptions {
  return pairs > 1 ? { routing: "protected-data-flows", localSubnets, remoteSubnets } : {};
}

function sitesOf(seed: number, choices: Choices, onStep: (node: Node) => void): Sites {
  const { dpdSeconds } = choices;
  const versions = versionsOf(choices);
  const named = choices.nat || choices.roaming;
  return twoSites({
    both: {
      mode: choices.mode,
      esp: [choices.esp],
      ike: [choices.ike],
      lifetimeSeconds: choices.childLifetimeSeconds,
      // Each time two stand beside each other for a while: there has to be a time when one is alone.
      ikeLifetimeSeconds: choices.ikeLifetimeSeconds * (choices.reauthenticate ? 6 : 1),
      dpd: { enabled: dpdSeconds > 0, intervalSeconds: dpdSeconds || 10, action: choices.dpdAction },
      childless: choices.childless,
      reauthenticate: choices.reauthenticate,
      rehearseRekey: choices.rehearseRekey,
      mobike: choices.mobike && !choices.nat,
      natTraversal: { forceEncapsulation: choices.forceEncapsulation },
    },
    a: {
      version: versions.a,
      ...subnets(choices, ["10.1.0.0/16"], ["10.2.0.0/16", "10.3.0.0/16"]),
      ...(choices.nat && { addresses: [insideA] }),
      ...(named && { localId: nameOfA }),
    },
    b: {
      version: versions.b,
      start: versions.startB,
      ...subnets(choices, ["10.2.0.0/16", "10.3.0.0/16"], ["10.1.0.0/16"]),
      ...(choices.roaming && { peers: ["any"], start: "passive" }),
      ...(named && { remoteId: nameOfA }),
    },
    sim: {
      seed,
      keyPair: pooledKeyPair,
      onStep,
      limits: limitsOf(choices),
      crashSecretOf: (name) => (choices.crashSecret ? Secret.fromText(`${name}'s`.padEnd(32)) : undefined),
    },
  });
}

/**
 * Time runs faster than in earnest. Whoever lives calmly never gives up: with a fifth lost each way, 40 attempts in a
 * row fail once in 10^17.
 */
function limitsOf({ calm, fragmentIpBytes, cookies, versionB }: Choices): SimulationOptions["limits"] {
  const establishedMs = calm ? 20_000 : 4_000;
  return {
    retransmitMs: 250,
    retransmitMaxMs: 500,
    setupMs: 8_000,
    halfOpenMs: 8_000,
    establishedMs,
    rekeyedMs: establishedMs + 2_000,
    deleteMs: 1_000,
    graceAfterErrorMs: 500,
    lingerMs: 1_000,
    inboundLingerMs: 1_000,
    childlessMs: 5_000,
    rekeyFraction: 0.05,
    rekeyRetryMs: 600,
    refusedRetryMs: 2_000,
    fragmentIpBytes,
    ...(cookies && { cookieThreshold: 0 }),
    // Fragments of a stranger's first message are kept for a while: not longer than a life waits for its end.
    ...(versionB !== "ikev2" && { reassemblyMs: 10_000 }),
  };
}
