// The system packages: what each set holds, what is missing, and how to get it.
// A row is one requirement. `debian` lists alternatives, the first that the archive knows is taken; `probe` finds the
// same thing on a distribution without dpkg; `elsewhere` is what Fedora and Arch call it.
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BootstrapError, capture, command, step } from "./step.mjs";

const sets = {
  base: [
    row(["cmake"], { command: "cmake" }, "cmake"),
    row(["g++"], { command: "g++" }, "gcc-c++ / gcc"),
    row(["make"], { command: "make" }, "make"),
    // Elsewhere the portable backend does the work.
    ...(process.arch === "x64"
      ? [row(["libipsec-mb-dev"], { header: "intel-ipsec-mb.h" }, "intel-ipsec-mb-devel / intel-ipsec-mb")]
      : []),
    row(["nettle-dev"], { header: "nettle/gcm.h" }, "nettle-devel / nettle"),
    row(["libmnl-dev"], { header: "libmnl/libmnl.h" }, "libmnl-devel / libmnl"),
    row(["iproute2"], { command: "ip" }, "iproute / iproute2"),
    row(["util-linux"], { command: "setpriv" }, "util-linux"),
  ],
  traffic: [
    row(["iperf3"], { command: "iperf3" }, "iperf3"),
    row(["iputils-ping"], { command: "ping" }, "iputils"),
    row(["nftables"], { command: "nft" }, "nftables"),
    row(["procps"], { command: "sysctl" }, "procps-ng"),
  ],
  strongswan: [
    row(["charon-systemd"], { file: "/usr/sbin/charon-systemd" }, "strongswan"),
    row(["strongswan-swanctl"], { file: "/usr/sbin/swanctl" }, "strongswan"),
    row(
      ["libcharon-extra-plugins"],
      { file: "/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so" },
      "strongswan-libipsec / strongswan",
    ),
    row(
      ["libstrongswan-standard-plugins"],
      { file: "/usr/lib/ipsec/plugins/libstrongswan-openssl.so" },
      "strongswan",
    ),
    row(
      ["libstrongswan-extra-plugins"],
      { file: "/usr/lib/ipsec/plugins/libstrongswan-curve25519.so" },
      "strongswan",
    ),
  ],
  check: [
    row(["clang"], { command: "clang++" }, "clang"),
    // Each release formats a little differently: 14 is the one that the sources are formatted with.
    row(["clang-format-14", "clang-format"], { command: "clang-format" }, "clang-tools-extra / clang"),
    row(["clang-tidy"], { command: "clang-tidy" }, "clang-tools-extra / clang"),
    // libFuzzer and the sanitizers: a package of its own on some releases, part of clang's on others.
    row(
      [14, 15, 16, 17, 18, 19, 20].map((n) => `libclang-rt-${n}-dev`),
      {},
      "compiler-rt",
      { ofClang: true },
    ),
    row(["python3"], { command: "python3" }, "python3"),
    row(["python3-scapy"], { command: "scapy" }, "python3-scapy / scapy"),
    // scapy's ESP knows no cipher without it.
    row(["python3-cryptography"], {}, "python3-cryptography / python-cryptography"),
    row(["ethtool"], { command: "ethtool" }, "ethtool"),
    row(["tshark"], { command: "tshark" }, "wireshark-cli"),
    row(["ike-scan"], { command: "ike-scan" }, "ike-scan"),
  ],
  rivals: [
    row(["wireguard-go"], { command: "wireguard-go" }, "wireguard-go"),
    row(["wireguard-tools"], { command: "wg" }, "wireguard-tools"),
    row(["openvpn"], { command: "openvpn" }, "openvpn"),
    row(["openssl"], { command: "openssl" }, "openssl"),
  ],
};

/**
 * Makes sure that the packages of `required` are there, and tries for those of `optional`. Installs as root on Debian
 * and its kin; otherwise throws with the exact command.
 */
export async function ensurePackages(required, optional, buildDirectory) {
  repairPolicy();
  const onDebian = existsSync("/usr/bin/dpkg-query") && existsSync("/usr/bin/apt-get");
  if (!onDebian) return ensureElsewhere(required);
  const mandatory = required.flatMap((name) => sets[name]);
  const wished = optional.flatMap((name) => sets[name]);
  const installed = await installedPackages();
  const lacking = (rows) => rows.filter((r) => !r.debian.some((name) => installed.has(name)));
  if (lacking(mandatory).length === 0 && lacking(wished).length === 0) return;

  const isRoot = process.getuid() === 0;
  let known = await resolve(lacking(mandatory), installed);
  const wanted = await resolve(lacking(wished), installed);
  if (!isRoot) {
    if (known.names.length === 0) return;
    throw new BootstrapError(`${needsRoot}\n\n  sudo ${installCommand(known.names).join(" ")}\n`);
  }
  const logFile = join(buildDirectory, "logs", "apt.log");
  if (known.unknown.length > 0 || wanted.unknown.length > 0) {
    await aptUpdate(logFile);
    known = await resolve(lacking(mandatory), installed);
    if (known.unknown.length > 0) throw new BootstrapError(notInArchive(known.unknown));
  }
  if (known.names.length > 0) await install(known.names, logFile);
  const extra = (await resolve(lacking(wished), installed)).names;
  if (extra.length > 0) {
    await install(extra, logFile).catch((error) => {
      process.stderr.write(`  going on without ${extra.join(", ")}: ${error.message.split("\n")[0]}\n`);
    });
  }
}

/** The Debian names of what `required` lacks here; none on another distribution, where `ensurePackages` tells. */
export async function missingPackages(required) {
  if (!existsSync("/usr/bin/dpkg-query")) return [];
  const installed = await installedPackages();
  const rows = required.flatMap((name) => sets[name]);
  return rows.filter((r) => !r.debian.some((name) => installed.has(name))).map((r) => r.debian[0]);
}

async function install(names, logFile) {
  await step(`Debian packages: ${names.join(" ")}`, async () => {
    const restore = keepServicesDown();
    const enabledBefore = await enabledUnits();
    try {
      const first = await capture(installCommand(names), { env: quiet });
      if (first.code !== 0) {
        // Usually an index older than the archive: the file that it names is gone.
        await capture(["apt-get", "update"], { env: quiet });
        await command(installCommand(names), { env: quiet, logFile });
      }
    } finally {
      restore();
    }
    // Our tests start their own strongSwan and OpenVPN; the host's must not take port 500 at the next boot.
    const fresh = (await enabledUnits()).filter((unit) => !enabledBefore.includes(unit));
    if (fresh.length > 0) await capture(["systemctl", "disable", ...fresh]);
  });
}

async function aptUpdate(logFile) {
  await step("Debian package lists", () =>
    command(["apt-get", "update"], {
      env: quiet,
      logFile,
      hint: "Is the network up, and /etc/apt/sources.list right?",
    }),
  );
}

/** For each row the first alternative that the archive offers; rows without one are `unknown`. */
async function resolve(rows, installed) {
  const names = [];
  const unknown = [];
  for (const r of rows) {
    let alternatives = r.debian;
    if (r.ofClang) {
      const major = await clangMajor(installed);
      if (major === undefined) continue;
      alternatives = [`libclang-rt-${major}-dev`];
    }
    const offered = await firstOffered(alternatives);
    if (offered !== undefined) names.push(offered);
    // Where the runtime is no package of its own, clang's own dependencies bring it.
    else if (!r.ofClang) unknown.push(alternatives[0]);
  }
  return { names, unknown };
}

async function firstOffered(names) {
  for (const name of names) {
    const { output } = await capture(["apt-cache", "policy", name], { env: quiet });
    if (/Candidate: (?!\(none\))\S/.test(output)) return name;
  }
  return undefined;
}

/** The major version of the `clang` package, installed or on offer. */
async function clangMajor(installed) {
  if (installed.clangMajor !== undefined) return installed.clangMajor;
  const { output } = await capture(["apt-cache", "policy", "clang"], { env: quiet });
  return /Candidate: (?:\d+:)?(\d+)/.exec(output)?.[1];
}

async function installedPackages() {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own format language.
  const { output } = await capture(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n"]);
  const names = new Set();
  for (const line of output.split("\n")) {
    if (line.startsWith("installed ")) names.add(line.slice("installed ".length));
  }
  return names;
}

/**
 * invoke-rc.d asks policy-rc.d whether a package may start its service: until `restore` is called, none may.
 * A policy of the host's own is put aside and put back.
 */
function keepServicesDown() {
  const before = existsSync(policyFile) ? readFileSync(policyFile) : undefined;
  if (before !== undefined) writeFileSync(savedPolicyFile, before, { mode: 0o755 });
  writeFileSync(policyFile, `#!/bin/sh\n${policyMark}\nexit 101\n`, { mode: 0o755 });
  const restore = () => repairPolicy();
  const onSignal = () => {
    restore();
    process.exit(130);
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return () => {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
    restore();
  };
}

/** Takes our policy away again, also one that a killed run has left. */
function repairPolicy() {
  if (!existsSync(policyFile) || !readFileSync(policyFile, "utf8").includes(policyMark)) return;
  if (existsSync(savedPolicyFile)) {
    writeFileSync(policyFile, readFileSync(savedPolicyFile), { mode: 0o755 });
    rmSync(savedPolicyFile);
  } else {
    rmSync(policyFile);
  }
}

async function enabledUnits() {
  if (!existsSync("/run/systemd/system")) return [];
  const list = [
    "systemctl",
    "list-unit-files",
    "--state=enabled",
    "--type=service",
    "--no-legend",
    "--plain",
  ];
  const { output } = await capture(list);
  const names = output.split("\n").map((line) => line.split(/\s+/)[0]);
  return names.filter((name) => /^(strongswan|ipsec|charon|openvpn|iperf3|wg-quick)/.test(name));
}

/** Another distribution: look for the things themselves and name what is not there. */
async function ensureElsewhere(required) {
  const missing = required.flatMap((name) => sets[name]).filter((r) => !present(r.probe));
  if (missing.length === 0) return;
  const rows = missing.map(
    (r) => `  ${describe(r.probe).padEnd(44)} ${r.debian[0].padEnd(32)} ${r.elsewhere}`,
  );
  throw new BootstrapError(
    "culvert installs what it needs on Debian and Ubuntu. Here, install these with your package manager:\n\n" +
      `  ${"what is missing".padEnd(44)} ${"Debian calls it".padEnd(32)} Fedora / Arch\n${rows.join("\n")}\n`,
  );
}

function present(probe) {
  if (probe.command !== undefined) {
    return (process.env.PATH ?? "").split(":").some((folder) => existsSync(join(folder, probe.command)));
  }
  if (probe.header !== undefined) {
    return ["/usr/include", "/usr/local/include"].some((folder) => existsSync(join(folder, probe.header)));
  }
  return probe.file === undefined || existsSync(probe.file);
}

function describe(probe) {
  if (probe.command !== undefined) return `the command ${probe.command}`;
  if (probe.header !== undefined) return `the header <${probe.header}>`;
  return `the file ${probe.file ?? ""}`;
}

function row(debian, probe, elsewhere, options = {}) {
  return { debian, probe, elsewhere, ofClang: options.ofClang === true };
}

function installCommand(names) {
  return ["apt-get", "install", "-y", "--no-install-recommends", ...names];
}

function notInArchive(names) {
  return (
    `the package lists of this host do not have: ${names.join(" ")}\n` +
    "On Ubuntu they are in the universe component: sudo add-apt-repository universe && sudo apt-get update"
  );
}

const quiet = { DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" };
const policyFile = "/usr/sbin/policy-rc.d";
const savedPolicyFile = "/usr/sbin/policy-rc.d.culvert-saved";
const policyMark = "# culvert: put here while its packages are installed; safe to delete";
const needsRoot = "culvert needs Debian packages that only root can install:";
