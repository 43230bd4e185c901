/**
 * A peer made by hand, in either role: it can do the cryptography, and says whatever the test wants. It shares the
 * codec, the ciphers and the key schedule with the code under test, which have their own vectors, and none of the
 * state machine.
 */
import { type Endpoint, IpAddress, Prefix } from "../../src/core/address.ts";
import { Secret } from "../../src/core/secret.ts";
import { selectorFromPrefix } from "../../src/core/traffic-selector.ts";
import {
  type IkeKeys,
  ikeKeys,
  type KeyPair,
  pskAuth,
  type SkCipher,
  skCipher,
  skeyseed,
} from "../../src/crypto/index.ts";
import {
  DhGroup,
  EncryptionAlgorithm,
  ExchangeType,
  type IkeSuite,
  IntegrityAlgorithm,
  PayloadType,
  PRF,
  ProtocolId,
  TransformType,
} from "../../src/registry/index.ts";
import {
  decodeHeader,
  decodeMessage,
  decodePayloads,
  encodeMessage,
  encodePayloads,
  espSpiBytes,
  findPayload,
  type IdPayload,
  type NotifyPayload,
  openFragment,
  openSk,
  type PlainPayload,
  type Proposal,
  restOfIdPayload,
  sealFragment,
  sealFragmented,
  sealMessage,
} from "../../src/wire/index.ts";
import { endpoint, type Node, type Simulation, seededKeyPair } from "./simulation.ts";

export type Change = (payloads: PlainPayload[]) => PlainPayload[];

const T = TransformType.code;
const psk = Secret.fromText("correct horse battery staple");

export interface Answer {
  readonly payloads: readonly PlainPayload[];
  readonly datagram: Uint8Array;
}

export class CraftedPeer {
  readonly suite: IkeSuite;
  readonly keyPair: KeyPair;
  Ni: Uint8Array;
  spiInitiator = 0x1122334455667788n;
  spiResponder = 0n;
  keys!: IkeKeys;
  /** Datagrams that the node sent and nobody has looked at yet. */
  readonly received: Uint8Array[] = [];
  readonly #sim: Simulation;
  /** The path of what it sends; it may move. */
  #own: Endpoint;
  #node: Endpoint;
  #initRequest = new Uint8Array(0);
  #initResponse = new Uint8Array(0);
  #Nr = new Uint8Array(0);
  #sealer!: SkCipher;
  #opener!: SkCipher;
  #nextId = 0;
  /** In IKE_SA_INIT; what it says there as responder it says so itself. */
  #role: "initiator" | "responder" = "initiator";

  constructor(sim: Simulation, node: Node, options: { own: string; node: string; group?: number }) {
    this.#sim = sim;
    this.#own = endpoint(options.own);
    this.#node = endpoint(options.node);
    const group = options.group ?? DhGroup.code.CURVE25519;
    const { code: ENCR } = EncryptionAlgorithm;
    this.suite = {
      encr: ENCR.ENCR_AES_GCM_16,
      keyBits: 128,
      integ: 0,
      prf: PRF.code.PRF_HMAC_SHA2_256,
      group,
    };
    this.keyPair = seededKeyPair(sim.random, group);
    this.Ni = sim.random.bytes(32);
    sim.network.faults.push((packet) => {
      if (packet.from !== node.name) return "pass";
      this.received.push(packet.datagram);
      return "drop";
    });
  }

  /** What it sends from now on comes from and goes to elsewhere. */
  moveTo(own: Endpoint, node: Endpoint = this.#node): void {
    this.#own = own;
    this.#node = node;
  }

  // ── As initiator ─────────────────────────────────────────────────────────────────────────────────────────────

  ikeProposal(over: Partial<Proposal> = {}): Proposal {
    return {
      number: 1,
      protocolId: ProtocolId.code.IKE,
      spi: new Uint8Array(0),
      transforms: [
        { type: T.ENCR, id: this.suite.encr, keyBits: 128 },
        { type: T.PRF, id: this.suite.prf },
        { type: T.DH, id: this.suite.group },
      ],
      ...over,
    };
  }

  espProposal(spi: number, over: Partial<Proposal> = {}): Proposal {
    return {
      number: 1,
      protocolId: ProtocolId.code.ESP,
      spi: espSpiBytes(spi),
      transforms: [
        { type: T.ENCR, id: EncryptionAlgorithm.code.ENCR_AES_GCM_16, keyBits: 128 },
        { type: T.ESN, id: 0 },
      ],
      ...over,
    };
  }

  initPayloads(): PlainPayload[] {
    return [
      { kind: "SA", proposals: [this.ikeProposal()] },
      { kind: "KE", dhGroup: this.suite.group, data: this.keyPair.publicValue },
      { kind: "Nonce", nonce: this.Ni },
    ];
  }

  /** The IKE_SA_INIT request that was sent last. */
  get initBytes(): Uint8Array {
    return this.#initRequest;
  }

  /** Sends IKE_SA_INIT; with a full answer the keys are there afterwards. */
  init(change: Change = (p) => p): Answer | undefined {
    const header = this.#header(ExchangeType.code.IKE_SA_INIT, 0, false);
    const said = change(this.initPayloads());
    this.#initRequest = Uint8Array.from(encodeMessage({ header, payloads: said }));
    const datagram = this.raw(this.#initRequest);
    if (!datagram) return undefined;
    const payloads = decodeMessage(datagram).payloads as PlainPayload[];
    const ke = findPayload(payloads, "KE");
    const nonce = findPayload(payloads, "Nonce");
    if (ke && nonce) {
      this.spiResponder = decodeHeader(datagram).spiResponder;
      this.#initResponse = Uint8Array.from(datagram);
      this.#Nr = Uint8Array.from(nonce.nonce);
      const Ni = findPayload(said, "Nonce");
      if (Ni) this.Ni = Uint8Array.from(Ni.nonce);
      this.#derive(ke.data, "initiator");
      this.#nextId = 1;
    }
    return { payloads, datagram };
  }

  authPayloads(own = this.#own.address.toString()): PlainPayload[] {
    const any = [Prefix.any(4), Prefix.any(6)].map(selectorFromPrefix);
    const idi = { kind: "IDi", idType: 1, data: IpAddress.parse(own).bytes } as const;
    return [
      idi,
      { kind: "AUTH", method: 2, data: this.authFor(idi) },
      { kind: "SA", proposals: [this.espProposal(0xc0ffee00)] },
      { kind: "TSi", selectors: any },
      { kind: "TSr", selectors: any },
    ];
  }

  /** AUTH of the initiator for an identity. */
  authFor(idi: IdPayload): Uint8Array {
    return pskAuth(this.suite.prf, psk, {
      message: this.#initRequest,
      peerNonce: this.#Nr,
      SK_p: this.keys.SK_pi,
      restOfIdPayload: restOfIdPayload(idi),
    });
  }

  auth(change: Change = (p) => p): Answer | undefined {
    return this.request(ExchangeType.code.IKE_AUTH, change(this.authPayloads()));
  }

  // ── As responder ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Answers the node's IKE_SA_INIT request that was received last. */
  answerInit(change: Change = (p) => p): void {
    const request = this.received.splice(0).at(-1)!;
    const message = decodeMessage(request);
    this.spiInitiator = message.header.spiInitiator;
    this.spiResponder = 0x99aabbccddeeff00n;
    this.#initRequest = Uint8Array.from(request);
    const ke = findPayload(message.payloads, "KE")!;
    const Ni = findPayload(message.payloads, "Nonce")!.nonce;
    this.#Nr = Uint8Array.from(this.Ni);
    this.Ni = Uint8Array.from(Ni);
    const payloads = change([
      { kind: "SA", proposals: [this.ikeProposal()] },
      { kind: "KE", dhGroup: this.suite.group, data: this.keyPair.publicValue },
      { kind: "Nonce", nonce: this.#Nr },
    ]);
    // What counts is what is said, damaged or not.
    this.#Nr = Uint8Array.from(findPayload(payloads, "Nonce")?.nonce ?? this.#Nr);
    const header = { ...this.#header(ExchangeType.code.IKE_SA_INIT, 0, true), initiator: false };
    this.#initResponse = Uint8Array.from(encodeMessage({ header, payloads }));
    this.#derive(ke.data, "responder");
    this.#sim.deliver(this.#own, this.#node, this.#initResponse);
  }

  /** Answers the node's IKE_AUTH request that was received last. */
  answerAuth(change: Change = (p) => p): readonly PlainPayload[] | undefined {
    const request = this.received.splice(0).at(-1)!;
    const opened = openSk(request, decodeMessage(request), this.#opener);
    if (!opened) return undefined;
    const idr = { kind: "IDr", idType: 1, data: this.#own.address.bytes } as const;
    const data = pskAuth(this.suite.prf, psk, {
      message: this.#initResponse,
      peerNonce: this.Ni,
      SK_p: this.keys.SK_pr,
      restOfIdPayload: restOfIdPayload(idr),
    });
    const payloads = change([
      idr,
      { kind: "AUTH", method: 2, data },
      { kind: "SA", proposals: [this.espProposal(0xc0ffee00)] },
      findPayload(opened, "TSi")!,
      findPayload(opened, "TSr")!,
    ]);
    this.answer(request, payloads);
    return opened;
  }

  /** Answers any protected request. */
  answer(request: Uint8Array, payloads: readonly PlainPayload[]): void {
    const { exchangeType, messageId } = decodeHeader(request);
    const header = this.#header(exchangeType, messageId, true);
    this.#sim.deliver(this.#own, this.#node, sealMessage(header, payloads, this.#sealer));
  }

  /** As the responder, tells the node that a CHILD_SA of ours is gone. */
  deleteChild(spi: number): void {
    const protocolId = ProtocolId.code.ESP;
    const header = {
      ...this.#header(ExchangeType.code.INFORMATIONAL, this.#nextId++, false),
      initiator: false,
    };
    const datagram = sealMessage(header, [{ kind: "D", protocolId, spis: [spi] }], this.#sealer);
    this.#sim.deliver(this.#own, this.#node, datagram);
  }

  // ── Both ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The payloads of a protected message of the node; undefined when its keys are not ours. */
  open(datagram: Uint8Array): readonly PlainPayload[] | undefined {
    return openSk(datagram, decodeMessage(datagram), this.#opener);
  }

  /** A protected request of ours as initiator; the answer's payloads, if there is one. */
  request(
    exchangeType: number,
    payloads: readonly PlainPayload[],
    messageId = this.#nextId,
  ): Answer | undefined {
    const datagram = this.raw(this.seal(exchangeType, payloads, messageId));
    if (!datagram) return undefined;
    this.#nextId = messageId + 1;
    return { payloads: this.open(datagram) ?? [], datagram };
  }

  /** The request sealed last was answered: the next one gets the next message ID. */
  acknowledge(): void {
    this.#nextId++;
  }

  seal(exchangeType: number, payloads: readonly PlainPayload[], messageId = this.#nextId): Uint8Array {
    return sealMessage(this.#header(exchangeType, messageId, false), payloads, this.#sealer);
  }

  /** What anybody can say who has seen the SPIs. */
  unprotected(exchangeType: number, payloads: readonly PlainPayload[], response: boolean): Uint8Array {
    return encodeMessage({ header: this.#header(exchangeType, this.#nextId, response), payloads });
  }

  /** The same in fragments, of which each is at most `maxBytes` long. */
  sealFragments(
    exchangeType: number,
    payloads: readonly PlainPayload[],
    maxBytes: number,
    messageId = this.#nextId,
  ): Uint8Array[] {
    return sealFragmented(this.#header(exchangeType, messageId, false), payloads, this.#sealer, maxBytes);
  }

  /** One authentic fragment, whatever it says. */
  sealFragment(
    exchangeType: number,
    fragment: { number: number; total: number; chunk: Uint8Array; first?: number },
    messageId = this.#nextId,
  ): Uint8Array {
    const { number, total, chunk, first = number === 1 ? PayloadType.code.N : 0 } = fragment;
    const header = this.#header(exchangeType, messageId, false);
    return sealFragment(header, first, number, total, chunk, this.#sealer);
  }

  /** A fragment behind payloads that nothing protects from a change, but that the ICV covers. */
  sealFragmentBehind(
    exchangeType: number,
    outer: readonly PlainPayload[],
    fragment: { number: number; total: number; chunk: Uint8Array; first?: number },
  ): Uint8Array {
    const bare = this.sealFragment(exchangeType, fragment);
    const { first, bytes } = encodePayloads([
      ...outer,
      { kind: "unknown", type: PayloadType.code.SKF, critical: false, body: bare.subarray(32) },
    ]);
    const datagram = Buffer.concat([bare.subarray(0, 28), bytes]);
    const skfAt = datagram.length - (bare.length - 28);
    datagram[16] = first;
    datagram[skfAt] = bare[28]!;
    datagram.writeUInt32BE(datagram.length, 24);
    // The plaintext again, because what precedes it has changed.
    datagram.set(fragment.chunk, skfAt + 8 + this.#sealer.ivBytes);
    datagram[datagram.length - this.#sealer.icvBytes - 1] = 0;
    this.#sealer.seal(datagram, skfAt + 8);
    return Uint8Array.from(datagram);
  }

  /** The payloads of a message of the node that came in fragments. */
  openFragments(datagrams: readonly Uint8Array[]): readonly PlainPayload[] {
    const parts = datagrams.map((datagram) => {
      const skf = findPayload(decodeMessage(datagram).payloads, "SKF")!;
      return { skf, chunk: openFragment(datagram, skf, this.#opener)! };
    });
    parts.sort((a, b) => a.skf.fragmentNumber - b.skf.fragmentNumber);
    return decodePayloads(parts[0]!.skf.firstPayload, Buffer.concat(parts.map((p) => p.chunk)));
  }

  /** Delivers octets and returns what the node answered at once. */
  raw(datagram: Uint8Array): Uint8Array | undefined {
    this.received.length = 0;
    this.#sim.deliver(this.#own, this.#node, Uint8Array.from(datagram));
    return this.received.shift();
  }

  #header(exchangeType: number, messageId: number, response: boolean) {
    const { spiInitiator, spiResponder } = this;
    const initiator = this.#role === "initiator";
    return { spiInitiator, spiResponder, exchangeType, initiator, response, messageId };
  }

  #derive(peerPublic: Uint8Array, role: "initiator" | "responder"): void {
    this.#role = role;
    const shared = this.keyPair.computeSharedSecret(peerPublic);
    const seed = skeyseed(this.suite.prf, this.Ni, this.#Nr, shared);
    const spis = { SPIi: this.spiInitiator, SPIr: this.spiResponder };
    this.keys = ikeKeys(this.suite, seed, { Ni: this.Ni, Nr: this.#Nr, ...spis });
    const random = this.#sim.random;
    const i = skCipher(this.suite, this.keys.SK_ei, this.keys.SK_ai, random);
    const r = skCipher(this.suite, this.keys.SK_er, this.keys.SK_ar, random);
    [this.#sealer, this.#opener] = role === "initiator" ? [i, r] : [r, i];
  }
}

export function notifyOf(answer: Answer | undefined): number | undefined {
  return answer?.payloads.find((p): p is NotifyPayload => p.kind === "N")?.type;
}

export const without =
  (kind: PlainPayload["kind"]): Change =>
  (payloads) =>
    payloads.filter((p) => p.kind !== kind);

/** The same octets under another payload type. */
export const renumbered =
  (kind: PlainPayload["kind"], type: number, critical = false): Change =>
  (payloads) =>
    payloads.map((p) =>
      p.kind === kind ? { kind: "unknown", type, critical, body: new Uint8Array(24) } : p,
    );

export const NONE = IntegrityAlgorithm.code.NONE;
