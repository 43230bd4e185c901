import { type Random, randomBelow } from "../core/random.ts";

/**
 * Inbound ESP SPIs: random, unique, 256 to 2^32 − 1 (RFC 4303 §2.1 reserves 0 to 255). The low bits name the worker
 * that owns the SA, because the kernel steers packets by them: worker = spi & (nextPow2(workers) − 1). Workers take
 * turns so that SAs spread evenly.
 */
export class SpiAllocator {
  readonly #random: Random;
  readonly #workers: number;
  readonly #mask: number;
  readonly #inUse = new Set<number>();
  #nextWorker = 0;

  /** `workers`: 1 to 256. */
  constructor(random: Random, workers: number) {
    if (!Number.isInteger(workers) || workers < 1 || workers > 256)
      throw new RangeError(`workers is 1 to 256, not ${workers}`);
    this.#random = random;
    this.#workers = workers;
    this.#mask = 2 ** Math.ceil(Math.log2(workers)) - 1;
  }

  allocate(): number {
    const worker = this.#nextWorker;
    this.#nextWorker = (worker + 1) % this.#workers;
    for (;;) {
      const spi = ((randomBelow(this.#random, 2 ** 32) & ~this.#mask) | worker) >>> 0;
      if (spi < 256 || this.#inUse.has(spi)) continue;
      this.#inUse.add(spi);
      return spi;
    }
  }

  /** The SPI may be given out again. */
  release(spi: number): void {
    this.#inUse.delete(spi);
  }

  get inUse(): number {
    return this.#inUse.size;
  }
}
