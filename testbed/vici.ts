/**
 * strongSwan's control protocol (vici), as much of it as a test or a benchmark needs: one connection, commands and
 * their answers in order. A long-lived connection costs nothing per command, where swanctl starts a process.
 *
 * On the socket a packet is its length (32 bits) and its content: a type, for a command its name, and a message. A
 * message is a tree of sections, whose keys lead to texts, lists of texts, or sections.
 */
import { createConnection, type Socket } from "node:net";

export type ViciValue = string | readonly string[] | ViciMessage;
export interface ViciMessage {
  readonly [key: string]: ViciValue;
}

/** charon refused a command; the message holds what it said. */
export class ViciRefused extends Error {
  constructor(command: string, reason: string) {
    super(`vici ${command}: ${reason}`);
    this.name = "ViciRefused";
  }
}

export class Vici {
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  readonly #waiting: { resolve: (packet: Buffer) => void; reject: (error: Error) => void }[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#onData(chunk));
    const fail = (error: Error) => {
      for (const { reject } of this.#waiting.splice(0)) reject(error);
    };
    socket.on("error", fail);
    socket.on("close", () => fail(new Error("charon closed the vici socket")));
  }

  static connect(path: string): Promise<Vici> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(path);
      socket.once("error", reject);
      socket.once("connect", () => {
        socket.off("error", reject);
        resolve(new Vici(socket));
      });
    });
  }

  /** Sends a command; resolves with charon's answer. Throws ViciRefused when that says `success = no`. */
  async ask(command: string, message: ViciMessage = {}): Promise<ViciMessage> {
    const name = Buffer.from(command);
    const content = Buffer.concat([
      Buffer.from([packetType.commandRequest, name.length]),
      name,
      encode(message),
    ]);
    const packet = await new Promise<Buffer>((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      const length = Buffer.alloc(4);
      length.writeUInt32BE(content.length);
      this.#socket.write(Buffer.concat([length, content]));
    });
    if (packet[0] !== packetType.commandResponse) throw new ViciRefused(command, "charon does not know it");
    const answer = decode(packet.subarray(1));
    const { success, errmsg } = answer;
    if (success === "no") throw new ViciRefused(command, typeof errmsg === "string" ? errmsg : "failed");
    return answer;
  }

  close(): void {
    this.#socket.destroy();
  }

  #onData(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    while (this.#received.length >= 4) {
      const length = this.#received.readUInt32BE(0);
      if (this.#received.length < 4 + length) return;
      const packet = this.#received.subarray(4, 4 + length);
      this.#received = this.#received.subarray(4 + length);
      this.#waiting.shift()?.resolve(packet);
    }
  }
}

function encode(message: ViciMessage): Buffer {
  const parts: Buffer[] = [];
  const text = (value: string) => {
    const bytes = Buffer.from(value);
    const length = Buffer.alloc(2);
    length.writeUInt16BE(bytes.length);
    parts.push(length, bytes);
  };
  const element = (type: number, key: string) => {
    const bytes = Buffer.from(key);
    parts.push(Buffer.from([type, bytes.length]), bytes);
  };
  const section = (of: ViciMessage) => {
    for (const [key, value] of Object.entries(of)) {
      if (typeof value === "string") {
        element(elementType.keyValue, key);
        text(value);
      } else if (isList(value)) {
        element(elementType.listStart, key);
        for (const item of value) {
          parts.push(Buffer.from([elementType.listItem]));
          text(item);
        }
        parts.push(Buffer.from([elementType.listEnd]));
      } else {
        element(elementType.sectionStart, key);
        section(value);
        parts.push(Buffer.from([elementType.sectionEnd]));
      }
    }
  };
  section(message);
  return Buffer.concat(parts);
}

/** charon is the testbed's own child: what it sends is not distrusted beyond the buffer's own bounds. */
function decode(bytes: Buffer): ViciMessage {
  let at = 0;
  const key = () => {
    const length = bytes.readUInt8(at);
    at += 1 + length;
    return bytes.toString("utf8", at - length, at);
  };
  const text = () => {
    const length = bytes.readUInt16BE(at);
    at += 2 + length;
    return bytes.toString("utf8", at - length, at);
  };
  const list = () => {
    const items: string[] = [];
    for (; bytes.readUInt8(at++) === elementType.listItem; ) items.push(text());
    return items;
  };
  const section = (): ViciMessage => {
    const found: Record<string, ViciValue> = {};
    while (at < bytes.length) {
      const type = bytes.readUInt8(at++);
      if (type === elementType.sectionEnd) return found;
      const name = key();
      if (type === elementType.sectionStart) found[name] = section();
      else if (type === elementType.listStart) found[name] = list();
      else found[name] = text();
    }
    return found;
  };
  return section();
}

const isList = (value: ViciValue): value is readonly string[] => Array.isArray(value);

const packetType = { commandRequest: 0, commandResponse: 1 } as const;
const elementType = {
  sectionStart: 1,
  sectionEnd: 2,
  keyValue: 3,
  listStart: 4,
  listItem: 5,
  listEnd: 6,
} as const;
