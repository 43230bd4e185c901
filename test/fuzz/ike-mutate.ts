/**
 * Structure-aware fuzzing of the live IKEv2 state machine: a crafted peer that can do the cryptography holds a valid
 * conversation with a gateway, in either role, and damages it payload by payload, so that the damage gets behind the
 * integrity check. One conversation is a function of its seed.
 *
 * Whatever is said: the gateway throws nothing, its data plane is asked for nothing inconsistent, what it keeps is
 * bounded, an answer is no larger than what RFC 7296 needs, and when silence falls it forgets the peer and serves a
 * good one.
 */
import assert from "node:assert/strict";
import { Secret } from "../../src/core/secret.ts";
import { ExchangeType, NotifyType, PayloadType, ProtocolId } from "../../src/registry/index.ts";
import {
  decodeHeader,
  encodePayloads,
  espSpiBytes,
  type NotifyPayload,
  type PlainPayload,
  type Proposal,
} from "../../src/wire/index.ts";
import { type Change, CraftedPeer } from "../sim/crafted-peer.ts";
import { SeededRandom } from "../sim/random.ts";
import { type Node, type Simulation, tunnelStatus } from "../sim/simulation.ts";
import { addressA, addressB, twoSites } from "../sim/two-sites.ts";
import { checkBounds, fallSilent } from "./aftermath.ts";

const fragmentation: NotifyPayload = {
  kind: "N",
  protocolId: ProtocolId.code.NONE,
  spi: new Uint8Array(0),
  type: NotifyType.code.IKEV2_FRAGMENTATION_SUPPORTED,
  data: new Uint8Array(0),
};

export interface IkeFuzzTotals {
  conversations: number;
  messages: number;
  /** Conversations in which the peer got through IKE_AUTH. */
  established: number;
}

/** Holds one conversation. Throws an assertion, or whatever the gateway threw. */
export function converse(seed: number, totals: IkeFuzzTotals): void {
  const talk = new Conversation(seed);
  talk.run();
  totals.conversations++;
  totals.messages += talk.messages;
  if (talk.established) totals.established++;
}

class Conversation {
  messages = 0;
  established = false;
  readonly #random: SeededRandom;
  readonly #sim: Simulation;
  readonly #node: Node;
  readonly #peer: CraftedPeer;
  readonly #weCall: boolean;
  /** We say that we support fragments, and use them. */
  readonly #fragments: boolean;
  readonly #sent: Uint8Array[] = [];

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
    this.#weCall = this.#random.chance(0.6);
    this.#fragments = this.#random.chance(0.5);
    const esp = this.#random.chance(0.5) ? ["aes128gcm16"] : ["aes128gcm16-x25519"];
    const sites = twoSites({
      both: {
        esp,
        lifetimeSeconds: 60,
        ikeLifetimeSeconds: 90,
        childless: this.#random.pick(["allow", "force"]),
      },
      sim: {
        seed,
        limits: this.#fragments ? { fragmentIpBytes: 300 } : {},
        crashSecretOf: this.#random.pick([
          () => undefined,
          (name: string) => Secret.fromText(`${name} remembers`),
        ]),
      },
    });
    this.#sim = sites.sim;
    this.#node = this.#weCall ? sites.b : sites.a;
    const ends = this.#weCall ? { own: addressA, node: addressB } : { own: addressB, node: addressA };
    this.#peer = new CraftedPeer(this.#sim, this.#node, ends);
    this.#sim.start(this.#node);
  }

  run(): void {
    if (this.#weCall) this.#call();
    else this.#answerCall();
    this.established = tunnelStatus(this.#sim, this.#node).ike !== undefined;
    for (let i = this.#random.below(12); i > 0; i--) {
      this.#step();
      checkBounds(this.#sim, this.#node);
    }
    fallSilent(this.#sim, this.#node);
  }

  #call(): void {
    for (let i = this.#random.below(3); i > 0; i--) this.#count(() => this.#peer.init(this.#damage));
    const gentle = this.#random.chance(0.7);
    const supported: Change = (payloads) => (this.#fragments ? [...payloads, fragmentation] : payloads);
    const answered = this.#count(() => this.#peer.init(gentle ? supported : this.#damage));
    if (!answered || this.#peer.spiResponder === 0n) return;
    if (this.#fragments && this.#random.chance(0.5)) {
      const payloads = this.#peer.authPayloads();
      const { IKE_AUTH } = ExchangeType.code;
      if (this.#inFragments(IKE_AUTH, this.#random.chance(0.6) ? payloads : this.#damage(payloads)))
        this.#peer.acknowledge();
      return;
    }
    const childless: Change = (payloads) =>
      payloads.filter(({ kind }) => !["SA", "TSi", "TSr"].includes(kind));
    const change = this.#random.pick([undefined, undefined, undefined, childless, this.#damage]);
    this.#count(() => this.#peer.auth(change));
  }

  #answerCall(): void {
    if (this.#peer.received.length === 0) return;
    const gentle = this.#random.chance(0.7);
    this.#count(() => this.#peer.answerInit(gentle ? undefined : this.#damage));
    const last = this.#peer.received.at(-1);
    if (!last || decodeHeader(last).exchangeType !== ExchangeType.code.IKE_AUTH) return;
    this.#count(() => this.#peer.answerAuth(this.#random.chance(0.6) ? undefined : this.#damage));
  }

  #step(): void {
    const kind = this.#random.below(9);
    const peer = this.#peer;
    const keyed = peer.keys !== undefined;
    if (kind === 0) this.#sim.run(this.#random.below(30_000));
    else if (kind === 1 && this.#sent.length > 0) this.#deliver(this.#random.pick(this.#sent));
    else if (kind === 2 && this.#sent.length > 0)
      this.#deliver(this.#random.flip(this.#random.pick(this.#sent)));
    else if (kind === 3 && keyed) this.#answerOne();
    else if (kind === 4 && keyed) this.#unprotected();
    else if (keyed) this.#request();
  }

  /** What a stranger may say of the IKE SA: that it is unknown, with and without a token, and anything else. */
  #unprotected(): void {
    const { INVALID_IKE_SPI, QUICK_CRASH_DETECTION } = NotifyType.code;
    const unknown = { ...fragmentation, type: INVALID_IKE_SPI };
    const token = { ...fragmentation, type: QUICK_CRASH_DETECTION, data: this.#random.octets(140) };
    const payloads = this.#random.pick([
      [unknown],
      [unknown, token],
      [token],
      [this.#anyNotify(), unknown],
      [],
    ]);
    const said = this.#random.chance(0.6) ? payloads : this.#damage(payloads);
    const type = this.#random.pick(Object.values(ExchangeType.code));
    this.#deliver(this.#peer.unprotected(type, said, this.#random.chance(0.7)));
  }

  /** A request of ours, mostly with the next message ID. */
  #request(): void {
    const { INFORMATIONAL, CREATE_CHILD_SA, IKE_AUTH, IKE_SA_INIT } = ExchangeType.code;
    const type = this.#random.pick([
      INFORMATIONAL,
      INFORMATIONAL,
      CREATE_CHILD_SA,
      CREATE_CHILD_SA,
      IKE_AUTH,
      IKE_SA_INIT,
      99,
    ]);
    const valid = this.#random.pick([this.#rekeyChild(), this.#rekeyIke(), this.#deletes(), []]);
    const payloads = this.#random.chance(0.4) ? valid : this.#damage(valid);
    if (this.#fragments && this.#random.chance(0.4)) {
      if (this.#inFragments(type, payloads)) this.#peer.acknowledge();
      return;
    }
    const wrongId = this.#random.chance(0.1) ? this.#random.below(6) : undefined;
    const datagram = this.#peer.seal(type, payloads, wrongId);
    const answer = this.#deliver(datagram);
    // The crafted peer counts its own requests by the answers it got.
    if (answer && wrongId === undefined) this.#peer.acknowledge();
  }

  /** A request in fragments: in any order, now and then lost, repeated, cut anew, or with numbers of fancy. */
  #inFragments(type: number, payloads: readonly PlainPayload[]): boolean {
    const maxBytes = 64 + this.#random.below(300);
    const fragments = this.#peer.sealFragments(type, payloads, maxBytes);
    for (let n = this.#random.chance(0.5) ? 0 : this.#random.below(5); n > 0; n--) {
      const at = this.#random.below(fragments.length + 1);
      const kind = this.#random.below(5);
      if (kind === 0) fragments.splice(at, 1);
      else if (kind === 1 && fragments.length > 0) fragments.splice(at, 0, this.#random.pick(fragments));
      else if (kind === 2 && fragments.length > 0)
        fragments.splice(at, 0, this.#random.flip(this.#random.pick(fragments)));
      else if (kind === 3) fragments.reverse();
      else fragments.splice(at, 0, this.#anyFragment(type, fragments.length));
    }
    let answered = false;
    for (const fragment of fragments) if (this.#deliver(fragment)) answered = true;
    return answered;
  }

  #anyFragment(type: number, near: number): Uint8Array {
    const total = this.#random.chance(0.8) ? this.#random.below(near + 3) : this.#random.below(65536);
    const number = this.#random.chance(0.8) ? this.#random.below(total + 2) : this.#random.below(65536);
    const first = this.#random.below(60);
    const chunk = this.#random.octets(this.#random.chance(0.1) ? 20_000 : 200);
    return this.#peer.sealFragment(type, { number: Math.min(number, 65535), total, chunk, first });
  }

  /** An answer to whatever the gateway asked last. */
  #answerOne(): void {
    const asked = this.#peer.received.at(-1);
    if (!asked || decodeHeader(asked).response) return;
    const valid = this.#random.pick([
      [],
      this.#rekeyChild().slice(1),
      this.#rekeyIke(),
      this.#deletes(),
      [this.#anyNotify()],
    ]);
    this.#count(() => this.#peer.answer(asked, this.#random.chance(0.5) ? valid : this.#damage(valid)));
  }

  #rekeyChild(): PlainPayload[] {
    const old = this.#node.outbound[0]?.spi ?? 0xc0ffee00;
    const rekey: NotifyPayload = {
      kind: "N",
      protocolId: ProtocolId.code.ESP,
      spi: espSpiBytes(old),
      type: NotifyType.code.REKEY_SA,
      data: new Uint8Array(0),
    };
    return [
      rekey,
      { kind: "SA", proposals: [this.#peer.espProposal(0xc0000000 + this.#random.below(1000))] },
      { kind: "Nonce", nonce: this.#random.bytes(32) },
      ...this.#peer.authPayloads().slice(3),
    ];
  }

  #rekeyIke(): PlainPayload[] {
    return [
      { kind: "SA", proposals: [this.#peer.ikeProposal({ spi: this.#random.bytes(8) })] },
      { kind: "Nonce", nonce: this.#random.bytes(32) },
      { kind: "KE", dhGroup: this.#peer.suite.group, data: this.#peer.keyPair.publicValue },
    ];
  }

  #deletes(): PlainPayload[] {
    const spis = this.#node.outbound.map((sa) => sa.spi);
    return [
      {
        kind: "D",
        protocolId: this.#random.pick([1, 2, 3, 3, 3]),
        spis: this.#random.chance(0.5) ? spis : [],
      },
    ];
  }

  /** One to three damages to a list of payloads. */
  readonly #damage = (payloads: readonly PlainPayload[]): PlainPayload[] => {
    let list = [...payloads];
    for (let n = 1 + this.#random.below(3); n > 0; n--) list = this.#damageOnce(list);
    return list;
  };

  #damageOnce(list: PlainPayload[]): PlainPayload[] {
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
          p.kind === "KE"
            ? { ...p, dhGroup: this.#random.pick([p.dhGroup, 0, 1, 14, 1025]), data: this.#random.octets(64) }
            : p,
        );
      default:
        // The same payload type around damaged octets: what an integrity check cannot stop.
        return list.map((p, i) => (i === at ? this.#damagedOctets(p) : p));
    }
  }

  #damagedOctets(payload: PlainPayload): PlainPayload {
    const { first, bytes } = encodePayloads([payload]);
    let body = Uint8Array.from(bytes.subarray(4));
    for (let n = 1 + this.#random.below(4); n > 0 && body.length > 0; n--)
      body[this.#random.below(body.length)] = this.#random.pick([0, 1, 0x7f, 0xff, this.#random.below(256)]);
    if (this.#random.chance(0.3)) body = body.slice(0, this.#random.below(body.length + 1));
    return { kind: "unknown", type: first, critical: this.#random.chance(0.1), body };
  }

  #bend(proposal: Proposal): Proposal[] {
    const transforms = [...proposal.transforms];
    const at = this.#random.below(Math.max(1, transforms.length));
    switch (this.#random.below(5)) {
      case 0:
        return [{ ...proposal, transforms: transforms.filter((_, i) => i !== at) }];
      case 1:
        return [
          {
            ...proposal,
            transforms: [...transforms, { type: this.#random.below(12), id: this.#random.below(40) }],
          },
        ];
      case 2:
        return [{ ...proposal, spi: this.#random.octets(9) }];
      case 3:
        return [{ ...proposal, protocolId: this.#random.below(5), number: this.#random.below(256) }];
      default:
        return [proposal, proposal];
    }
  }

  #anyNotify(): NotifyPayload {
    const types = Object.values(NotifyType.code);
    return {
      kind: "N",
      protocolId: this.#random.below(5),
      spi: this.#random.octets(9),
      type: this.#random.chance(0.8) ? this.#random.pick(types) : this.#random.below(65536),
      data: this.#random.octets(70),
    };
  }

  #anyPayload(): PlainPayload {
    const types = Object.values(PayloadType.code).filter((t) => t !== PayloadType.code.NONE);
    const type = this.#random.chance(0.7) ? this.#random.pick(types) : 1 + this.#random.below(255);
    return { kind: "unknown", type, critical: this.#random.chance(0.3), body: this.#random.octets(80) };
  }

  #deliver(datagram: Uint8Array): Uint8Array | undefined {
    this.messages++;
    if (this.#sent.length < 40) this.#sent.push(datagram);
    const answer = this.#peer.raw(datagram);
    if (!answer) return undefined;
    // Nobody can be made to throw large stones: the largest honest answer is a KE of 512 octets and its company.
    assert.ok(answer.length < 1200, `an answer of ${answer.length} octets`);
    return answer;
  }

  #count<T>(act: () => T): T {
    this.messages++;
    return act();
  }
}
