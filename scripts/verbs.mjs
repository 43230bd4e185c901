// What each verb needs and what it runs. Progress goes to stderr: stdout belongs to the verb.
import { spawn } from "node:child_process";
import { BootstrapError, ensure, repository } from "./bootstrap.mjs";
import { missingPackages } from "./debian.mjs";
import { soak } from "./soak.mjs";
import { test } from "./test.mjs";

const verbs = {
  start: {
    packages: () => ["base"],
    run: (args) => node("dist/src/daemon/main.js", args, ["--single-threaded-gc"]),
  },
  demo: {
    needsRoot: () => true,
    packages: (args) => (wantsStrongSwan(args) ? ["base", "traffic", "strongswan"] : ["base", "traffic"]),
    run: (args) => node("dist/demo/main.js", args),
  },
  test: {
    packages: () => ["base", "traffic", "strongswan", "check"],
    run: test,
  },
  bench: {
    needsRoot: (args) => args[0] === "path",
    packages: (args) => (args[0] === "path" ? ["base", "traffic", "strongswan"] : ["base"]),
    optional: (args) => (args[0] === "path" ? ["rivals"] : []),
    run: (args) => node("dist/bench/main.js", args),
  },
  soak: {
    packages: () => ["base", "traffic", "strongswan", "check"],
    run: soak,
  },
};

/** Runs one verb; resolves with the exit code. */
export async function main([name, ...args]) {
  const verb = verbs[name];
  if (verb === undefined) {
    throw new BootstrapError(`unknown verb ${name}: npm run ${Object.keys(verbs).join("|")}`);
  }
  if (verb.needsRoot?.(args) && process.getuid() !== 0 && !args.includes("--help")) {
    const again = ["sudo", "npm", "run", name, ...(args.length > 0 ? ["--", ...args] : [])].join(" ");
    const missing = await missingPackages(verb.packages(args));
    const also = missing.length > 0 ? `, and installs these Debian packages: ${missing.join(" ")}` : "";
    throw new BootstrapError(
      `only root may make network namespaces and TUN devices:\n\n  ${again}\n\nIt makes them, removes them${also}.`,
    );
  }
  await ensure({ packages: verb.packages(args), optional: verb.optional ? verb.optional(args) : [] });
  return verb.run(args);
}

function wantsStrongSwan(args) {
  return args.some(
    (arg, i) => arg === "--peer=strongswan" || (arg === "--peer" && args[i + 1] === "strongswan"),
  );
}

/** Runs a built program in the foreground. The terminal's Ctrl-C reaches it directly; we wait for its clean end. */
function node(script, args, options = []) {
  // --pdeathsig: a kill -9 of this wrapper ends the program politely instead of orphaning it.
  const argv = ["--pdeathsig", "TERM", process.execPath, "--enable-source-maps", ...options, script, ...args];
  const child = spawn("setpriv", argv, { cwd: repository, stdio: "inherit" });
  process.on("SIGINT", () => {});
  for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve(code ?? (signal === "SIGINT" ? 130 : 143)));
  });
}
