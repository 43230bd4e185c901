/** `bench -- native`: builds and runs bench_esp and bench_lookup of bench/native, clocks per packet without I/O. */
import { cpus } from "node:os";
import { join } from "node:path";
import { repository } from "../testbed/culvert.ts";
import { must } from "../testbed/exec.ts";
import type { BenchReport } from "./main.ts";
import type { BenchOptions } from "./options.ts";

export async function benchNative(options: BenchOptions): Promise<BenchReport> {
  const folder = join(repository, "build/bench/native");
  process.stderr.write("  build bench_esp and bench_lookup\n");
  const configure = [
    "cmake",
    "-S",
    repository,
    "-B",
    folder,
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCULVERT_TESTS=ON",
  ];
  const limits = { timeoutMs: 600_000 };
  await must(configure, limits);
  const targets = ["--target", "bench_esp", "--target", "bench_lookup"];
  await must(["cmake", "--build", folder, ...targets, "--parallel", `${cpus().length}`], limits);
  process.stderr.write("  run bench_esp\n");
  const tool = join(folder, "bench/native/bench_esp");
  const only = options.only === undefined ? [] : ["--algorithm", options.only];
  const data: unknown = JSON.parse(await must([tool, "--json", ...only], limits));
  const esp = (await must([tool, ...only], limits)).trimEnd();
  // An algorithm's name says nothing about lookups.
  const lookup =
    options.only === undefined ? await must([join(folder, "bench/native/bench_lookup")], limits) : "";
  return { data, text: `\`\`\`\n${`${esp}\n\n${lookup}`.trimEnd()}\n\`\`\`` };
}
