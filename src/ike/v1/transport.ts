/**
 * How the messages of one ISAKMP SA travel: phase 1 (`phase1-transport.ts`), then any number of exchanges with message IDs
 * of their own, each with its own chain of IVs (RFC 2409 §5.5, appendix B). What the messages mean is in `exchanges/`.
 *
 * Invariants: a message of the peer is processed once; the side that waits repeats its last message.
 */
import { compareBytes } from "../../core/address.ts";
import { earlier, type Instant } from "../../core/time.ts";
import { IsakmpExchangeType } from "../../registry/index.ts";
import type { IsakmpPayload } from "../../wire/v1/index.ts";
import type { Patience } from "../common/patience.ts";
import type { Exchange, InitiatedExchange, Message, Received, Refusal } from "./exchange.ts";
import { onInformational } from "./exchanges/informational.ts";
import type { IsakmpSa } from "./isakmp-sa.ts";
import { type HashInput, nonceOf, openPhase2, phase2Iv, sealPhase2 } from "./key-material.ts";
import { MessageIds } from "./message-ids.ts";
import type { Datagram, InitiatedPhase1, Phase1 } from "./phase1.ts";
import { Phase1Transport } from "./phase1-transport.ts";
import { headerOf, maxRepeated, patience, Sender, waitAt, whatIsDue } from "./sending.ts";

/** One exchange of phase 2. */
interface Run {
  readonly messageId: number;
  readonly type: number;
  readonly ours: boolean;
  /** Undefined once it is over: what is left repeats our last message, until `until`. */
  exchange: Exchange | undefined;
  iv: Uint8Array;
  /** Messages so far, of both sides. */
  messages: number;
  Ni: Uint8Array | undefined;
  Nr: Uint8Array | undefined;
  lastIn: Uint8Array | undefined;
  lastOut: readonly Uint8Array[];
  beforeRepeat: Message["beforeRepeat"];
  /** How often the peer had our last message repeated. */
  repeated: number;
  /** Our last message waits for the peer's next one. */
  wait: Patience | undefined;
  /** Its exchange has let go of it: a late answer is met with a Delete, and nothing else comes. */
  abandoned: boolean;
  until: Instant | undefined;
}

export class Transport {
  readonly #sa: IsakmpSa;
  readonly #phase1: Phase1Transport;
  readonly #runs = new Map<number, Run>();
  #queue: InitiatedExchange[] = [];
  /** Message IDs of exchanges of the peer that are over, and of the latest of ours, the oldest first. */
  readonly #used = new Set<number>();
  #ids: MessageIds | undefined;
  readonly #sender: Sender;

  constructor(sa: IsakmpSa) {
    this.#sa = sa;
    this.#sender = new Sender(sa);
    this.#phase1 = new Phase1Transport(sa, this.#sender);
  }

  // ── Phase 1 ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** As initiator. */
  begin(now: Instant, phase1: InitiatedPhase1): void {
    this.#phase1.begin(now, phase1);
  }

  /** As responder: `answer` is the one to `request`, and is repeated when that is. */
  respond(now: Instant, phase1: Phase1, request: Uint8Array, answer: readonly IsakmpPayload[]): void {
    this.#phase1.respond(now, phase1, request, answer);
  }

  // ── Messages in ──────────────────────────────────────────────────────────────────────────────────────────────

  /** One datagram whose header carries our SPIs. Never throws on anything a peer can send. */
  handleDatagram(now: Instant, message: Datagram): void {
    const { header } = message;
    if (header.messageId === 0 && header.exchangeType === this.#sa.phase1Type) {
      this.#phase1.handleMessage(now, message);
      this.#pump(now);
    } else if (!header.encrypted) this.#phase1.handleUnprotected(message);
    else if (header.messageId === 0) this.#sa.host.count("unexpected");
    else this.#onPhase2(now, message);
  }

  #onPhase2(now: Instant, message: Datagram): void {
    const { header, datagram } = message;
    const sa = this.#sa;
    if (!sa.secured || !sa.usable) {
      this.#phase1.handleEarly(now, message);
      return;
    }
    const run = this.#runs.get(header.messageId);
    if (run?.lastIn && compareBytes(run.lastIn, datagram) === 0) {
      this.#repeat(run, now);
      return;
    }
    const exchange = run?.exchange;
    // Of our own the peer only says the next message: anything else is what we said, sent back.
    const reflected = !run && this.#ids?.isOurs(header.messageId) === true;
    if (reflected || (run && (!exchange || run.type !== header.exchangeType))) {
      sa.host.count("message_id");
      return;
    }
    const input = run ? nextHash(run) : first;
    const opened =
      input &&
      openPhase2(sa.secured, header, datagram, input, run?.iv ?? phase2Iv(sa.secured, header.messageId));
    if (!opened) {
      sa.host.count("not_authentic");
      return;
    }
    sa.provenAt ??= now;
    const received = { header, payloads: opened.payloads, local: message.local, remote: message.remote };
    if (run && exchange) this.#goOn(now, run, exchange, received, datagram, opened.nextIv);
    else if (header.exchangeType === IsakmpExchangeType.code.INFORMATIONAL)
      onInformational(sa, now, received, this.#markUsed(header.messageId));
    else this.#answer(now, received, datagram, opened.nextIv);
    this.#pump(now);
  }

  #goOn(
    now: Instant,
    run: Run,
    exchange: Exchange,
    received: Received,
    datagram: Uint8Array,
    nextIv: Uint8Array,
  ): void {
    // A message in the place of another one: the chain goes on only with what the exchange takes.
    const before = run.wait;
    const answer = exchange.onMessage(this.#sa, now, received);
    if (answer === "wait" || this.#runs.get(run.messageId) !== run) return;
    if (run.wait === before) run.wait = undefined;
    this.#sa.lastHeardAt = now;
    run.iv = nextIv;
    run.messages++;
    run.Nr ??= nonceOf(received.payloads);
    run.lastIn = Uint8Array.from(datagram);
    // It holds a nonce or a hash over one of ours: the peer is there now, and not only was once.
    this.#sa.followPeer(now, received.local, received.remote);
    if (answer) this.#sendPhase2(now, run, answer);
    else this.#finish(run);
    answer?.afterwards?.();
  }

  /** The first message of an exchange that the peer begins. */
  #answer(now: Instant, received: Received, datagram: Uint8Array, nextIv: Uint8Array): void {
    const { messageId, exchangeType: type } = received.header;
    const sa = this.#sa;
    const answers = sa.host.answers(type);
    if (!answers || this.#used.has(messageId)) {
      sa.host.count(answers ? "message_id" : "unexpected");
      return;
    }
    let theirs = 0;
    for (const run of this.#runs.values()) if (!run.ours) theirs++;
    if (theirs >= maxAnswered) {
      sa.host.count("unexpected");
      return;
    }
    const begun = answers.onFirstMessage(sa, now, received);
    if (!begun || !sa.secured) {
      this.#markUsed(messageId);
      return;
    }
    const run: Run = {
      messageId,
      type,
      ours: false,
      exchange: begun.exchange,
      iv: nextIv,
      messages: 1,
      Ni: nonceOf(received.payloads),
      Nr: undefined,
      lastIn: Uint8Array.from(datagram),
      lastOut: [],
      beforeRepeat: undefined,
      repeated: 0,
      wait: undefined,
      abandoned: false,
      until: undefined,
    };
    this.#runs.set(messageId, run);
    this.#sendPhase2(now, run, begun.answer);
    begun.answer.afterwards?.();
  }

  #repeat(run: Run, now: Instant): void {
    // It is still news, however often it was answered.
    run.exchange?.onRepeated?.(now);
    if (run.repeated >= maxRepeated || run.lastOut.length === 0) {
      this.#sa.host.count("message_id");
      return;
    }
    run.repeated++;
    if (run.beforeRepeat?.(now) !== false) this.#sender.send(this.#sa, run.lastOut);
  }

  /** An authentic error notification: the exchange that it is about ends. It is rather about one of ours. */
  refuse(now: Instant, refusal: Omit<Refusal, "onlyCandidate">): boolean {
    const all = [...this.#runs.values()].filter((run) => run.exchange?.onRefusal && !run.abandoned);
    for (const candidates of [all.filter((run) => run.ours), all.filter((run) => !run.ours)])
      for (const run of candidates) {
        const onlyCandidate = candidates.length === 1 && (run.ours || all.length === 1);
        if (!run.exchange?.onRefusal?.(this.#sa, now, { ...refusal, onlyCandidate })) continue;
        this.#finish(run);
        this.#pump(now);
        return true;
      }
    return false;
  }

  /** True when it was used before. */
  #markUsed(messageId: number): boolean {
    if (this.#used.has(messageId)) return true;
    this.#used.add(messageId);
    if (this.#used.size > maxUsed) {
      const [oldest] = this.#used;
      this.#used.delete(oldest!);
    }
    return false;
  }

  // ── Messages out ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Queues an exchange of ours; it starts as soon as it is its turn. */
  initiate(now: Instant, exchange: InitiatedExchange): void {
    this.#queue.push(exchange);
    this.#queue.sort((a, b) => a.priority - b.priority);
    this.#pump(now);
  }

  /** Sends an informational message, which has no answer: the datagrams of it. */
  inform(now: Instant, payloads: readonly IsakmpPayload[]): readonly Uint8Array[] {
    const { secured } = this.#sa;
    if (!secured) return [];
    const messageId = this.#newMessageId();
    const header = headerOf(this.#sa, IsakmpExchangeType.code.INFORMATIONAL, messageId);
    const { datagram } = sealPhase2(secured, header, payloads, first, phase2Iv(secured, messageId));
    this.#phase1.repeatUnproven(now);
    const datagrams = this.#sender.cut(header, datagram);
    this.#sender.send(this.#sa, datagrams);
    return datagrams;
  }

  /** Sends what was sent before. */
  resend(datagrams: readonly Uint8Array[]): void {
    this.#sender.send(this.#sa, datagrams);
  }

  /** True when an exchange of ours with this name waits or is under way. */
  hasExchange(name: string): boolean {
    if (this.#queue.some((e) => e.name === name)) return true;
    return this.#ours().some((run) => run.exchange?.name === name);
  }

  get backlog(): number {
    return this.#queue.length;
  }

  /** Exchanges under way, of either side. */
  get negotiations(): number {
    let count = 0;
    for (const { exchange, abandoned } of this.#runs.values()) if (exchange && !abandoned) count++;
    return count;
  }

  /** True when no exchange of ours waits or is under way. */
  get idle(): boolean {
    return this.#phase1.deadline === undefined && this.#queue.length === 0 && this.#ours().length === 0;
  }

  /** Exchanges of ours that are under way. */
  #ours(): Run[] {
    return [...this.#runs.values()].filter((run) => run.ours && run.exchange && !run.abandoned);
  }

  #pump(now: Instant): void {
    while (this.#sa.usable && this.#sa.secured) {
      if (this.#ours().length >= maxUnderWay) return;
      const exchange = this.#queue.shift();
      if (!exchange) return;
      const message = exchange.begin(this.#sa, now);
      if (!message || !this.#sa.secured) {
        exchange.onAbandon?.(this.#sa, now);
        continue;
      }
      const messageId = this.#newMessageId();
      const run: Run = {
        messageId,
        type: exchange.type,
        ours: true,
        exchange,
        iv: phase2Iv(this.#sa.secured, messageId),
        messages: 0,
        Ni: nonceOf(message.payloads),
        Nr: undefined,
        lastIn: undefined,
        lastOut: [],
        beforeRepeat: undefined,
        repeated: 0,
        wait: undefined,
        abandoned: false,
        until: undefined,
      };
      this.#runs.set(messageId, run);
      this.#sendPhase2(now, run, message);
      message.afterwards?.();
    }
  }

  #sendPhase2(now: Instant, run: Run, message: Message): void {
    const { secured, host, peer } = this.#sa;
    if (!run.ours) run.Nr ??= nonceOf(message.payloads);
    const input = nextHash(run);
    if (!secured || !input) throw new Error(`message ${run.messages + 1} of ${run.exchange?.name}`);
    const header = {
      ...headerOf(this.#sa, run.type, run.messageId),
      ...(message.commit && { commit: true }),
    };
    const { datagram, nextIv } = sealPhase2(secured, header, message.payloads, input, run.iv);
    run.iv = nextIv;
    run.messages++;
    run.lastOut = this.#sender.cut(header, datagram);
    run.beforeRepeat = message.beforeRepeat;
    run.repeated = 0;
    const patienceMs = host.limits.establishedMs ?? peer!.answerTimeoutMs;
    if (message.awaits) run.wait = patience(this.#sa.host.limits, now, patienceMs);
    else {
      run.exchange = undefined;
      run.wait = undefined;
      // For as long as the peer may want it repeated.
      run.until = now + patienceMs + host.limits.lingerMs;
    }
    this.#phase1.repeatUnproven(now);
    this.#sender.send(this.#sa, run.lastOut);
  }

  #newMessageId(): number {
    this.#ids ??= new MessageIds(this.#sa.host.random);
    return this.#ids.next((id) => this.#runs.has(id) || this.#used.has(id));
  }

  // ── Time and the end ─────────────────────────────────────────────────────────────────────────────────────────

  /** When `handleTimeout` is next needed. */
  get deadline(): Instant | undefined {
    let at = this.#phase1.deadline;
    for (const { wait, until } of this.#runs.values()) at = earlier(at, earlier(waitAt(wait), until));
    return at;
  }

  handleTimeout(now: Instant): void {
    this.#phase1.handleTimeout(now);
    for (const run of [...this.#runs.values()]) this.#onRunTimeout(run, now);
    this.#pump(now);
  }

  #onRunTimeout(run: Run, now: Instant): void {
    if (this.#runs.get(run.messageId) !== run) return;
    if (run.until !== undefined && run.until <= now) this.#finish(run);
    if (!run.wait) return;
    const due = whatIsDue(this.#sa.host.limits, run.wait, now);
    if (due === "repeat") {
      if (run.beforeRepeat?.(now) === false) {
        this.#finish(run);
        return;
      }
      this.#phase1.repeatUnproven(now);
      this.#sender.send(this.#sa, run.lastOut);
    } else if (due === "over") {
      const { exchange } = run;
      this.#finish(run);
      exchange?.onTimeout(this.#sa, now);
    }
  }

  #finish(run: Run): void {
    this.#runs.delete(run.messageId);
    this.#markUsed(run.messageId);
  }

  /** Phase 1, as responder, has taken too long. */
  expire(): void {
    this.#phase1.expire();
  }

  /** Drops what is ours: what waits, and with `begun` what is under way. Whoever asked for it hears of that. */
  abandonOurs(now: Instant, begun: boolean): void {
    for (const exchange of this.#queue.splice(0)) exchange.onAbandon?.(this.#sa, now);
    if (!begun) return;
    for (const run of this.#ours()) {
      run.abandoned = true;
      run.until = run.wait?.giveUpAt ?? now;
      run.wait = undefined;
      run.exchange?.onAbandon?.(this.#sa, now);
    }
  }

  /** Drops what waits and what is under way. */
  abandonAll(now: Instant): void {
    this.#phase1.discard();
    for (const exchange of this.#queue.splice(0)) exchange.onAbandon?.(this.#sa, now);
    const runs = [...this.#runs.values()];
    this.#runs.clear();
    for (const { exchange, abandoned } of runs) if (!abandoned) exchange?.onAbandon?.(this.#sa, now);
  }
}

/** What the HASH of the next message of an exchange covers; undefined when no message of it has one. */
function nextHash({ messages, Ni, Nr }: Run): HashInput | undefined {
  if (messages === 0) return first;
  if (messages === 1 && Ni) return { number: 2, Ni };
  return messages === 2 && Ni && Nr ? { number: 3, Ni, Nr } : undefined;
}

const first: HashInput = { number: 1 };
/** Some peers do one quick mode at a time; a second one goes on when the first is ignored. */
const maxUnderWay = 2;
/** Exchanges of the peer that are under way, or just over. */
const maxAnswered = 128;
const maxUsed = 1024;
