/** The decoders of both versions under mutation for as long as asked: `npm run soak -- --only wire`. */
import { pcapFiles, readPcap } from "./pcap.ts";
import { WireFuzzer } from "./wire-mutate.ts";
import { ikev1, ikev2 } from "./wire-targets.ts";

/**
 * Damages messages for `seconds`, starting from `seed`; throws on the first finding, with the input and the seed.
 * Says at the end how much was done.
 */
export function run(seconds: number, seed: number): void {
  const captured = pcapFiles().flatMap((name) => readPcap(name).map((datagram) => datagram.ike));
  const end = Date.now() + seconds * 1000;
  const totals = { executions: 0, decoded: 0, refused: 0, octets: 0, slowestMs: 0 };
  // A new corpus now and then: what accumulated in the old one is mostly rubbish.
  for (let round = seed; Date.now() < end; round++) {
    const fuzzer = new WireFuzzer(round % 2 === 0 ? ikev1 : ikev2, round, captured);
    for (let batch = 0; batch < 100 && Date.now() < end; batch++) {
      const start = performance.now();
      try {
        fuzzer.run(1000);
      } catch (error) {
        throw new Error(`seed ${round}: ${error instanceof Error ? error.message : error}`, { cause: error });
      }
      totals.slowestMs = Math.max(totals.slowestMs, performance.now() - start);
    }
    totals.executions += fuzzer.totals.executions;
    totals.decoded += fuzzer.totals.decoded;
    totals.refused += fuzzer.totals.refused;
    totals.octets += fuzzer.totals.octets;
  }
  const { executions, decoded, refused, octets, slowestMs } = totals;
  console.log(
    `${executions} messages (${octets} octets): ${decoded} decoded, ${refused} refused; slowest 1000: ${slowestMs.toFixed(0)} ms`,
  );
}
