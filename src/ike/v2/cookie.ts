import { compareBytes, type IpAddress } from "../../core/address.ts";
import type { Random } from "../../core/random.ts";
import type { Instant } from "../../core/time.ts";
import { constantTimeEqual, hmac } from "../../crypto/index.ts";
import { ikeSpiBytes } from "../../wire/index.ts";

interface CookieSecret {
  readonly version: number;
  readonly key: Uint8Array;
  readonly since: Instant;
}

/**
 * Stateless cookies (RFC 7296 §2.6): whoever returns one has received what we sent to its address.
 *
 *   Cookie = <VersionIDofSecret> | HMAC-SHA-256(<secret>, Ni | IPi | SPIi)
 *
 * The secret changes after `secretMs`; cookies of the one before are still good, so a change never costs a peer its
 * attempt.
 */
export class CookieJar {
  readonly #random: Random;
  readonly #secretMs: number;
  #current: CookieSecret | undefined;
  #previous: CookieSecret | undefined;

  constructor(random: Random, secretMs: number) {
    this.#random = random;
    this.#secretMs = secretMs;
  }

  bake(now: Instant, Ni: Uint8Array, address: IpAddress, spiInitiator: bigint): Uint8Array {
    return cookieOf(this.#secretAt(now), Ni, address, spiInitiator);
  }

  isGood(
    now: Instant,
    cookie: Uint8Array,
    Ni: Uint8Array,
    address: IpAddress,
    spiInitiator: bigint,
  ): boolean {
    const current = this.#secretAt(now);
    return [current, this.#previous].some(
      (secret) => secret && constantTimeEqual(cookieOf(secret, Ni, address, spiInitiator), cookie),
    );
  }

  #secretAt(now: Instant): CookieSecret {
    const age = this.#current ? now - this.#current.since : Number.POSITIVE_INFINITY;
    if (this.#current && age < this.#secretMs) return this.#current;
    this.#previous?.key.fill(0);
    // A secret that is older than two periods vouches for nothing any more.
    this.#previous = age < 2 * this.#secretMs ? this.#current : undefined;
    const version = ((this.#current?.version ?? 0) + 1) & 0xff;
    this.#current = { version, key: this.#random.bytes(32), since: now };
    return this.#current;
  }
}

function cookieOf(
  { version, key }: CookieSecret,
  Ni: Uint8Array,
  address: IpAddress,
  spi: bigint,
): Uint8Array {
  const mac = hmac("sha256", key, Ni, address.bytes, ikeSpiBytes(spi));
  const cookie = new Uint8Array(1 + mac.length);
  cookie[0] = version;
  cookie.set(mac, 1);
  return cookie;
}

/** The lower of the two nonces of an exchange, by octets: the tie-breaker of RFC 7296 §2.8.1. */
export function lowerNonce(a: Uint8Array, b: Uint8Array): Uint8Array {
  return compareBytes(a, b) <= 0 ? a : b;
}
