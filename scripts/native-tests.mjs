/**
 * Builds the native tests twice, optimised and with AddressSanitizer and UndefinedBehaviorSanitizer, runs both, and
 * ends with `N passed, N failed, N skipped`. Exits 1 when anything failed, including a test binary that died before it counted.
 *
 *   node scripts/native-tests.mjs [--release] [--asan] [--tsan] [--only FOLDER]
 *
 * Without a variant both of the first two run. --only takes a folder of native/test, for instance esp.
 */
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..");

const VARIANTS = {
  release: { directory: "build/native-tests", sanitize: "", label: "release" },
  asan: { directory: "build/native-tests-asan", sanitize: "address,undefined", label: "asan+ubsan" },
  tsan: { directory: "build/native-tests-tsan", sanitize: "thread", label: "tsan" },
};

/**
 * A sanitizer that finds something ends the process; leaks count, and no finding may be scrolled past. ASan's fake
 * stack is off: in GCC 13 it gives variables of alignas(64) only 32 (GCC bug 110027), which UBSan then reports.
 */
const SANITIZER_ENV = {
  ASAN_OPTIONS:
    "detect_stack_use_after_return=0:detect_leaks=1:strict_string_checks=1:check_initialization_order=1",
  UBSAN_OPTIONS: "print_stacktrace=1:halt_on_error=1",
  TSAN_OPTIONS: "halt_on_error=1:second_deadlock_stack=1",
};

async function main() {
  const { values } = parseArgs({
    options: {
      release: { type: "boolean" },
      asan: { type: "boolean" },
      tsan: { type: "boolean" },
      only: { type: "string" },
    },
  });
  const named = Object.keys(VARIANTS).filter((name) => values[name]);
  const names = named.length > 0 ? named : ["release", "asan"];

  let passed = 0;
  let failed = 0;
  let skipped = 0;
  for (const name of names) {
    const result = await runVariant(VARIANTS[name], values.only);
    passed += result.passed;
    failed += result.failed;
    skipped += result.skipped;
  }
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
}

/** Configures, builds and runs one variant; throws when it does not build. */
async function runVariant(variant, only) {
  const directory = join(ROOT, variant.directory);
  mkdirSync(directory, { recursive: true });
  console.log(`native tests (${variant.label}): building in ${variant.directory}`);
  await mustSucceed("cmake", [
    "-S",
    ROOT,
    "-B",
    directory,
    `-DCMAKE_BUILD_TYPE=${variant.sanitize === "" ? "Release" : "RelWithDebInfo"}`,
    "-DCULVERT_TESTS=ON",
    `-DCULVERT_SANITIZE=${variant.sanitize}`,
  ]);
  await mustSucceed("cmake", [
    "--build",
    directory,
    "--parallel",
    String(Math.min(availableParallelism(), 4)),
  ]);

  const filter = only === undefined ? [] : ["-R", `^${only}$`];
  const ctest = await run("ctest", ["--test-dir", directory, "--verbose", "--no-tests=error", ...filter], {
    env: { ...process.env, ...SANITIZER_ENV },
  });
  return summarise(variant, ctest);
}

/** Adds up what the binaries counted. One that ended without a count, or a count that ctest contradicts, is a failure. */
function summarise(variant, ctest) {
  const counts = [...ctest.output.matchAll(/^\d+: (\d+) passed, (\d+) failed, (\d+) skipped$/gm)];
  const binaries = ctest.output.match(/^ +Start +\d+: /gm)?.length ?? 0;
  const passed = counts.reduce((sum, [, count]) => sum + Number(count), 0);
  const counted = counts.reduce((sum, [, , count]) => sum + Number(count), 0);
  const skipped = counts.reduce((sum, [, , , count]) => sum + Number(count), 0);
  const uncounted = binaries - counts.length;
  const failed = counted + uncounted > 0 ? counted + uncounted : ctest.code === 0 ? 0 : 1;
  if (failed > 0) process.stdout.write(ctest.output);
  for (const [, line] of ctest.output.matchAll(/^\d+: (skip .*)$/gm)) console.log(line);
  console.log(`native tests (${variant.label}): ${passed} passed, ${failed} failed in ${binaries} binaries`);
  return { passed, failed, skipped };
}

async function mustSucceed(command, args) {
  const result = await run(command, args, {});
  if (result.code === 0) return;
  process.stdout.write(result.output);
  throw new Error(`${command} failed with exit code ${result.code}`);
}

/** Runs a command to its end and keeps what it said, on either stream. */
function run(command, args, options) {
  return new Promise((fulfil, reject) => {
    const child = spawn(command, args, { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"], ...options });
    let output = "";
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (output += chunk));
    child.on("error", (error) => {
      reject(
        error.code === "ENOENT"
          ? new Error(`${command} was not found: apt-get install cmake g++ make`)
          : error,
      );
    });
    child.on("close", (code, signal) =>
      fulfil({ code: code ?? 1, output: signal ? `${output}\n${signal}` : output }),
    );
  });
}

main().catch((error) => {
  console.error(`native tests: ${error.message}`);
  process.exitCode = 1;
});
