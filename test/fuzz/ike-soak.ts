/** The IKEv2 state machine under fuzzing and bad weather for as long as asked: `npm run soak -- --only ike`. */
import { storm } from "../sim/storm.ts";
import { converse, type IkeFuzzTotals } from "./ike-mutate.ts";

/** Alternates damaged conversations and storms for `seconds`, from `seed`; throws on the first finding, with its seed. */
export function run(seconds: number, seed: number): void {
  const end = Date.now() + seconds * 1000;
  const totals: IkeFuzzTotals = { conversations: 0, messages: 0, established: 0 };
  let storms = 0;
  for (let round = seed; Date.now() < end; round++) {
    try {
      converse(round, totals);
      if (round % 4 === 0) {
        storm(round, round % 8 === 0 ? { fragmentIpBytes: 200 } : {});
        storms++;
      }
    } catch (error) {
      throw new Error(`seed ${round}: ${error instanceof Error ? error.message : error}`, { cause: error });
    }
  }
  const { conversations, messages, established } = totals;
  console.log(
    `${conversations} conversations, ${messages} messages, ${established} established; ${storms} storms`,
  );
}
