import type { Random } from "../core/random.ts";

/** The kernel's random source, through Node's Web Crypto. */
export const systemRandom: Random = {
  bytes(length) {
    const bytes = new Uint8Array(length);
    // One call fills at most 65,536 bytes.
    for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
    return bytes;
  },
};
