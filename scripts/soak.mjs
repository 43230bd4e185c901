// `npm run soak -- --minutes N [--seed S] [--only NAME]`: fuzzers and simulations for as long as one likes.
// `npm run soak -- --lives N [--seed S] [--ikev1] [--trace]`: the long lives of seeds S to S + N - 1, on every core.
// TypeScript loops are the modules test/**/*-soak.ts that export `run(seconds, seed)` and throw on a finding; native
// ones are the libFuzzer targets of native/fuzz, built with ASan and UBSan. The time is shared equally.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { basename, join, relative } from "node:path";
import { parseArgs } from "node:util";
import { build, filesUnder, repository } from "./bootstrap.mjs";
import { BootstrapError, command, step } from "./step.mjs";

export async function soak(args) {
  const { values } = parseArgs({
    args,
    options: {
      minutes: { type: "string", default: "10" },
      seed: { type: "string" },
      only: { type: "string" },
      lives: { type: "string" },
      trace: { type: "boolean", default: false },
      ikev1: { type: "boolean", default: false },
    },
  });
  if (values.lives !== undefined)
    return lives(Number(values.lives), Number(values.seed ?? 1), values.trace, values.ikev1);
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new BootstrapError(`--minutes ${values.minutes}: a number above 0`);
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
  const isWanted = (name) => values.only === undefined || name.includes(values.only);
  const jobs = [
    ...(await scriptJobs()).filter(({ name }) => isWanted(name)),
    ...(await fuzzerJobs(isWanted)),
  ];
  if (jobs.length === 0) throw new BootstrapError(`nothing to soak matches --only ${values.only}`);
  const seconds = Math.max(1, Math.round((minutes * 60) / jobs.length));
  process.stdout.write(`${jobs.length} loops, ${seconds} s each, seed ${seed}\n`);
  let findings = 0;
  for (const job of jobs) {
    const code = await job.run(seconds, seed);
    process.stdout.write(
      `${job.name}: ${code === 0 ? "nothing found" : `FOUND SOMETHING (exit code ${code})`}\n`,
    );
    if (code !== 0) findings += 1;
  }
  process.stdout.write(`${jobs.length - findings} passed, ${findings} failed, 0 skipped\n`);
  return findings === 0 ? 0 : 1;
}

/** Every core lives every n-th of the seeds. A life that fails says how to see it again. */
async function lives(count, seed, trace, ikev1) {
  if (!(Number.isInteger(count) && count > 0)) throw new BootstrapError(`--lives ${count}: a number above 0`);
  if (!Number.isInteger(seed)) throw new BootstrapError(`--seed ${seed}: a whole number`);
  await compileLoops();
  const script = join(build, "soak/test/fuzz/lives-soak.js");
  const code =
    "const [file, ...numbers] = process.argv.slice(1); const m = await import(file); process.exitCode = m.runLives(...numbers.map(Number));";
  const processes = Math.min(cpus().length, count);
  const codes = await Promise.all(
    Array.from({ length: processes }, (_, i) => {
      const numbers = [seed + i, seed + count, processes, trace ? 1 : 0, ikev1 ? 1 : 0].map(String);
      return foreground(process.execPath, [
        "--enable-source-maps",
        "--input-type=module",
        "-e",
        code,
        script,
        ...numbers,
      ]);
    }),
  );
  const failed = codes.filter((exitCode) => exitCode !== 0).length;
  process.stdout.write(failed === 0 ? `all ${count} lives went well\n` : "SOME LIVES FAILED: see above\n");
  return failed === 0 ? 0 : 1;
}

/** Compiles the loops and what they import into build/soak; one process runs one loop. */
async function scriptJobs() {
  const sources = await compileLoops();
  return sources.map((path) => {
    const script = join(build, "soak", relative(repository, path)).replace(/\.ts$/, ".js");
    const code =
      "const [file, s, seed] = process.argv.slice(1); const m = await import(file); await m.run(Number(s), Number(seed));";
    return {
      name: basename(path, ".ts"),
      run: (seconds, seed) =>
        foreground(process.execPath, [
          "--enable-source-maps",
          "--input-type=module",
          "-e",
          code,
          script,
          `${seconds}`,
          `${seed}`,
        ]),
    };
  });
}

async function compileLoops() {
  const sources = filesUnder(join(repository, "test")).filter((path) => path.endsWith("-soak.ts"));
  const config = join(build, "tsconfig.soak.json");
  const options = {
    rootDir: "..",
    outDir: "soak",
    sourceMap: true,
    incremental: false,
    typeRoots: ["../node_modules/@types"],
  };
  writeFileSync(
    config,
    JSON.stringify({
      extends: "../tsconfig.json",
      compilerOptions: options,
      include: ["../src"],
      files: sources.map((path) => relative(build, path)),
    }),
  );
  await step("compile the loops", () =>
    command(["node_modules/.bin/tsc", "-p", config], {
      cwd: repository,
      logFile: join(build, "logs/soak.log"),
    }),
  );
  return sources;
}

/** Every target is one executable `fuzz_<name>`; its corpus, when there is one, is native/fuzz/corpus/<name>. */
async function fuzzerJobs(isWanted) {
  if (!existsSync(join(repository, "native/fuzz/CMakeLists.txt"))) return [];
  const folder = join(build, "fuzz");
  const sources = readdirSync(join(repository, "native/fuzz"));
  const targets = sources.flatMap((name) => /^(fuzz_\w+)\.cc$/.exec(name)?.[1] ?? []).filter(isWanted);
  // They take minutes to build.
  if (targets.length === 0) return [];
  const flags = ["-DCMAKE_CXX_COMPILER=clang++", "-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DCULVERT_FUZZ=ON"];
  const logFile = join(build, "logs/fuzz.log");
  await step("build the fuzzers", async () => {
    const configure = [
      "cmake",
      "-S",
      repository,
      "-B",
      folder,
      ...flags,
      "-DCULVERT_SANITIZE=address,undefined",
    ];
    await command(configure, { cwd: repository, logFile });
    const compile = ["cmake", "--build", folder, "--parallel", `${cpus().length}`, "--target", ...targets];
    await command(compile, { cwd: repository, logFile });
  });
  const binaries = targets.map((name) => join(folder, "native/fuzz", name));
  return binaries.map((binary) => {
    const found = join(folder, "corpus", basename(binary));
    const seeds = join(repository, "native/fuzz/corpus", basename(binary).replace("fuzz_", ""));
    mkdirSync(found, { recursive: true });
    return {
      name: basename(binary),
      run: (seconds, seed) => {
        const limits = [
          `-max_total_time=${seconds}`,
          `-seed=${seed}`,
          `-artifact_prefix=${found}-`,
          "-verbosity=0",
          "-print_final_stats=1",
        ];
        return foreground(binary, [...limits, found, ...(existsSync(seeds) ? [seeds] : [])]);
      },
    };
  });
}

function foreground(program, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: repository, stdio: "inherit" });
    child.on("error", reject);
    child.on("close", (code) => resolve(code ?? -1));
  });
}
