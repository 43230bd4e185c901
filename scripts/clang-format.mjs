/**
 * Formats the C++ sources, or says which ones are not formatted.
 *
 *   node scripts/clang-format.mjs [--check | --write]
 *
 * --check is the default: lists files that differ from .clang-format and exits 1 when there are any.
 */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const FOLDERS = ["native", "bench/native"];

function main() {
  const { values } = parseArgs({ options: { check: { type: "boolean" }, write: { type: "boolean" } } });
  const files = FOLDERS.flatMap((folder) => sources(join(ROOT, folder)));
  const args = values.write ? ["-i"] : ["--dry-run", "-Werror", "--ferror-limit=1"];
  const result = spawnSync("clang-format", [...args, ...files], { encoding: "utf8", maxBuffer: 1 << 26 });
  if (result.error) {
    const missing = result.error.code === "ENOENT";
    throw new Error(
      missing ? "clang-format was not found: apt-get install clang-format" : result.error.message,
    );
  }
  if (result.status === 0) {
    console.log(`clang-format: ${files.length} files ${values.write ? "formatted" : "are formatted"}`);
    return;
  }
  const unformatted = new Set(
    [...result.stderr.matchAll(/^(.+?):\d+:\d+: error:/gm)].map(([, file]) => file),
  );
  for (const file of unformatted) console.error(`not formatted: ${relative(ROOT, file)}`);
  if (unformatted.size === 0) process.stderr.write(result.stderr);
  console.error("clang-format: run `node scripts/clang-format.mjs --write`");
  process.exitCode = 1;
}

/** Every .h and .cc under a folder, sorted, so that two runs say the same. */
function sources(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.(h|cc)$/.test(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

try {
  main();
} catch (error) {
  console.error(`clang-format: ${error.message}`);
  process.exitCode = 1;
}
