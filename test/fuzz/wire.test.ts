import { describe, expect, it } from "vitest";
import { pcapFiles, readPcap } from "./pcap.ts";
import { WireFuzzer } from "./wire-mutate.ts";
import { ikev1, ikev2 } from "./wire-targets.ts";

const captured = pcapFiles().flatMap((name) => readPcap(name).map((datagram) => datagram.ike));

describe.each([
  ["IKEv2", ikev2],
  ["IKEv1", ikev1],
] as const)("the %s decoder under mutation", (_, target) => {
  it.each([1, 2, 3])("throws nothing but WireError (seed %d)", (seed) => {
    const fuzzer = new WireFuzzer(target, seed, captured);
    fuzzer.run(5000);
    // Both outcomes are common: otherwise the mutations are too weak or too strong to test anything.
    expect(fuzzer.totals.decoded).toBeGreaterThan(500);
    expect(fuzzer.totals.refused).toBeGreaterThan(500);
  });
});
