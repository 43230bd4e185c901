/**
 * Two ISAKMP SAs that share keys, and quick mode between them: no phase 1, no gateway. The network delivers what it is
 * told to, so that a test decides about every single datagram; SAs that are installed are kept as a data plane would.
 */
import assert from "node:assert/strict";
import { IpAddress, Prefix } from "../../src/core/address.ts";
import type { SaSpec } from "../../src/core/dataplane.ts";
import type { FailureRecord } from "../../src/core/failure.ts";
import { Secret } from "../../src/core/secret.ts";
import { type SelectorPair, selectorFromPrefix } from "../../src/core/traffic-selector.ts";
import { generateKeyPair } from "../../src/crypto/index.ts";
import { ChildTable } from "../../src/ike/common/child-table.ts";
import { ReturnableKeyPairs } from "../../src/ike/common/key-pairs.ts";
import { defaultLimits, type EndpointLimits, type PeerSettings } from "../../src/ike/common/settings.ts";
import type { Nat, Role } from "../../src/ike/common/views.ts";
import { quickMode } from "../../src/ike/v1/exchanges/quick-mode.ts";
import type { Host, IsakmpOutput } from "../../src/ike/v1/host.ts";
import { type IpsecSa, onInbound } from "../../src/ike/v1/ipsec-sa.ts";
import { IsakmpSa, type NatDialect } from "../../src/ike/v1/isakmp-sa.ts";
import { type Secured, secure } from "../../src/ike/v1/key-material.ts";
import { Pairs } from "../../src/ike/v1/pairs.ts";
import { rekeyChildNow } from "../../src/ike/v1/rekey.ts";
import { DhGroup, parseProposal } from "../../src/registry/index.ts";
import { decodeIsakmpHeader } from "../../src/wire/v1/index.ts";
import { SeededRandom } from "./random.ts";

export interface SideOptions {
  readonly esp?: readonly string[];
  readonly local?: readonly string[];
  readonly remote?: readonly string[];
  readonly keepsUp?: boolean;
  readonly nat?: Nat;
  readonly natDialect?: NatDialect;
  readonly peer?: Partial<PeerSettings>;
}

export interface LabOptions {
  readonly a?: SideOptions;
  readonly b?: SideOptions;
  readonly both?: SideOptions;
  readonly seed?: number;
  readonly limits?: Partial<EndpointLimits>;
  /** Forces the first octet of a nonce: which side draws it, and how many nonces that side has drawn before. */
  readonly nonce?: (side: string, drawn: number) => number;
}

export interface Datagram {
  readonly from: Side;
  readonly bytes: Uint8Array;
}

export class Side {
  readonly name: "A" | "B";
  readonly sa: IsakmpSa;
  readonly installed: SaSpec[] = [];
  readonly failures: FailureRecord[] = [];
  readonly events: string[] = [];
  readonly replaced: IsakmpSa[] = [];
  readonly drops: string[] = [];
  readonly spis = new Set<number>();
  /** Of inbound SAs, by SPI: when the last packet came. */
  readonly lastInbound = new Map<number, number>();
  readonly #lab: Lab;
  #nextSpi: number;

  constructor(
    lab: Lab,
    name: "A" | "B",
    role: Role,
    options: SideOptions,
    secured: Secured,
    nonces: LabOptions,
  ) {
    this.#lab = lab;
    this.name = name;
    this.#nextSpi = name === "A" ? 0xa000 : 0xb000;
    const [here, there] = name === "A" ? [addressA, addressB] : [addressB, addressA];
    const host = this.#host(options, nonces);
    const ends = { local: { address: here, port: 500 }, remote: { address: there, port: 500 } };
    const spis = name === "A" ? { spiLocal: 1n, spiRemote: 2n } : { spiLocal: 2n, spiRemote: 1n };
    const peer = peerOf(name, options);
    const state = { name: "ESTABLISHED", since: 0 } as const;
    this.sa = new IsakmpSa(host, { role, mode: "main", now: 0, ...spis, ...ends, peer }, state);
    this.sa.secured = secured;
    this.sa.provenAt = 0;
    if (options.nat) this.sa.nat = options.nat;
    this.sa.natDialect = options.natDialect;
    this.sa.pairs = new Pairs(peer, role === "initiator");
  }

  get children(): IpsecSa[] {
    return [...this.sa.children.values()];
  }

  get outbound(): SaSpec[] {
    return this.installed.filter((sa) => sa.direction === "outbound");
  }

  get inbound(): SaSpec[] {
    return this.installed.filter((sa) => sa.direction === "inbound");
  }

  /** What a packet leaves on. */
  get sendsOn(): number | undefined {
    return this.sa.outbound()[0]?.spiOut;
  }

  /** Asks for the first pair, as after phase 1. */
  start(): void {
    this.sa.pairs!.start(this.sa, this.#lab.now);
  }

  rekey(child = this.children.findLast((c) => c.state.name === "INSTALLED")): void {
    if (child) rekeyChildNow(this.sa, this.#lab.now, child);
  }

  /** A packet comes in. */
  receive(spi: number): boolean {
    const child = this.sa.children.get(spi);
    if (!this.inbound.some((sa) => sa.spi === spi)) return false;
    const first = !this.lastInbound.has(spi);
    this.lastInbound.set(spi, this.#lab.now);
    if (child && first) onInbound(this.sa, this.#lab.now, child);
    return true;
  }

  #host({ keepsUp = false }: SideOptions, { limits, seed = 1, nonce }: LabOptions): Host {
    const random = new SeededRandom(seed + this.name.charCodeAt(0));
    let drawn = 0;
    const bytes = (length: number) => {
      const drawnBytes = random.bytes(length);
      // Nothing but a nonce has this length.
      if (nonce && length === 32) drawnBytes[0] = nonce(this.name, drawn++);
      return drawnBytes;
    };
    const nothing = () => {};
    const host: Partial<Host> = {
      random: { bytes },
      limits: { ...defaultLimits, ...limits },
      keyPairs: new ReturnableKeyPairs({ take: (group) => generateKeyPair(group) }),
      exportKeys: false,
      nattPort: 4500,
      children: new ChildTable(),
      keepsUp: () => keepsUp,
      lastInbound: (spi) => this.lastInbound.get(spi),
      allocateSpi: () => {
        const spi = this.#nextSpi++;
        this.spis.add(spi);
        return spi;
      },
      releaseSpi: (spi) => {
        assert.ok(this.spis.delete(spi), `SPI ${spi} is given back once`);
      },
      emit: (output) => this.#emit(output),
      count: (drop) => this.drops.push(drop),
      othersOf: () => [],
      sasOf: () => [this.sa],
      replace: (old) => this.replaced.push(old),
      touch: nothing,
      forget: nothing,
      answers: (type) => (type === quickMode.type ? quickMode : undefined),
    };
    return host as Host;
  }

  #emit(output: IsakmpOutput): void {
    switch (output.kind) {
      case "send":
        this.#lab.send(this, output.datagram);
        break;
      case "installSa":
        assert.ok(!this.#find(output.sa), "nothing is installed twice");
        this.installed.push(output.sa);
        break;
      case "updateSa":
        assert.ok(this.#find(output), "what is updated is installed");
        break;
      case "removeSa": {
        const found = this.#find(output);
        assert.ok(found, "what is removed is installed");
        this.installed.splice(this.installed.indexOf(found), 1);
        break;
      }
      case "failure":
        this.failures.push(output.record);
        break;
      case "childUp":
      case "childDown":
        this.events.push(output.kind);
        break;
      case "ended":
        this.events.push(`ended ${output.why}`);
        break;
    }
  }

  #find({ direction, spi }: Pick<SaSpec, "direction" | "spi">): SaSpec | undefined {
    return this.installed.find((sa) => sa.direction === direction && sa.spi === spi);
  }
}

export class Lab {
  now = 0;
  readonly a: Side;
  readonly b: Side;
  /** Sent and not delivered. */
  readonly wire: Datagram[] = [];
  /** Everything that was sent. */
  readonly sent: Datagram[] = [];

  constructor(options: LabOptions = {}) {
    const keys = () => sharedKeys();
    const { both = {} } = options;
    this.a = new Side(this, "A", "initiator", { ...both, ...options.a }, keys(), options);
    this.b = new Side(this, "B", "responder", { ...both, ...options.b }, keys(), options);
  }

  other(side: Side): Side {
    return side === this.a ? this.b : this.a;
  }

  send(from: Side, bytes: Uint8Array): void {
    const datagram = { from, bytes: Uint8Array.from(bytes) };
    this.sent.push(datagram);
    this.wire.push(datagram);
  }

  deliver({ from, bytes }: Datagram): void {
    const to = this.other(from);
    const { sa } = to;
    const copy = Uint8Array.from(bytes);
    sa.handleDatagram(this.now, {
      local: sa.local,
      remote: sa.remote,
      header: decodeIsakmpHeader(copy),
      datagram: copy,
    });
  }

  /** Delivers everything there is, and what that leads to. */
  settle(): void {
    for (let next = this.wire.shift(); next; next = this.wire.shift()) this.deliver(next);
  }

  /** Lets the clock run; `fair`: what is sent is delivered. */
  run(ms: number, fair = true): void {
    const end = this.now + ms;
    for (;;) {
      if (fair) this.settle();
      const next = [this.a, this.b]
        .flatMap(({ sa }) => (sa.is("CLOSED") ? [] : (sa.deadline ?? [])))
        .sort((x, y) => x - y)[0];
      if (next === undefined || next > end) break;
      this.now = Math.max(this.now, next);
      for (const { sa } of [this.a, this.b])
        if (!sa.is("CLOSED") && (sa.deadline ?? Infinity) <= this.now) sa.handleTimeout(this.now);
    }
    this.now = end;
  }

  /** A packet each way; false where one has nothing to leave on, or does not come in. */
  traffic(): boolean {
    const one = (from: Side, to: Side) => from.sendsOn !== undefined && to.receive(from.sendsOn);
    const forth = one(this.a, this.b);
    return one(this.b, this.a) && forth;
  }
}

/** Both sides have one pair of SAs, and it is the same. */
export function expectOnePair({ a, b }: Lab): void {
  const text = ({ direction, spi }: SaSpec) => `${direction} ${spi.toString(16)}`;
  const [ofA, ofB] = [a.installed.map(text), b.installed.map(text)];
  assert.equal(ofA.length, 2, `A has ${ofA}`);
  assert.equal(ofB.length, 2, `B has ${ofB}`);
  expectMatching(a, b);
  expectMatching(b, a);
  for (const side of [a, b]) {
    assert.deepEqual(
      [...side.spis],
      side.inbound.map((sa) => sa.spi),
      `${side.name} holds the SPI of its SA alone`,
    );
    assert.equal(side.sendsOn, side.outbound[0]!.spi);
  }
}

/** What `from` may send with, `to` can open: the same keys, algorithms and selectors. */
export function expectMatching(from: Side, to: Side): void {
  for (const out of from.outbound) {
    const into = to.inbound.find((sa) => sa.spi === out.spi);
    if (!into) continue;
    const keysOf = (sa: SaSpec) => [Buffer.from(sa.encrKey.reveal()), Buffer.from(sa.integKey.reveal())];
    assert.deepEqual(keysOf(out), keysOf(into));
    const terms = ({ encr, encrKeyBits, integ, esn, encapsulation }: SaSpec) => [
      encr,
      encrKeyBits,
      integ,
      esn,
      encapsulation.kind,
    ];
    assert.deepEqual(terms(out), terms(into));
    assert.deepEqual([out.localSelectors, out.remoteSelectors], [into.remoteSelectors, into.localSelectors]);
  }
}

/** Whatever one side sends with now, the other can receive. */
export function expectCarrying(lab: Lab): void {
  for (const from of [lab.a, lab.b]) {
    const spi = from.sendsOn;
    assert.ok(spi !== undefined, `${from.name} has an SA to send with at ${lab.now}`);
    assert.ok(
      lab.other(from).inbound.some((sa) => sa.spi === spi),
      `the other side receives what ${from.name} sends at ${lab.now}`,
    );
  }
}

/** Keys of a phase 1 that agreed on AES-128 and SHA-1. */
export function sharedKeys(): Secured {
  const suite = { encr: 12, keyBits: 128, integ: 2, prf: 2, group: DhGroup.code.MODP_1024 };
  const octets = (fill: number, length: number) => new Uint8Array(length).fill(fill);
  const gxy = new Secret(octets(7, 128));
  const nonces = { Ni: octets(3, 16), Nr: octets(4, 16) };
  const seed = {
    suite,
    gxi: octets(1, 128),
    gxr: octets(2, 128),
    gxy,
    ...nonces,
    spiInitiator: 1n,
    spiResponder: 2n,
  };
  return secure(seed, new Secret(octets(5, 16)));
}

export function peerOf(name: "A" | "B", { esp, local, remote, peer }: SideOptions): PeerSettings {
  const [here, there] = name === "A" ? [addressA, addressB] : [addressB, addressA];
  const [ownNet, otherNet] = name === "A" ? ["10.1.0.0/16", "10.2.0.0/16"] : ["10.2.0.0/16", "10.1.0.0/16"];
  const selectors = (nets: readonly string[]) => nets.map((net) => selectorFromPrefix(Prefix.parse(net)));
  const localSelectors = selectors(local ?? [ownNet!]);
  const remoteSelectors = selectors(remote ?? [otherNet!]);
  const pairs: SelectorPair[] = localSelectors.flatMap((l) =>
    remoteSelectors.map((r) => ({ local: l, remote: r })),
  );
  return {
    id: `${name}/0`,
    connection: name,
    connectionIndex: 0,
    version: "ikev1",
    mode: "main",
    local: [here],
    remote: [there],
    roaming: false,
    psk: new Secret(new Uint8Array(16).fill(5)),
    localId: undefined,
    remoteId: undefined,
    ikeProposals: [parseProposal("aes128-sha1-modp1024", "ike")],
    espProposals: (esp ?? ["aes128-sha1"]).map((text) => parseProposal(text, "esp")),
    childless: "allow",
    localSelectors,
    remoteSelectors,
    pairs,
    perSubnetPair: "auto",
    ikeLifetimeMs: 86_400_000,
    childLifetimeMs: 3_600_000,
    childLifetimeBytes: 0,
    childLifetimePackets: 0,
    reauthenticate: false,
    rehearseRekey: false,
    replayWindow: 64,
    pathMtu: "auto",
    dontFragment: "clear",
    mobike: false,
    livenessIntervalMs: undefined,
    answerTimeoutMs: 30_000,
    natTraversal: undefined,
    ...peer,
  };
}

export const addressA = IpAddress.parse("192.0.2.1");
export const addressB = IpAddress.parse("198.51.100.7");
