/** A pair of OpenVPN in its point-to-point TLS mode, AES-128-GCM, between the two gateways. */
import { join } from "node:path";
import { must, type Program, run } from "./exec.ts";
import type { Testbed } from "./testbed.ts";
import type { Topology } from "./topology.ts";

export async function hasOpenVpn(): Promise<boolean> {
  const openvpn = await run(["openvpn", "--version"]).catch(() => undefined);
  const openssl = await run(["openssl", "version"]).catch(() => undefined);
  return /OpenVPN/.test(openvpn?.stdout ?? "") && openssl?.code === 0;
}

/** Brings both ends up with routes for the inner networks. Resolves with a function that ends both. */
export async function startOpenVpnPair(bed: Testbed, topology: Topology): Promise<() => Promise<void>> {
  const authority = await makeCertificates(bed);
  const { a, b } = topology;
  // 2.6 and newer try the kernel's data channel first; where the option is unknown there is none to disable.
  const help = (await run(["openvpn", "--help"])).stdout;
  const noKernel = help.includes("--disable-dco") ? ["--disable-dco"] : [];
  const ends = [
    { own: b, peer: a, role: "--tls-server", more: ["--dh", "none"], inner: ["10.9.0.2", "10.9.0.1"] },
    { own: a, peer: b, role: "--tls-client", more: [], inner: ["10.9.0.1", "10.9.0.2"] },
  ] as const;
  const programs: Program[] = [];
  for (const { own, peer, role, more, inner } of ends) {
    const files = ["--ca", authority.ca, "--cert", authority.certificate, "--key", authority.key];
    const argv = ["openvpn", "--dev", "tun0", "--dev-type", "tun", "--proto", "udp", "--topology", "p2p"];
    argv.push("--local", own.outerAddress, "--remote", peer.outerAddress, "--port", "1194", role, ...more);
    argv.push("--ifconfig", ...inner, "--route", peer.subnet.replace("/24", ""), "255.255.255.0");
    argv.push("--cipher", "AES-128-GCM", "--data-ciphers", "AES-128-GCM", "--fast-io", "--verb", "3");
    const program = bed.start(`openvpn ${own.outerAddress}`, [...argv, ...files, ...noKernel], {
      netns: own.gateway,
    });
    programs.push(program);
  }
  for (const program of programs) await program.waitForLine(/Initialization Sequence Completed/, 30_000);
  return async () => {
    for (const program of programs) await program.stop();
  };
}

/** One self-signed certificate that serves as authority and as both ends' own: a benchmark's, valid for a day. */
async function makeCertificates(bed: Testbed): Promise<{ ca: string; certificate: string; key: string }> {
  const key = join(bed.directory, "openvpn.key");
  const certificate = join(bed.directory, "openvpn.crt");
  await must([
    ...["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
    ...["-days", "1", "-subj", "/CN=bench", "-keyout", key, "-out", certificate],
  ]);
  return { ca: certificate, certificate, key };
}
