/**
 * Events as the addon hands them over, to the control plane's vocabulary. A batch is one array of bytes, record after
 * record; `native/addon/event_record.h` has the layout.
 */
import { type Endpoint, IpAddress } from "../core/address.ts";
import type { DataPlaneEvent } from "../core/dataplane.ts";

/**
 * `kinds`: the rows of the addon's table of events. The datagrams are views of `batch`, or copies where a view would
 * keep much more than itself in memory. Throws RangeError on what this version does not know: addon and TypeScript are
 * of one build.
 */
export function decodeEvents(batch: Uint8Array, kinds: readonly string[]): DataPlaneEvent[] {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength);
  const events: DataPlaneEvent[] = [];
  for (let at = 0; at < batch.length; ) {
    const record = new EventRecord(batch, view, at);
    events.push(decodeEvent(record, kinds[record.kind]));
    at = record.end;
  }
  return events;
}

function decodeEvent(record: EventRecord, kind: string | undefined): DataPlaneEvent {
  switch (kind) {
    case "ike":
      return { kind, local: record.local, remote: record.remote, datagram: record.data };
    case "acquire": {
      const { local, remote, connection, protocol } = record;
      const [source, sourcePort] = [local.address, local.port];
      const [destination, destinationPort] = [remote.address, remote.port];
      return { kind, connection, source, destination, protocol, sourcePort, destinationPort };
    }
    case "soft_lifetime":
    case "hard_lifetime": {
      const { spi, direction, remote } = record;
      const lifetime = kind === "soft_lifetime" ? "softLifetime" : "hardLifetime";
      return { kind: lifetime, spi, direction, remote: remote.address };
    }
    case "sa_in_use":
      return { kind: "saInUse", spi: record.spi };
    case "peer_moved":
      return { kind: "peerMoved", spi: record.spi, remote: record.remote };
    case "probe_reply": {
      const { connection, id, sequence, roundTripMs } = record;
      return { kind: "probeReply", connection, id, sequence, roundTripMs };
    }
    case "path_mtu":
      return { kind: "pathMtu", remote: record.remote.address, mtu: record.mtu };
    default:
      throw new RangeError(`the addon reports an event that is unknown here: ${kind}`);
  }
}

/** One record of a batch. Each kind of event uses the fields that it needs. */
class EventRecord {
  readonly #batch: Uint8Array;
  readonly #view: DataView;
  readonly #at: number;
  readonly #remoteAt: number;
  readonly #dataAt: number;
  readonly end: number;

  constructor(batch: Uint8Array, view: DataView, at: number) {
    this.#batch = batch;
    this.#view = view;
    this.#at = at;
    this.#remoteAt = at + fixedBytes + view.getUint8(at + 3);
    this.#dataAt = this.#remoteAt + view.getUint8(at + 4);
    this.end = this.#dataAt + view.getUint32(at + 28, true);
  }

  get kind(): number {
    return this.#view.getUint8(this.#at);
  }
  get direction(): "inbound" | "outbound" {
    return this.#view.getUint8(this.#at + 1) === 0 ? "inbound" : "outbound";
  }
  get protocol(): number {
    return this.#view.getUint8(this.#at + 2);
  }
  get connection(): number {
    return this.#view.getUint16(this.#at + 6, true);
  }
  get id(): number {
    return this.#view.getUint16(this.#at + 8, true);
  }
  get sequence(): number {
    return this.#view.getUint16(this.#at + 10, true);
  }
  get local(): Endpoint {
    const address = IpAddress.fromBytes(this.#batch.subarray(this.#at + fixedBytes, this.#remoteAt));
    return { address, port: this.#view.getUint16(this.#at + 12, true) };
  }
  get remote(): Endpoint {
    const address = IpAddress.fromBytes(this.#batch.subarray(this.#remoteAt, this.#dataAt));
    return { address, port: this.#view.getUint16(this.#at + 14, true) };
  }
  get spi(): number {
    return this.#view.getUint32(this.#at + 16, true);
  }
  get mtu(): number {
    return this.#view.getUint32(this.#at + 20, true);
  }
  get roundTripMs(): number {
    return this.#view.getUint32(this.#at + 24, true) / 1000;
  }
  get data(): Uint8Array {
    const small = this.#batch.length <= 2 * (this.end - this.#at);
    return small ? this.#batch.subarray(this.#dataAt, this.end) : this.#batch.slice(this.#dataAt, this.end);
  }
}

const fixedBytes = 32;
