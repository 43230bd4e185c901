import { WireError } from "../../../src/core/errors.ts";
import type { IkeHeader } from "../../../src/wire/index.ts";

export const header: IkeHeader = {
  spiInitiator: 0x0102030405060708n,
  spiResponder: 0xf1f2f3f4f5f6f7f8n,
  exchangeType: 35,
  initiator: true,
  response: false,
  messageId: 7,
};

export const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replace(/\s/g, ""), "hex"));
export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** The WireError that `decode` throws; anything else it does fails the test. */
export function failure(decode: () => unknown): WireError {
  try {
    decode();
  } catch (error) {
    if (error instanceof WireError) return error;
    throw error;
  }
  throw new Error("it decoded");
}
