/** Builds and runs native/soak: two data planes over a path that damages, repeats, reorders and loses. */
import { join } from "node:path";
import { repository } from "./culvert.ts";
import { must, run } from "./exec.ts";

export interface PathSoak {
  /** A line for each round, and for each finding what did not add up. */
  readonly lines: readonly string[];
  readonly rounds: number;
  /** Inner packets that came out of the tunnels. */
  readonly delivered: number;
  readonly bytes: number;
  /** Resident memory after the first rounds, and the most after any. */
  readonly warmKb: number;
  readonly mostKb: number;
  readonly findings: number;
}

/** Rounds of `roundSeconds` until `seconds` have passed; the seed decides the weather and the traffic. Needs root. */
export async function pathSoak(seconds: number, seed: number, roundSeconds: number): Promise<PathSoak> {
  const folder = join(repository, "build/native-tests");
  const variant = ["-DCMAKE_BUILD_TYPE=Release", "-DCULVERT_TESTS=ON", "-DCULVERT_SANITIZE="];
  await must(["cmake", "-S", repository, "-B", folder, ...variant]);
  await must(["cmake", "--build", folder, "--parallel", "2", "--target", "path_soak"], {
    timeoutMs: 600_000,
  });
  const argv = [join(folder, "native/soak/path_soak"), `${seconds}`, `${seed}`, `${roundSeconds}`];
  const { code, stdout, stderr } = await run(argv, { timeoutMs: seconds * 1000 + 60_000 });
  const lines = stdout.trimEnd().split("\n");
  const totals = lines.find((line) => line.startsWith('{"rounds":'));
  if (totals === undefined) throw new Error(`path_soak ended with ${code}: ${stderr}${lines.at(-1)}`);
  return { lines, ...(JSON.parse(totals) as Omit<PathSoak, "lines">) };
}
