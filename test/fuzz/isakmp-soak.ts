/** The IKEv1 state machine under fuzzing for as long as asked: `npm run soak -- --only isakmp`. */
import { converseIsakmp, type IsakmpFuzzTotals } from "./isakmp-mutate.ts";

/** Damaged conversations for `seconds`, from `seed`; throws on the first finding, with its seed. */
export function run(seconds: number, seed: number): void {
  const end = Date.now() + seconds * 1000;
  const totals: IsakmpFuzzTotals = { conversations: 0, messages: 0, authenticated: 0, established: 0 };
  for (let round = seed; Date.now() < end; round++) {
    try {
      converseIsakmp(round, totals);
    } catch (error) {
      throw new Error(`seed ${round}: ${error instanceof Error ? error.message : error}`, { cause: error });
    }
  }
  const { conversations, messages, authenticated, established } = totals;
  console.log(
    `${conversations} conversations, ${messages} messages: ${authenticated} through phase 1, ${established} through quick mode`,
  );
}
