/**
 * An IKEv1 peer made by hand, in either role and both modes: it can do the cryptography, and says whatever the test
 * wants. It shares the codec, the ciphers and the key schedule with the code under test, which have their own vectors,
 * and none of the state machine.
 */
import assert from "node:assert/strict";
import { type Endpoint, Prefix } from "../../src/core/address.ts";
import { Secret } from "../../src/core/secret.ts";
import {
  exchangeIv,
  type IsakmpCbc,
  type IsakmpKeys,
  isakmpCipher,
  isakmpKeys,
  type KeyPair,
  messageHash1,
  messageHash2,
  messageHash3,
  phase1HashI,
  phase1HashR,
  phase1Iv,
  skeyidPsk,
} from "../../src/crypto/index.ts";
import {
  DhGroup,
  EncapsulationMode,
  EncryptionAlgorithm,
  EspTransform,
  IpsecAttribute,
  IsakmpDoi,
  IsakmpExchangeType,
  IsakmpIdType,
  IsakmpLifeType,
  IsakmpPayloadType,
  IsakmpProtocol,
  KEY_IKE,
  Phase1Attribute,
  Phase1Authentication,
  Phase1Encryption,
  Phase1Hash,
  PRF,
  SIT_IDENTITY_ONLY,
} from "../../src/registry/index.ts";
import { espSpiBytes } from "../../src/wire/index.ts";
import {
  type DecodedIsakmpHeader,
  decodeIsakmp,
  decodeIsakmpHeader,
  encodeIsakmp,
  findIsakmpPayload,
  type IsakmpAttribute,
  type IsakmpHeader,
  type IsakmpNotifyPayload,
  type IsakmpPayload,
  type IsakmpProposal,
  isakmpBody,
  isakmpPayloadType,
  openIsakmp,
  type ReceivedPayload,
  sealIsakmp,
  sealIsakmpWithHash,
} from "../../src/wire/v1/index.ts";
import { endpoint, type Node, type Simulation, seededKeyPair } from "./simulation.ts";

export type IsakmpChange = (payloads: IsakmpPayload[]) => IsakmpPayload[];

export interface IsakmpAnswer {
  readonly datagram: Uint8Array;
  readonly header: DecodedIsakmpHeader;
  /** Empty when it is encrypted and its keys are not ours. */
  readonly payloads: readonly ReceivedPayload[];
}

/** An exchange of phase 2. */
interface PhaseTwo {
  iv: Uint8Array;
  messages: number;
  Ni: Uint8Array | undefined;
  Nr: Uint8Array | undefined;
}

const X = IsakmpExchangeType.code;
const TYPE = IsakmpPayloadType.code;
const A = Phase1Attribute.code;
const unchanged: IsakmpChange = (payloads) => payloads;

/** aes128-sha256, which the simulated sites speak unless told otherwise. */
const suite = {
  encr: EncryptionAlgorithm.code.ENCR_AES_CBC,
  keyBits: 128,
  prf: PRF.code.PRF_HMAC_SHA2_256,
};
const hashBytes = 32;

export class CraftedIsakmpPeer {
  readonly group: number;
  readonly keyPair: KeyPair;
  spiInitiator = 0x1122334455667788n;
  spiResponder = 0n;
  keys: IsakmpKeys | undefined;
  /** Datagrams that the node sent and nobody has looked at yet. */
  readonly received: Uint8Array[] = [];
  /** Our nonce of phase 1. */
  nonce: Uint8Array;
  readonly #sim: Simulation;
  readonly #psk: Secret;
  #own: Endpoint;
  #node: Endpoint;
  #role: "initiator" | "responder" = "initiator";
  #exchangeType: number = X.IDENTITY_PROTECTION;
  #SAi_b: Uint8Array = new Uint8Array(0);
  #gxi: Uint8Array = new Uint8Array(0);
  #gxr: Uint8Array = new Uint8Array(0);
  #Ni: Uint8Array = new Uint8Array(0);
  #Nr: Uint8Array = new Uint8Array(0);
  #cipher!: IsakmpCbc;
  /** Of the next message of phase 1; when that is over, what later exchanges begin with. */
  #iv: Uint8Array = new Uint8Array(0);
  readonly #exchanges = new Map<number, PhaseTwo>();

  constructor(
    sim: Simulation,
    node: Node,
    options: { readonly own: string; readonly node: string; readonly psk?: string; readonly group?: number },
  ) {
    this.#sim = sim;
    this.#own = endpoint(options.own);
    this.#node = endpoint(options.node);
    this.#psk = Secret.fromText(options.psk ?? "correct horse battery staple");
    this.group = options.group ?? DhGroup.code.ECP_256;
    this.keyPair = seededKeyPair(sim.random, this.group);
    this.nonce = sim.random.bytes(32);
    sim.network.faults.push((packet) => {
      if (packet.from !== node.name) return "pass";
      this.received.push(packet.datagram);
      return "drop";
    });
  }

  /** What it sends from now on comes from elsewhere. */
  moveTo(own: Endpoint, node: Endpoint = this.#node): void {
    this.#own = own;
    this.#node = node;
  }

  // ── Phase 1 as initiator ─────────────────────────────────────────────────────────────────────────────────────

  /** What the simulated sites accept, with other attributes in place of or behind ours. */
  ikeProposal(
    attributes: readonly IsakmpAttribute[] = ikeAttributes(this.group),
    over: Partial<IsakmpProposal> = {},
  ): IsakmpProposal {
    return {
      number: 1,
      protocol: IsakmpProtocol.code.PROTO_ISAKMP,
      spi: new Uint8Array(0),
      transforms: [{ number: 1, id: KEY_IKE, attributes }],
      ...over,
    };
  }

  sa(proposals: readonly IsakmpProposal[] = [this.ikeProposal()]): IsakmpPayload {
    return { kind: "SA", doi: IsakmpDoi.code.IPSEC, situation: SIT_IDENTITY_ONLY, proposals };
  }

  /** `HDR, SA -->` */
  main1(change = unchanged): IsakmpAnswer | undefined {
    this.#begin(X.IDENTITY_PROTECTION);
    const said = change([this.sa()]);
    this.#SAi_b = bodyOf(said, TYPE.SA);
    const answer = this.#askInTheClear(said);
    if (answer && findIsakmpPayload(answer.payloads, "SA")) this.spiResponder = answer.header.spiResponder;
    return answer;
  }

  /** `HDR, KE, Ni -->`; with a full answer the keys are there afterwards. */
  main3(change = unchanged): IsakmpAnswer | undefined {
    const said = change([
      { kind: "KE", data: this.keyPair.publicValue },
      { kind: "NONCE", nonce: this.nonce },
    ]);
    const answer = this.#askInTheClear(said);
    if (answer) this.#deriveAsInitiator(said, answer.payloads);
    return answer;
  }

  /** `HDR*, IDii, HASH_I -->`. The hash covers what `change` makes of the ID; `changeAll` damages the whole. */
  main5(change = unchanged, changeAll = unchanged): IsakmpAnswer | undefined {
    const said = this.#withHashI(change([addressId(this.#own)]));
    const datagram = this.raw(this.#sealPhase1(changeAll(said)));
    return datagram && this.#openPhase1(datagram);
  }

  /** `HDR, SA, KE, Ni, IDii -->`; with a full answer the keys are there afterwards. */
  aggressive1(change = unchanged): IsakmpAnswer | undefined {
    this.#begin(X.AGGRESSIVE);
    const said = change([
      this.sa(),
      { kind: "KE", data: this.keyPair.publicValue },
      { kind: "NONCE", nonce: this.nonce },
      addressId(this.#own),
    ]);
    this.#SAi_b = bodyOf(said, TYPE.SA);
    this.#id = bodyOf(said, TYPE.ID);
    const answer = this.#askInTheClear(said);
    if (answer && findIsakmpPayload(answer.payloads, "SA")) {
      this.spiResponder = answer.header.spiResponder;
      this.#deriveAsInitiator(said, answer.payloads);
    }
    return answer;
  }

  /** `HDR*, HASH_I -->` */
  aggressive3(changeAll = unchanged): IsakmpAnswer | undefined {
    const data = phase1HashI(suite.prf, this.keys!.SKEYID, this.#transcript, this.#id);
    const datagram = this.raw(this.#sealPhase1(changeAll([{ kind: "HASH", data }])));
    return datagram && this.#openPhase1(datagram);
  }

  #id: Uint8Array = new Uint8Array(0);

  // ── Phase 1 as responder ─────────────────────────────────────────────────────────────────────────────────────

  /** Answers the node's message of phase 1 that was received last, if there is one that can be. The others stay. */
  answerPhase1(change = unchanged, changeAll = unchanged): boolean {
    const at = this.received.findLastIndex((datagram) => decodeIsakmpHeader(datagram).messageId === 0);
    const [datagram] = at < 0 ? [] : this.received.splice(at, 1);
    if (!datagram) return false;
    const header = decodeIsakmpHeader(datagram);
    if (header.encrypted) return this.#answer5(datagram, header, change, changeAll);
    const { payloads } = decodeIsakmp(datagram, header);
    if (findIsakmpPayload(payloads, "SA")) return this.#answer1(header, payloads, change, changeAll);
    return this.#answer3(payloads, change, changeAll);
  }

  /** `<-- HDR, SA`, or `<-- HDR, SA, KE, Nr, IDir, HASH_R` */
  #answer1(
    header: DecodedIsakmpHeader,
    payloads: readonly ReceivedPayload[],
    change: IsakmpChange,
    changeAll: IsakmpChange,
  ): boolean {
    this.#role = "responder";
    this.#exchangeType = header.exchangeType;
    this.spiInitiator = header.spiInitiator;
    this.spiResponder = 0x99aabbccddeeff00n;
    const sa = findIsakmpPayload(payloads, "SA")!;
    this.#SAi_b = Uint8Array.from(sa.body);
    const { kind, doi, situation, proposals } = sa;
    const chosen: IsakmpPayload = {
      kind,
      doi,
      situation,
      proposals: [{ ...proposals[0]!, transforms: proposals[0]!.transforms.slice(0, 1) }],
    };
    if (header.exchangeType === X.IDENTITY_PROTECTION) {
      this.#sayInTheClear(changeAll(change([chosen])));
      return true;
    }
    const said = change([
      chosen,
      { kind: "KE", data: this.keyPair.publicValue },
      { kind: "NONCE", nonce: this.nonce },
      addressId(this.#own),
    ]);
    this.#deriveAsResponder(payloads, said);
    const data = phase1HashR(suite.prf, this.keys!.SKEYID, this.#transcript, bodyOf(said, TYPE.ID));
    this.#sayInTheClear(changeAll([...said, { kind: "HASH", data }]));
    return true;
  }

  /** `<-- HDR, KE, Nr` */
  #answer3(payloads: readonly ReceivedPayload[], change: IsakmpChange, changeAll: IsakmpChange): boolean {
    if (!findIsakmpPayload(payloads, "KE") || !findIsakmpPayload(payloads, "NONCE")) return false;
    const said = change([
      { kind: "KE", data: this.keyPair.publicValue },
      { kind: "NONCE", nonce: this.nonce },
    ]);
    this.#deriveAsResponder(payloads, said);
    this.#sayInTheClear(changeAll(said));
    return true;
  }

  /** `<-- HDR*, IDir, HASH_R` */
  #answer5(
    datagram: Uint8Array,
    header: DecodedIsakmpHeader,
    change: IsakmpChange,
    changeAll: IsakmpChange,
  ): boolean {
    if (!this.keys) return false;
    let opened: ReturnType<typeof openIsakmp>;
    try {
      opened = openIsakmp(datagram, header, this.#cipher, this.#iv);
    } catch {
      // The node has other keys than we: what one of us said was damaged.
      return false;
    }
    this.#iv = opened.nextIv;
    if (this.#exchangeType === X.AGGRESSIVE) return true;
    const said = change([addressId(this.#own)]);
    const data = phase1HashR(suite.prf, this.keys.SKEYID, this.#transcript, bodyOf(said, TYPE.ID));
    this.#deliver(this.#sealPhase1(changeAll([...said, { kind: "HASH", data }])));
    return true;
  }

  // ── Phase 2 ──────────────────────────────────────────────────────────────────────────────────────────────────

  espProposal(
    spi: number,
    attributes: readonly IsakmpAttribute[] = espAttributes,
    over: Partial<IsakmpProposal> = {},
  ): IsakmpProposal {
    return {
      number: 1,
      protocol: IsakmpProtocol.code.PROTO_IPSEC_ESP,
      spi: espSpiBytes(spi),
      transforms: [{ number: 1, id: EspTransform.code.ESP_AES_GCM_16, attributes }],
      ...over,
    };
  }

  /** `SA, Ni, IDci, IDcr` for the whole of both sides' subnets. */
  quickPayloads(spi: number, own = "0.0.0.0/0", node = "0.0.0.0/0"): IsakmpPayload[] {
    return [
      this.sa([this.espProposal(spi)]),
      { kind: "NONCE", nonce: this.#sim.random.bytes(32) },
      subnetId(own),
      subnetId(node),
    ];
  }

  /** `HDR*, HASH(1), payloads -->`; the answer, and its message ID in the header. */
  quick(payloads: readonly IsakmpPayload[], messageId = this.newMessageId()): IsakmpAnswer | undefined {
    return this.ask(this.seal(X.QUICK_MODE, payloads, messageId));
  }

  /** `HDR*, HASH(3) -->` */
  quick3(messageId: number, change = unchanged): IsakmpAnswer | undefined {
    const exchange = this.#exchanges.get(messageId)!;
    const nothing = new Uint8Array(0);
    const { Ni = nothing, Nr = nothing } = exchange;
    const data = messageHash3(suite.prf, this.keys!.SKEYID_a, messageId, Ni, Nr);
    const header = this.#header(X.QUICK_MODE, messageId);
    const sealed = sealIsakmp(header, change([{ kind: "HASH", data }]), this.#cipher, exchange.iv);
    exchange.iv = sealed.nextIv;
    return this.ask(sealed.datagram);
  }

  /** `HDR*, HASH(1), payloads -->` */
  inform(payloads: readonly IsakmpPayload[], messageId = this.newMessageId()): IsakmpAnswer | undefined {
    return this.ask(this.seal(X.INFORMATIONAL, payloads, messageId));
  }

  /** Delivers a message of ours and reads what the node said to it at once. */
  ask(datagram: Uint8Array): IsakmpAnswer | undefined {
    const answer = this.raw(datagram);
    return answer && this.open(answer);
  }

  /**
   * A message of phase 2 whose hash is right: HASH(1) when it is the first of its exchange, HASH(2) when we answer.
   * The chain of IVs goes on with it.
   */
  seal(exchangeType: number, payloads: readonly IsakmpPayload[], messageId: number): Uint8Array {
    const exchange = this.#exchange(messageId);
    const nonce = findIsakmpPayload(payloads, "NONCE")?.nonce;
    const { SKEYID_a } = this.keys!;
    const answers = exchange.messages === 1 && exchange.Ni !== undefined;
    const sealed = sealIsakmpWithHash(
      this.#header(exchangeType, messageId),
      payloads,
      hashBytes,
      (afterHash) =>
        answers
          ? messageHash2(suite.prf, SKEYID_a, messageId, exchange.Ni!, afterHash)
          : messageHash1(suite.prf, SKEYID_a, messageId, afterHash),
      this.#cipher,
      exchange.iv,
    );
    if (answers) exchange.Nr = nonce;
    else exchange.Ni = nonce;
    exchange.messages++;
    exchange.iv = sealed.nextIv;
    return sealed.datagram;
  }

  /** Sends the answer to a quick mode message of the node, or anything else under its message ID. */
  answerQuick(first: IsakmpAnswer, payloads: readonly IsakmpPayload[]): void {
    this.#deliver(this.seal(X.QUICK_MODE, payloads, first.header.messageId));
  }

  /** A message of phase 2 as whoever has no keys can make it: encrypted under nothing, or in the clear. */
  unprotected(exchangeType: number, payloads: readonly IsakmpPayload[], messageId = 0): Uint8Array {
    return encodeIsakmp(this.#header(exchangeType, messageId), payloads);
  }

  /** What the node said, with its hash checked where it is known what it covers. The chain of IVs goes on with it. */
  open(datagram: Uint8Array): IsakmpAnswer {
    const header = decodeIsakmpHeader(datagram);
    if (!header.encrypted) return { datagram, ...decodeIsakmp(datagram, header) };
    if (header.messageId === 0) return this.#openPhase1(datagram);
    const exchange = this.#exchange(header.messageId);
    const opened = openIsakmp(datagram, header, this.#cipher, exchange.iv);
    const [hash, ...payloads] = opened.payloads;
    assert.equal(hash?.kind, "HASH");
    const nonce = findIsakmpPayload(payloads, "NONCE")?.nonce;
    const { SKEYID_a } = this.keys!;
    const { messageId } = header;
    if (exchange.messages === 0) {
      const expected = messageHash1(suite.prf, SKEYID_a, messageId, opened.afterHash);
      assert.deepEqual(Uint8Array.from(hash.data), Uint8Array.from(expected));
      exchange.Ni = nonce && Uint8Array.from(nonce);
    } else if (exchange.messages === 1 && exchange.Ni) {
      const expected = messageHash2(suite.prf, SKEYID_a, messageId, exchange.Ni, opened.afterHash);
      assert.deepEqual(Uint8Array.from(hash.data), Uint8Array.from(expected));
      exchange.Nr = nonce && Uint8Array.from(nonce);
    }
    exchange.messages++;
    exchange.iv = opened.nextIv;
    return { datagram, header, payloads };
  }

  newMessageId(): number {
    return 1 + this.#sim.random.below(0xffff_fffe);
  }

  /** Delivers octets and returns what the node answered at once. */
  raw(datagram: Uint8Array): Uint8Array | undefined {
    this.received.length = 0;
    this.#deliver(datagram);
    return this.received.shift();
  }

  // ── Keys ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #begin(exchangeType: number): void {
    this.#role = "initiator";
    this.#exchangeType = exchangeType;
    this.spiResponder = 0n;
    this.keys = undefined;
  }

  get #transcript() {
    const { spiInitiator, spiResponder } = this;
    return { spiInitiator, spiResponder, gxi: this.#gxi, gxr: this.#gxr, SAi_b: this.#SAi_b };
  }

  #deriveAsInitiator(said: readonly IsakmpPayload[], heard: readonly ReceivedPayload[]): void {
    const [ke, nonce] = [findIsakmpPayload(heard, "KE"), findIsakmpPayload(heard, "NONCE")];
    if (!ke || !nonce) return;
    [this.#gxi, this.#Ni] = [bodyOf(said, TYPE.KE), bodyOf(said, TYPE.NONCE)];
    [this.#gxr, this.#Nr] = [Uint8Array.from(ke.data), Uint8Array.from(nonce.nonce)];
    this.#derive(this.#gxr);
  }

  #deriveAsResponder(heard: readonly ReceivedPayload[], said: readonly IsakmpPayload[]): void {
    [this.#gxr, this.#Nr] = [bodyOf(said, TYPE.KE), bodyOf(said, TYPE.NONCE)];
    this.#gxi = Uint8Array.from(findIsakmpPayload(heard, "KE")!.data);
    this.#Ni = Uint8Array.from(findIsakmpPayload(heard, "NONCE")!.nonce);
    this.#derive(this.#gxi);
  }

  #derive(peerPublic: Uint8Array): void {
    const gxy = this.keyPair.computeSharedSecret(peerPublic);
    const SKEYID = skeyidPsk(suite.prf, this.#psk, this.#Ni, this.#Nr);
    this.keys = isakmpKeys(suite, SKEYID, gxy, this);
    this.#cipher = isakmpCipher(suite, this.keys.Ka);
    this.#iv = phase1Iv(suite.prf, this.#gxi, this.#gxr, this.#cipher.block);
    this.#exchanges.clear();
  }

  #withHashI(said: readonly IsakmpPayload[]): IsakmpPayload[] {
    const data = phase1HashI(suite.prf, this.keys!.SKEYID, this.#transcript, bodyOf(said, TYPE.ID));
    return [...said, { kind: "HASH", data }];
  }

  #exchange(messageId: number): PhaseTwo {
    let found = this.#exchanges.get(messageId);
    if (!found) {
      const iv = exchangeIv(suite.prf, this.#iv, messageId);
      found = { iv, messages: 0, Ni: undefined, Nr: undefined };
      this.#exchanges.set(messageId, found);
    }
    return found;
  }

  // ── Datagrams ────────────────────────────────────────────────────────────────────────────────────────────────

  #header(exchangeType: number, messageId: number): IsakmpHeader {
    const { spiInitiator, spiResponder } = this;
    return { spiInitiator, spiResponder, exchangeType, messageId };
  }

  #askInTheClear(payloads: readonly IsakmpPayload[]): IsakmpAnswer | undefined {
    const answer = this.raw(encodeIsakmp(this.#header(this.#exchangeType, 0), payloads));
    if (!answer) return undefined;
    const header = decodeIsakmpHeader(answer);
    return header.encrypted
      ? { datagram: answer, header, payloads: [] }
      : { datagram: answer, ...decodeIsakmp(answer, header) };
  }

  #sayInTheClear(payloads: readonly IsakmpPayload[]): void {
    this.#deliver(encodeIsakmp(this.#header(this.#exchangeType, 0), payloads));
  }

  #sealPhase1(payloads: readonly IsakmpPayload[]): Uint8Array {
    const sealed = sealIsakmp(this.#header(this.#exchangeType, 0), payloads, this.#cipher, this.#iv);
    this.#iv = sealed.nextIv;
    return sealed.datagram;
  }

  #openPhase1(datagram: Uint8Array): IsakmpAnswer {
    const header = decodeIsakmpHeader(datagram);
    if (header.messageId !== 0) return this.open(datagram);
    const opened = openIsakmp(datagram, header, this.#cipher, this.#iv);
    this.#iv = opened.nextIv;
    const [id, hash] = [findIsakmpPayload(opened.payloads, "ID"), findIsakmpPayload(opened.payloads, "HASH")];
    if (id && hash && this.#role === "initiator") {
      const expected = phase1HashR(suite.prf, this.keys!.SKEYID, this.#transcript, id.body);
      assert.deepEqual(Uint8Array.from(hash.data), Uint8Array.from(expected));
    }
    return { datagram, header, payloads: opened.payloads };
  }

  #deliver(datagram: Uint8Array): void {
    this.#sim.deliver(this.#own, this.#node, Uint8Array.from(datagram));
  }
}

export const ikeAttributes = (group: number): readonly IsakmpAttribute[] => [
  { type: A.ENCRYPTION_ALGORITHM, value: Phase1Encryption.code.AES_CBC },
  { type: A.KEY_LENGTH, value: 128 },
  { type: A.HASH_ALGORITHM, value: Phase1Hash.code.SHA2_256 },
  { type: A.GROUP_DESCRIPTION, value: group },
  { type: A.AUTHENTICATION_METHOD, value: Phase1Authentication.code.PRE_SHARED_KEY },
  { type: A.LIFE_TYPE, value: IsakmpLifeType.code.SECONDS },
  { type: A.LIFE_DURATION, value: 28_800 },
];

export const espAttributes: readonly IsakmpAttribute[] = [
  { type: IpsecAttribute.code.KEY_LENGTH, value: 128 },
  { type: IpsecAttribute.code.ENCAPSULATION_MODE, value: EncapsulationMode.code.TUNNEL },
  { type: IpsecAttribute.code.SA_LIFE_TYPE, value: IsakmpLifeType.code.SECONDS },
  { type: IpsecAttribute.code.SA_LIFE_DURATION, value: 3600 },
];

export const addressId = ({ address }: Endpoint): IsakmpPayload => ({
  kind: "ID",
  idType: address.family === 4 ? IsakmpIdType.code.ID_IPV4_ADDR : IsakmpIdType.code.ID_IPV6_ADDR,
  protocol: 0,
  port: 0,
  data: address.bytes,
});

export function subnetId(text: string): IsakmpPayload {
  const prefix = Prefix.parse(text);
  const bytes = prefix.address.bytes.length;
  const data = new Uint8Array(2 * bytes);
  data.set(prefix.address.bytes);
  for (let bit = 0; bit < prefix.length; bit++) data[bytes + (bit >> 3)]! |= 0x80 >> (bit & 7);
  const { ID_IPV4_ADDR_SUBNET, ID_IPV6_ADDR_SUBNET } = IsakmpIdType.code;
  return {
    kind: "ID",
    idType: bytes === 4 ? ID_IPV4_ADDR_SUBNET : ID_IPV6_ADDR_SUBNET,
    protocol: 0,
    port: 0,
    data,
  };
}

export const isakmpNotifyOf = (answer: IsakmpAnswer | undefined): number | undefined =>
  answer?.payloads.find((p): p is ReceivedPayload & IsakmpNotifyPayload => p.kind === "N")?.type;

/** What is sent under a payload type, however it was damaged; nothing when it is not there. */
function bodyOf(payloads: readonly IsakmpPayload[], type: number): Uint8Array {
  const found = payloads.find((p) => isakmpPayloadType(p) === type);
  return found ? Uint8Array.from(isakmpBody(found)) : new Uint8Array(0);
}

/** Without the payloads of a kind. */
export const withoutPayload =
  (kind: IsakmpPayload["kind"]): IsakmpChange =>
  (payloads) =>
    payloads.filter((p) => p.kind !== kind);

/** The same octets under another payload type. */
export const renumberedPayload =
  (kind: IsakmpPayload["kind"], type: number): IsakmpChange =>
  (payloads) =>
    payloads.map((p) => (p.kind === kind ? { kind: "unknown", type, data: isakmpBody(p) } : p));
