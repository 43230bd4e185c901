// `npm test`: lint, native tests, vitest; live output, and one last line that sums all of it.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { build, repository } from "./bootstrap.mjs";

/** Runs everything, also after a failure, so that one run shows all of it. Resolves with the exit code. */
export async function test(args) {
  const total = { passed: 0, failed: 0, skipped: 0 };
  const suites = args.length > 0 ? [vitest] : [lint, native, vitest];
  for (const suite of suites) {
    const counts = await suite(args);
    for (const key of Object.keys(total)) total[key] += counts[key];
  }
  process.stdout.write(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
  return total.failed === 0 && total.passed > 0 ? 0 : 1;
}

/** Formatting, lint and types count as one test each. */
async function lint() {
  preferClangFormat14();
  const checks = [
    ["biome", ["node_modules/.bin/biome", "check", "--error-on-warnings", "."]],
    ["types", ["node_modules/.bin/tsc", "-p", "tsconfig.json", "--noEmit"]],
    ["clang-format", [process.execPath, "scripts/clang-format.mjs"]],
  ];
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const [name, argv] of checks) {
    heading(name);
    const { code } = await show(argv);
    counts[code === 0 ? "passed" : "failed"] += 1;
  }
  return counts;
}

/** Where the host's clang-format is a newer one, `clang-format` in our PATH is still the one of the sources. */
function preferClangFormat14() {
  const wanted = "/usr/bin/clang-format-14";
  if (!existsSync(wanted)) return;
  const folder = join(build, "bin");
  mkdirSync(folder, { recursive: true });
  rmSync(join(folder, "clang-format"), { force: true });
  symlinkSync(wanted, join(folder, "clang-format"));
  process.env.PATH = `${folder}:${process.env.PATH}`;
}

/** The native runner's last line has the same form as ours. */
async function native() {
  heading("native tests");
  const { code, output } = await show([process.execPath, "scripts/native-tests.mjs"]);
  const found = [...output.matchAll(/^(\d+) passed, (\d+) failed, (\d+) skipped$/gm)].at(-1);
  if (found === undefined) return { passed: 0, failed: 1, skipped: 0 };
  const [passed, failed, skipped] = found.slice(1).map(Number);
  return { passed, failed: failed === 0 && code !== 0 ? 1 : failed, skipped };
}

async function vitest(args) {
  heading("vitest");
  const report = join(build, "vitest.json");
  rmSync(report, { force: true });
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  const { code } = await show(["node_modules/.bin/vitest", "run", ...reporters, ...args]);
  if (!existsSync(report)) return { passed: 0, failed: 1, skipped: 0 };
  const json = JSON.parse(readFileSync(report, "utf8"));
  const failed = json.numFailedTests;
  return {
    passed: json.numPassedTests,
    // A file that does not load has no tests to fail, an unhandled error belongs to none: vitest's exit code tells.
    failed: failed === 0 && code !== 0 ? 1 : failed,
    skipped: json.numPendingTests + (json.numTodoTests ?? 0),
  };
}

/** Runs a command with its output shown live, and kept. */
function show(argv) {
  return new Promise((resolve) => {
    const child = spawn(argv[0], argv.slice(1), {
      cwd: repository,
      env: { ...process.env, ...(process.stdout.isTTY ? { FORCE_COLOR: "1" } : {}) },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const chunks = [];
    child.stdout.on("data", (chunk) => {
      chunks.push(chunk);
      process.stdout.write(chunk);
    });
    child.stderr.on("data", (chunk) => process.stderr.write(chunk));
    child.on("error", (error) => {
      process.stderr.write(`${argv[0]}: ${error.message}\n`);
      resolve({ code: -1, output: "" });
    });
    child.on("close", (code) =>
      resolve({ code: code ?? -1, output: Buffer.concat(chunks).toString("utf8") }),
    );
  });
}

function heading(text) {
  process.stdout.write(`\n== ${text}\n`);
}
