// Brings a fresh clone to where a verb can run: Debian packages, npm packages, the native addon, the compiled
// TypeScript. Each step is skipped when nothing that it reads has changed (content hashes under build/stamps), so the
// second time costs a few hundred milliseconds.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensurePackages } from "./debian.mjs";
import { BootstrapError, command, step } from "./step.mjs";

export { BootstrapError };
export const repository = dirname(dirname(fileURLToPath(import.meta.url)));
export const build = join(repository, "build");

/** Installs and builds. `packages` and `optional` name sets of debian.mjs. */
export async function ensure({ packages, optional }) {
  mkdirSync(join(build, "stamps"), { recursive: true });
  const release = await lock();
  try {
    await ensurePackages(packages, optional, build);
    await ensureNpmPackages();
    await stamped("native", nativeInputs(), [addon], () =>
      step("native data plane (C++)", () =>
        command(["npm", "run", "build:native"], { cwd: repository, logFile: log("native") }),
      ),
    );
    await stamped("typescript", typescriptInputs(), [join(repository, "dist/src")], () =>
      step("TypeScript", () =>
        command(["npm", "run", "build:ts"], { cwd: repository, logFile: log("typescript") }),
      ),
    );
  } finally {
    release();
  }
}

/** Runs `work` unless `inputs` hash as they did when it last succeeded and `outputs` exist. */
export async function stamped(name, inputs, outputs, work) {
  const stamp = join(build, "stamps", name);
  const hash = hashFiles(inputs);
  if (read(stamp) === hash && outputs.every((path) => existsSync(path))) return;
  await work();
  // The inputs may have changed while it worked: the stamp says what it has read at the beginning.
  writeFileSync(stamp, hash);
}

/** `npm ci` unless node_modules holds what package-lock.json asks for. */
async function ensureNpmPackages() {
  if (npmPackagesMatch()) return;
  await step("npm packages", () =>
    command(["npm", "ci", "--no-audit", "--no-fund"], {
      cwd: repository,
      logFile: log("npm"),
      // npm says what is wrong first and explains its options after.
      lines: 80,
      hint: "Is the npm registry reachable from here (npm ping)?",
    }),
  );
}

/** npm writes what it has installed to node_modules/.package-lock.json: compared package by package. */
function npmPackagesMatch() {
  const installed = parse(read(join(repository, "node_modules/.package-lock.json")));
  const wanted = parse(read(join(repository, "package-lock.json")));
  if (wanted === undefined)
    throw new BootstrapError("package-lock.json is missing or damaged: git checkout it");
  if (installed === undefined) return false;
  return Object.entries(wanted.packages).every(([path, entry]) => {
    if (path === "") return true;
    const have = installed.packages[path];
    // Builds for other platforms are optional and stay away.
    if (have === undefined) return entry.optional === true;
    return have.version === entry.version && have.integrity === entry.integrity;
  });
}

function nativeInputs() {
  const folders = ["addon", "engine", "esp", "crypto", "route", "net", "base", "tables"];
  const files = folders.flatMap((folder) => filesUnder(join(repository, "native", folder)));
  return [...files, join(repository, "CMakeLists.txt"), join(repository, "package.json")];
}

function typescriptInputs() {
  const folders = ["src", "testbed", "demo", "bench"];
  const files = folders.flatMap((folder) => filesUnder(join(repository, folder)));
  const configs = ["tsconfig.json", "tsconfig.build.json", "package-lock.json"];
  return [
    ...files.filter((path) => /\.(ts|json)$/.test(path)),
    ...configs.map((name) => join(repository, name)),
  ];
}

function hashFiles(paths) {
  const hash = createHash("sha256");
  hash.update(process.versions.modules);
  for (const path of paths) {
    const bytes = readFileSync(path);
    hash.update(`${path.slice(repository.length)} ${bytes.length}\n`).update(bytes);
  }
  return hash.digest("hex");
}

export function filesUnder(folder) {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

/** One bootstrap at a time in this clone; a lock whose holder has died is taken over. */
async function lock() {
  const path = join(build, "bootstrap.lock");
  for (let waited = 0; ; waited += 1) {
    try {
      writeFileSync(path, `${process.pid}`, { flag: "wx" });
      break;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
      const holder = Number(read(path));
      if (!isRunning(holder)) rmSync(path, { force: true });
      else if (waited === 0)
        process.stderr.write(`  waiting for another culvert command (pid ${holder}) to build\n`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
  const release = () => rmSync(path, { force: true });
  process.on("exit", release);
  return () => {
    process.off("exit", release);
    release();
  };
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return pid > 0;
  } catch (error) {
    return error.code === "EPERM";
  }
}

function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function log(name) {
  return join(build, "logs", `${name}.log`);
}

const addon = join(build, "addon/Release/culvert.node");
