/**
 * Every algorithm of IKEv1 with strongSwan, for phase 1 and for phase 2, main and aggressive mode, both roles, with
 * packets through it. Each algorithm once in `npm test`; every encryption × hash × group of phase 1, and every
 * encryption × integrity × group (or none) of phase 2, with CULVERT_INTEROP=full in the environment.
 */
import { describe, expect, it } from "vitest";
import type { ConnectionStatus } from "../../src/gateway/contract.ts";
import {
  dhById,
  type EncryptionRow,
  encrById,
  ikev1Encryption,
  ikev1Groups,
  ikev1Hashes,
  integById,
} from "../../src/registry/index.ts";
import { ManyTunnels, type Tunnel } from "./many-tunnels.ts";
import { describeInNamespaces } from "./support.ts";

const groups = [...ikev1Groups].map((id) => dhById.get(id)!.keywords[0]!);
const hashes = ikev1Hashes.map(({ integ }) => integById.get(integ)!.keywords[0]!);
const ciphers = ikev1Encryption.map(({ encr, phase1 }) => {
  const row: EncryptionRow = encrById.get(encr)!;
  return { words: Object.keys(row.keywords), aead: row.mode === "aead", phase1: phase1 !== undefined };
});

/** Every encryption with what authenticates it. */
const ike = ciphers
  .filter(({ phase1 }) => phase1)
  .flatMap(({ words }) => words.flatMap((word) => hashes.map((hash) => `${word}-${hash}`)));
const esp = ciphers.flatMap(({ words, aead }) =>
  words.flatMap((word) => (aead ? [word] : hashes.map((hash) => `${word}-${hash}`))),
);

/** The smallest list that has everything. */
const each = tunnels([
  ["des-md5-modp768", "des-md5-modp768", "des-sha1"],
  ["3des-sha1-modp1024", "3des-sha1-modp1024", "3des-md5"],
  ["aes128-sha256-modp1536", "aes128-sha256-modp1536", "aes128-sha1"],
  ["aes192-sha384-modp2048", "aes192-sha384-modp2048", "aes192-sha512"],
  ["aes256-sha512-modp3072", "aes256-sha512-modp3072", "aes256-sha256"],
  ["aes128-sha1-modp4096", "aes128gcm16-modp4096", "aes128gcm16"],
  ["aes256-sha256-modp2048s256", "aes192gcm16-modp2048s256", "aes192gcm16"],
  ["aes128-md5-ecp256", "aes256gcm16-ecp256", "aes256gcm16"],
  ["aes256-sha384-ecp384", "aes128ctr-sha256-ecp384", "aes192ctr-sha1"],
  ["3des-sha512-ecp521", "aes256ctr-sha384-ecp521", "null-sha256"],
]);

describe("the list of suites for IKEv1 with strongSwan", () => {
  const words = (suites: readonly string[]) => new Set(suites.flatMap((suite) => suite.split("-")));

  it("has every algorithm that IKEv1 has here", () => {
    const ofIke = words(each.map((tunnel) => tunnel.ike));
    const ofEsp = words(each.flatMap((tunnel) => tunnel.esp));
    const wanted = (suites: readonly string[]) => [...words(suites), ...groups];
    expect(wanted(ike).filter((word) => !ofIke.has(word))).toEqual([]);
    expect(wanted(esp).filter((word) => !ofEsp.has(word))).toEqual([]);
  });
});

const full = process.env["CULVERT_INTEROP"] === "full";

describeInNamespaces("culvert and strongSwan over IKEv1, with every algorithm", ["strongswan"], () => {
  it.each(batches(full ? product() : each))("$from to $to", async ({ batch }) => {
    const many = await ManyTunnels.start(batch);
    for (const role of ["responder", "initiator"] as const) {
      const side = role === "initiator" ? "culvert" : "strongSwan";
      const seen = await many.initiate(side, (found, tunnel) => complete(found, tunnel, role), 15_000);
      const missing = batch.filter((tunnel) => !complete(seen.get(tunnel.name)!, tunnel, role));
      expect(missing.map((tunnel) => [tunnel, role, summary(seen.get(tunnel.name)!)])).toEqual([]);
      await many.ping();
      if (role === "responder") await many.terminate();
    }
  });
});

/** Everything that was asked for is up, with the algorithms that were asked for. */
function complete(connection: ConnectionStatus, tunnel: Tunnel, role: string): boolean {
  const { ike: agreed, children } = connection.tunnels[0]!;
  const suites = new Set(children.map((child) => child.suite));
  const words = agreed?.suite.split("-") ?? [];
  return (
    connection.state === "up" &&
    agreed?.role === role &&
    tunnel.ike.split("-").every((word) => words.includes(word)) &&
    tunnel.esp.every((suite) => suites.has(suite))
  );
}

function summary({ state, tunnels: [tunnel], lastFailure }: ConnectionStatus): unknown {
  const { ike: agreed, children } = tunnel!;
  return { state, ike: agreed?.suite, esp: children.map(({ suite }) => suite), lastFailure };
}

function batches(all: readonly Tunnel[]) {
  const size = 50;
  return Array.from({ length: Math.ceil(all.length / size) }, (_, i) => {
    const batch = all.slice(i * size, (i + 1) * size);
    return { batch, from: batch[0]!.name, to: batch.at(-1)!.name };
  });
}

/** Each tunnel is a row of phase 1, with as many children as it takes to have every row of phase 2. */
function product(): Tunnel[] {
  const withGroups = (suites: readonly string[], suffixes: readonly string[]) =>
    suites.flatMap((suite) => suffixes.map((suffix) => `${suite}${suffix}`));
  const of = groups.map((group) => `-${group}`);
  const phase1 = withGroups(ike, of);
  const phase2 = withGroups(esp, [...of, ""]);
  return tunnels(phase1.map((row, i) => [row, ...phase2.filter((_, k) => k % phase1.length === i)]));
}

function tunnels(rows: readonly (readonly string[])[]): Tunnel[] {
  return rows.map(([row, ...children], i) => ({
    name: row!,
    mode: (i + Math.floor(i / groups.length)) % 2 === 0 ? "main" : "aggressive",
    ike: row!,
    esp: children,
  }));
}
