import { describe, expect, it } from "vitest";
import {
  type DhRow,
  dh,
  type EncryptionRow,
  encr,
  groupKeyword,
  type IntegrityRow,
  integ,
  type PrfRow,
  prf,
} from "../../src/registry/index.ts";
import { tunnelStatus } from "./simulation.ts";
import { expectUp, ikeSuite, twoSites } from "./two-sites.ts";

const encryptions: readonly EncryptionRow[] = Object.values(encr);
const integrities: readonly IntegrityRow[] = Object.values(integ);
const prfs: readonly PrfRow[] = Object.values(prf);
const groups: readonly DhRow[] = Object.values(dh);

const words = (rows: readonly EncryptionRow[]) => rows.flatMap((row) => Object.keys(row.keywords));
const withIntegrity = (rows: readonly EncryptionRow[]) =>
  words(rows).flatMap((word) => integrities.map((row) => `${word}-${row.keywords[0]}`));

/** Every cipher with every integrity algorithm and its PRF, every AEAD cipher with every PRF. */
const ikeSuites = [
  ...withIntegrity(encryptions.filter((row) => row.ike && row.mode !== "aead")),
  ...words(encryptions.filter((row) => row.ike && row.mode === "aead")).flatMap((word) =>
    prfs.map((row) => `${word}-${row.keywords[0]}`),
  ),
  // A PRF of its own beside an integrity algorithm.
  ...prfs.map((row) => `aes128-sha256-${row.keywords[0]}`),
];

const espSuites = [
  ...withIntegrity(encryptions.filter((row) => row.mode !== "aead")),
  ...words(encryptions.filter((row) => row.mode === "aead")),
];

describe("a tunnel comes up with every algorithm of the registry", () => {
  it("is a list without gaps", () => {
    expect(ikeSuites.length).toBe(8 * 5 + 4 * 5 + 5);
    expect(espSuites.length).toBe(9 * 5 + 4);
    for (const row of [...encryptions.filter((r) => r.ike), ...integrities, ...prfs, ...groups])
      expect(row.implemented.ike).toBe(true);
  });

  it.each(groups.map((row) => [groupKeyword(row.id)]))(
    "IKE: every encryption, integrity and PRF with %s",
    (group) => {
      for (const suite of ikeSuites.map((words) => `${words}-${group}`)) {
        const sites = twoSites({ both: { ike: [suite] } });
        sites.sim.start(sites.a, sites.b);
        sites.sim.run(1000);
        expectUp(sites);
        const agreed = ikeSuite(sites, sites.a);
        expect(agreed).toBe(ikeSuite(sites, sites.b));
        for (const word of suite.split("-")) expect(agreed?.split("-"), suite).toContain(word);
      }
    },
  );

  it("ESP: every encryption and integrity", () => {
    for (const suite of espSuites) {
      const sites = twoSites({ both: { esp: [suite] } });
      sites.sim.start(sites.a, sites.b);
      sites.sim.run(1000);
      expectUp(sites);
      expect(tunnelStatus(sites.sim, sites.a).children[0]?.suite).toBe(`${suite}-esn`);
    }
  });

  it.each(groups.map((row) => [groupKeyword(row.id)]))(
    "IKE SA and CHILD_SA are rekeyed, with perfect forward secrecy, with %s",
    (group) => {
      const sites = twoSites({
        both: { ike: [`aes256ctr-sha512-${group}`], esp: [`chacha20poly1305-${group}`] },
        a: { lifetimeSeconds: 300, ikeLifetimeSeconds: 500 },
      });
      const { sim, a, b } = sites;
      sim.start(a, b);
      sim.run(1000);
      expectUp(sites);
      const spis = () => [tunnelStatus(sim, a).ike?.spiInitiator, a.outbound[0]?.spi];
      const [ikeSpi, espSpi] = spis();
      sim.run(600_000);
      expectUp(sites);
      expect(spis()[0]).not.toBe(ikeSpi);
      expect(spis()[1]).not.toBe(espSpi);
      expect(tunnelStatus(sim, a).children[0]?.suite).toBe(`chacha20poly1305-${group}-esn`);
      expect(ikeSuite(sites, a)).toBe(ikeSuite(sites, b));
    },
  );
});
