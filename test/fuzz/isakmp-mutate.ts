/**
 * Structure-aware fuzzing of the live IKEv1 state machine: a crafted peer that can do the cryptography holds a valid
 * conversation with a gateway, in either role and either mode, and damages it payload by payload, so that the damage gets
 * behind the cipher and the hashes. One conversation is a function of its seed.
 *
 * Whatever is said: the gateway throws nothing, its data plane is asked for nothing inconsistent, what it keeps is
 * bounded, what has proven nothing is answered with no more than three times its octets, and when silence falls the
 * gateway forgets the peer and serves a good one.
 */
import assert from "node:assert/strict";
import { WireError } from "../../src/core/errors.ts";
import {
  EspTransform,
  IsakmpExchangeType,
  IsakmpIdType,
  IsakmpNotifyType,
  IsakmpPayloadType,
  IsakmpProtocol,
  vendorIdBytes,
} from "../../src/registry/index.ts";
import { espSpiBytes } from "../../src/wire/index.ts";
import {
  decodeIsakmpHeader,
  encodeIsakmp,
  fragmentIsakmp,
  type IsakmpNotifyPayload,
  type IsakmpPayload,
  type IsakmpProposal,
  type IsakmpTransform,
  isakmpBody,
  isakmpPayloadType,
} from "../../src/wire/v1/index.ts";
import {
  CraftedIsakmpPeer,
  type IsakmpAnswer,
  type IsakmpChange,
  subnetId,
} from "../sim/crafted-isakmp-peer.ts";
import { SeededRandom } from "../sim/random.ts";
import { type Node, type Simulation, tunnelStatus } from "../sim/simulation.ts";
import { addressA, addressB, twoSites } from "../sim/two-sites.ts";
import { checkBounds, fallSilent } from "./aftermath.ts";

export interface IsakmpFuzzTotals {
  conversations: number;
  messages: number;
  /** Conversations in which the peer got through phase 1, and through a quick mode. */
  authenticated: number;
  established: number;
}

/** Holds one conversation. Throws an assertion, or whatever the gateway threw. */
export function converseIsakmp(seed: number, totals: IsakmpFuzzTotals): void {
  const talk = new Conversation(seed);
  talk.run();
  totals.conversations++;
  totals.messages += talk.messages;
  if (talk.authenticated) totals.authenticated++;
  if (talk.established) totals.established++;
}

const X = IsakmpExchangeType.code;
const N = IsakmpNotifyType.code;
const { PROTO_ISAKMP, PROTO_IPSEC_ESP } = IsakmpProtocol.code;
const nothing = new Uint8Array(0);
const unchanged: IsakmpChange = (payloads) => payloads;

class Conversation {
  messages = 0;
  authenticated = false;
  established = false;
  readonly #random: SeededRandom;
  readonly #sim: Simulation;
  readonly #node: Node;
  readonly #peer: CraftedIsakmpPeer;
  readonly #weCall: boolean;
  readonly #mode: "main" | "aggressive";
  /** We say that we take fragments, and send some. */
  readonly #fragments: boolean;
  readonly #sent: Uint8Array[] = [];

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
    this.#weCall = this.#random.chance(0.6);
    this.#fragments = this.#random.chance(0.5);
    this.#mode = this.#random.chance(0.6) ? "main" : "aggressive";
    const esp = this.#random.chance(0.7) ? ["aes128gcm16"] : ["aes128gcm16-ecp256"];
    const sites = twoSites({
      both: {
        version: this.#random.chance(0.8) ? "ikev1" : "auto",
        mode: this.#mode,
        esp,
        lifetimeSeconds: 60,
        ikeLifetimeSeconds: 90,
      },
      sim: { seed, limits: this.#fragments ? { fragmentIpBytes: 200 } : {} },
    });
    this.#sim = sites.sim;
    this.#node = this.#weCall ? sites.b : sites.a;
    const ends = this.#weCall ? { own: addressA, node: addressB } : { own: addressB, node: addressA };
    this.#peer = new CraftedIsakmpPeer(this.#sim, this.#node, ends);
    this.#sim.start(this.#node);
  }

  run(): void {
    if (this.#weCall) this.#call();
    else this.#answerCalls();
    this.authenticated = tunnelStatus(this.#sim, this.#node).ike !== undefined;
    if (this.authenticated && this.#random.chance(0.7)) {
      if (this.#weCall) this.#wholeQuick();
      else this.#answerOne(unchanged);
    }
    for (let i = this.#random.below(14); i > 0; i--) {
      this.#step();
      checkBounds(this.#sim, this.#node);
      if (this.#node.outbound.length > 0) this.established = true;
    }
    fallSilent(this.#sim, this.#node);
  }

  // ── Phase 1 ──────────────────────────────────────────────────────────────────────────────────────────────────

  #call(): void {
    for (let i = this.#random.below(3); i > 0; i--) this.#guarded(() => this.#first(this.#damage));
    const gentle = this.#random.chance(0.75);
    const supported: IsakmpChange = (payloads) =>
      this.#fragments
        ? [...payloads, { kind: "VID", data: vendorIdBytes("FRAGMENTATION") }, dpdVendorId]
        : [...payloads, dpdVendorId];
    if (!this.#guarded(() => this.#first(gentle ? supported : this.#damage))) return;
    if (this.#mode === "main") {
      for (let i = this.#random.below(2); i > 0; i--) this.#guarded(() => this.#peer.main3(this.#damage));
      this.#guarded(() => this.#peer.main3(this.#mostly()));
    }
    if (!this.#peer.keys) return;
    // A message that does not decrypt spoils our own chain of IVs, not the gateway's: the honest one comes first.
    const early = this.#random.chance(0.2);
    if (early) this.#request();
    if (this.#mode === "main") this.#guarded(() => this.#peer.main5(this.#mostly(), this.#mostly()));
    else this.#guarded(() => this.#peer.aggressive3(this.#mostly()));
  }

  #first(change: IsakmpChange): IsakmpAnswer | undefined {
    return this.#mode === "main" ? this.#peer.main1(change) : this.#peer.aggressive1(change);
  }

  #answerCalls(): void {
    for (let i = 0; i < 4; i++) {
      const said = this.#guarded(() => this.#peer.answerPhase1(this.#mostly(), this.#mostly()));
      if (said !== true) return;
    }
  }

  // ── Afterwards ───────────────────────────────────────────────────────────────────────────────────────────────

  #step(): void {
    const kind = this.#random.below(10);
    const keyed = this.#peer.keys !== undefined;
    if (kind === 0) this.#sim.run(this.#random.below(40_000));
    else if (kind === 1 && this.#sent.length > 0) this.#deliver(this.#random.pick(this.#sent));
    else if (kind === 2 && this.#sent.length > 0)
      this.#deliver(this.#random.flip(this.#random.pick(this.#sent)));
    else if (kind === 3) this.#unprotected();
    else if (kind === 4 && keyed) this.#answerOne();
    else if (kind === 5) this.#looseFragments();
    else if (keyed) this.#request();
  }

  /** What anybody may say who has seen the SPIs. */
  #unprotected(): void {
    const payloads = this.#random.pick([this.#deletes(), [this.#anyNotify()], [this.#anyPayload()], []]);
    const type = this.#random.pick([...Object.values(X), X.INFORMATIONAL, X.INFORMATIONAL, 34, 99]);
    const said = this.#random.chance(0.6) ? payloads : this.#damage(payloads);
    const before = this.#standing();
    this.#deliver(
      this.#peer.unprotected(type, said, this.#random.chance(0.5) ? 0 : this.#random.below(1000)),
    );
    assert.deepEqual(this.#standing(), before, "a message without a hash changed something");
  }

  /** What only the peer may change. */
  #standing() {
    const { ike, state } = tunnelStatus(this.#sim, this.#node);
    const spis = this.#node.installed.map(({ direction, spi }) => `${direction} ${spi}`);
    return { state, spis, ike: ike && [ike.spiInitiator, ike.spiResponder, ike.rekeyInMs] };
  }

  /** As an honest peer does it. */
  #wholeQuick(): void {
    const messageId = this.#peer.newMessageId();
    const spi = 0xc0000000 + this.#random.below(1000);
    const said = this.#deliver(this.#peer.seal(X.QUICK_MODE, this.#peer.quickPayloads(spi), messageId));
    if (said && this.#guarded(() => this.#peer.open(said))?.header.messageId === messageId)
      this.#guarded(() => this.#peer.quick3(messageId));
  }

  /** An exchange of ours: mostly quick mode, mostly to its end. */
  #request(): void {
    const type = this.#random.pick([
      X.QUICK_MODE,
      X.QUICK_MODE,
      X.INFORMATIONAL,
      X.INFORMATIONAL,
      X.NEW_GROUP_MODE,
      X.TRANSACTION,
      99,
    ]);
    const valid =
      type === X.QUICK_MODE
        ? this.#quick()
        : this.#random.pick([this.#deletes(), [this.#dpd()], [this.#anyNotify()], [this.#initialContact()]]);
    const payloads = this.#random.chance(0.5) ? valid : this.#damage(valid);
    const messageId = this.#random.chance(0.1) ? 1 + this.#random.below(5) : this.#peer.newMessageId();
    const datagram = this.#guarded(() => this.#peer.seal(type, payloads, messageId));
    if (!datagram) return;
    const inPieces = this.#fragments && this.#random.chance(0.4);
    const said = inPieces ? this.#inFragments(datagram) : this.#deliver(datagram);
    if (!said || type !== X.QUICK_MODE) return;
    const answer = this.#guarded(() => this.#peer.open(said));
    if (!answer || answer.header.messageId !== messageId) return;
    if (this.#random.chance(0.8)) this.#guarded(() => this.#peer.quick3(messageId, this.#mostly()));
  }

  #quick(): IsakmpPayload[] {
    const spi = 0xc0000000 + this.#random.below(1000);
    const payloads = this.#peer.quickPayloads(spi);
    if (this.#random.chance(0.3))
      payloads.splice(2, 0, { kind: "KE", data: this.#peer.keyPair.publicValue } satisfies IsakmpPayload);
    if (this.#random.chance(0.2)) payloads.splice(-2, 2, subnetId("10.1.0.0/16"), subnetId("10.2.0.0/16"));
    return payloads;
  }

  /** An answer to whatever the gateway asked last: the second message of its quick mode, or rubbish. */
  #answerOne(change: IsakmpChange = this.#random.chance(0.6) ? unchanged : this.#damage): void {
    const asked = this.#peer.received.at(-1);
    if (!asked) return;
    const { exchangeType, messageId, encrypted } = decodeIsakmpHeader(asked);
    if (!encrypted || messageId === 0) return;
    const opened = this.#guarded(() => this.#peer.open(asked));
    const valid =
      exchangeType === X.QUICK_MODE
        ? this.#answerTo(opened)
        : [this.#random.pick([this.#dpd(), this.#anyNotify()])];
    const datagram = this.#guarded(() => this.#peer.seal(exchangeType, change(valid), messageId));
    if (datagram) this.#deliver(datagram);
  }

  #answerTo(opened: IsakmpAnswer | undefined): IsakmpPayload[] {
    const sa = opened?.payloads.find((p) => p.kind === "SA");
    const ids = opened?.payloads.filter((p) => p.kind === "ID") ?? [];
    const [, nonce] = this.#peer.quickPayloads(0);
    const proposal = sa?.proposals[0];
    if (!proposal) return this.#quick();
    const chosen: IsakmpProposal = {
      ...proposal,
      spi: espSpiBytes(0xd0000000 + this.#random.below(1000)),
      transforms: proposal.transforms.slice(0, 1),
    };
    const ke: IsakmpPayload[] = opened?.payloads.some((p) => p.kind === "KE")
      ? [{ kind: "KE", data: this.#peer.keyPair.publicValue }]
      : [];
    return [this.#peer.sa([chosen]), nonce!, ...ke, ...ids];
  }

  /** A message in fragments: in any order, now and then lost, repeated, of another message, or of fancy. */
  #inFragments(datagram: Uint8Array): Uint8Array | undefined {
    const header = decodeIsakmpHeader(datagram);
    const maxBytes = 40 + this.#random.below(300);
    const id = this.#random.below(3);
    const fragments = fragmentIsakmp(datagram, header, id, maxBytes);
    for (let n = this.#random.chance(0.5) ? 0 : this.#random.below(5); n > 0; n--) {
      const at = this.#random.below(fragments.length + 1);
      const kind = this.#random.below(5);
      if (kind === 0) fragments.splice(at, 1);
      else if (kind === 1 && fragments.length > 0) fragments.splice(at, 0, this.#random.pick(fragments));
      else if (kind === 2 && fragments.length > 0)
        fragments.splice(at, 0, this.#random.flip(this.#random.pick(fragments)));
      else if (kind === 3) fragments.reverse();
      else fragments.splice(at, 0, this.#anyFragment(fragments.length));
    }
    let answer: Uint8Array | undefined;
    for (const fragment of fragments) answer = this.#deliver(fragment) ?? answer;
    return answer;
  }

  /** Fragments of anything said before, of first messages too, and of nothing. */
  #looseFragments(): void {
    if (this.#sent.length > 0 && this.#random.chance(0.7)) {
      const datagram = this.#random.pick(this.#sent);
      if (datagram.length >= 28) this.#guarded(() => this.#inFragments(datagram));
      return;
    }
    for (let n = 1 + this.#random.below(5); n > 0; n--) this.#deliver(this.#anyFragment(3));
  }

  #anyFragment(near: number): Uint8Array {
    const { spiInitiator, spiResponder } = this.#peer;
    const ours = { spiInitiator, spiResponder: this.#random.chance(0.5) ? spiResponder : 0n };
    const header = { ...ours, exchangeType: X.IDENTITY_PROTECTION, messageId: 0 };
    const number = 1 + (this.#random.chance(0.8) ? this.#random.below(near + 2) : this.#random.below(255));
    const data = this.#random.bytes(1 + this.#random.below(this.#random.chance(0.1) ? 20_000 : 200));
    const id = this.#random.below(3);
    return encodeIsakmp(header, [{ kind: "FRAGMENT", id, number, last: this.#random.chance(0.3), data }]);
  }

  // ── Payloads ─────────────────────────────────────────────────────────────────────────────────────────────────

  get #spis(): Uint8Array {
    const bytes = new Uint8Array(16);
    new DataView(bytes.buffer).setBigUint64(0, this.#peer.spiInitiator);
    new DataView(bytes.buffer).setBigUint64(8, this.#peer.spiResponder);
    return bytes;
  }

  #dpd(): IsakmpPayload {
    const type = this.#random.pick([N.R_U_THERE, N.R_U_THERE, N.R_U_THERE_ACK]);
    return { ...plainNotify, spi: this.#spis, type, data: espSpiBytes(this.#random.below(1000)) };
  }

  #initialContact(): IsakmpPayload {
    return { ...plainNotify, spi: this.#spis, type: N.INITIAL_CONTACT };
  }

  #deletes(): IsakmpPayload[] {
    const esp = this.#node.outbound.map(({ spi }) => espSpiBytes(spi));
    const inbound = this.#node.inbound.map(({ spi }) => espSpiBytes(spi));
    return this.#random.pick<IsakmpPayload[]>([
      [{ kind: "D", doi: 1, protocol: PROTO_IPSEC_ESP, spis: esp }],
      [{ kind: "D", doi: 1, protocol: PROTO_IPSEC_ESP, spis: inbound }],
      [{ kind: "D", doi: 1, protocol: PROTO_IPSEC_ESP, spis: [...esp, ...esp] }],
      [{ kind: "D", doi: 1, protocol: PROTO_ISAKMP, spis: [this.#spis] }],
      [{ kind: "D", doi: 1, protocol: this.#random.below(6), spis: [this.#random.bytes(8)] }],
    ]);
  }

  /** Mostly nothing is changed. */
  #mostly(): IsakmpChange {
    return this.#random.chance(0.85) ? unchanged : this.#damage;
  }

  /** One to three damages to a list of payloads. */
  readonly #damage = (payloads: readonly IsakmpPayload[]): IsakmpPayload[] => {
    let list = [...payloads];
    for (let n = 1 + this.#random.below(3); n > 0; n--) list = this.#damageOnce(list);
    return list;
  };

  #damageOnce(list: IsakmpPayload[]): IsakmpPayload[] {
    const at = this.#random.below(Math.max(1, list.length));
    const target = list[at];
    switch (this.#random.below(9)) {
      case 0:
        return list.filter((_, i) => i !== at);
      case 1:
        return target ? [...list, target] : list;
      case 2:
        return list.reverse();
      case 3:
        return [...list, this.#anyNotify()];
      case 4:
        return [...list, this.#anyPayload()];
      case 5:
        return list.map((p) =>
          p.kind === "SA" ? { ...p, proposals: p.proposals.flatMap((x) => this.#bend(x)) } : p,
        );
      case 6:
        return list.map((p) =>
          p.kind === "KE" ? { kind: "KE", data: this.#random.octets(this.#random.pick([2, 65, 130])) } : p,
        );
      case 7:
        return list.map((p) => (p.kind === "ID" ? this.#anyId() : p));
      default:
        // The same payload type around damaged octets: what a hash of the sender's own cannot stop.
        return list.map((p, i) => (i === at ? this.#damagedOctets(p) : p));
    }
  }

  #damagedOctets(payload: IsakmpPayload): IsakmpPayload {
    let data = Uint8Array.from(isakmpBody(payload));
    for (let n = 1 + this.#random.below(4); n > 0 && data.length > 0; n--)
      data[this.#random.below(data.length)] = this.#random.pick([0, 1, 0x7f, 0xff, this.#random.below(256)]);
    if (this.#random.chance(0.3)) data = data.slice(0, this.#random.below(data.length + 1));
    return { kind: "unknown", type: isakmpPayloadType(payload), data };
  }

  #bend(proposal: IsakmpProposal): IsakmpProposal[] {
    const transforms = [...proposal.transforms];
    const at = this.#random.below(Math.max(1, transforms.length));
    switch (this.#random.below(7)) {
      case 0:
        return [{ ...proposal, transforms: transforms.filter((_, i) => i !== at) }];
      case 1:
        return [{ ...proposal, transforms: [...transforms, ...transforms.map((t) => this.#bent(t))] }];
      case 2:
        return [{ ...proposal, transforms: transforms.map((t) => this.#bent(t)) }];
      case 3:
        return [{ ...proposal, spi: this.#random.octets(20) }];
      case 4:
        return [{ ...proposal, protocol: this.#random.below(6), number: this.#random.below(256) }];
      case 5:
        // Proposals of one number belong together.
        return [proposal, { ...proposal, protocol: this.#random.below(5) }];
      default:
        return [proposal, proposal];
    }
  }

  #bent(transform: IsakmpTransform): IsakmpTransform {
    const attributes = [...transform.attributes];
    const at = this.#random.below(Math.max(1, attributes.length));
    const any = {
      type: this.#random.below(20),
      value: this.#random.chance(0.6) ? this.#random.below(70) : this.#random.octets(12),
    };
    switch (this.#random.below(4)) {
      case 0:
        return { ...transform, attributes: attributes.filter((_, i) => i !== at) };
      case 1:
        return { ...transform, attributes: [...attributes, any] };
      case 2:
        return {
          ...transform,
          attributes: attributes.map((a, i) => (i === at ? { ...any, type: a.type } : a)),
        };
      default:
        return { ...transform, id: this.#random.pick([...Object.values(EspTransform.code), 0, 255]) };
    }
  }

  #anyId(): IsakmpPayload {
    const idType = this.#random.below(14);
    const bytes = addressBytes.get(idType) ?? this.#random.below(40);
    return {
      kind: "ID",
      idType,
      protocol: this.#random.pick([0, 0, 6, 17, 255]),
      port: this.#random.pick([0, 0, 500, 65535]),
      data: this.#random.bytes(bytes),
    };
  }

  #anyNotify(): IsakmpNotifyPayload {
    return {
      kind: "N",
      doi: this.#random.pick([1, 1, 1, 0, 0xffff_ffff]),
      protocol: this.#random.below(6),
      spi: this.#random.pick([
        nothing,
        this.#spis,
        this.#random.octets(20),
        ...this.#node.outbound.map((o) => espSpiBytes(o.spi)),
      ]),
      type: this.#random.chance(0.8) ? this.#random.pick(Object.values(N)) : this.#random.below(65536),
      data: this.#random.octets(70),
    };
  }

  #anyPayload(): IsakmpPayload {
    const types = Object.values(IsakmpPayloadType.code).filter((type) => type !== 0);
    const type = this.#random.chance(0.7) ? this.#random.pick(types) : 1 + this.#random.below(255);
    return { kind: "unknown", type, data: this.#random.octets(80) };
  }

  // ── Datagrams, and what is expected ──────────────────────────────────────────────────────────────────────────

  #deliver(datagram: Uint8Array): Uint8Array | undefined {
    this.messages++;
    if (this.#sent.length < 40) this.#sent.push(datagram);
    const answer = this.#peer.raw(datagram);
    const { halfOpen } = this.#node.gateway.status(this.#sim.now).ike;
    // What has proven nothing gets no large stones thrown; afterwards the largest honest answer is an SA and a KE.
    if (answer && halfOpen > 0 && tunnelStatus(this.#sim, this.#node).ike === undefined)
      assert.ok(answer.length <= 3 * datagram.length, `${answer.length} octets for ${datagram.length}`);
    assert.ok((answer?.length ?? 0) < 1300, `an answer of ${answer?.length} octets`);
    return answer;
  }

  /** What the crafted peer cannot read because it was damaged is none of the gateway's business. */
  #guarded<T>(act: () => T): T | undefined {
    this.messages++;
    try {
      return act();
    } catch (error) {
      const ours = error instanceof WireError || error instanceof assert.AssertionError;
      if (!ours || isGateways(error)) throw error;
      return undefined;
    }
  }
}

/** Thrown by the code under test, or by the checks of its fake data plane: the crafted peer's own calls have returned. */
function isGateways({ stack = "" }: Error): boolean {
  return /src\/(?:gateway|ike)\/|simulation\.[jt]s/.test(stack);
}

const plainNotify: IsakmpNotifyPayload = {
  kind: "N",
  doi: 1,
  protocol: PROTO_ISAKMP,
  spi: nothing,
  type: 0,
  data: nothing,
};
const dpdVendorId: IsakmpPayload = { kind: "VID", data: vendorIdBytes("DPD") };
const ID = IsakmpIdType.code;
const addressBytes: ReadonlyMap<number, number> = new Map([
  [ID.ID_IPV4_ADDR, 4],
  [ID.ID_IPV4_ADDR_SUBNET, 8],
  [ID.ID_IPV4_ADDR_RANGE, 8],
  [ID.ID_IPV6_ADDR, 16],
  [ID.ID_IPV6_ADDR_SUBNET, 32],
  [ID.ID_IPV6_ADDR_RANGE, 32],
]);
