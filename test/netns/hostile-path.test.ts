import { expect, it } from "vitest";
import { pathSoak } from "../../testbed/path-soak.ts";
import { describeInNamespaces } from "./support.ts";

describeInNamespaces("two data planes over a path that damages, repeats, reorders and loses", [], () => {
  // A round of each kind at least: every weather, one to three workers, TCP and UDP, every kind of suite.
  // Ten minutes of it: npm run soak -- --minutes 10 --only path
  it("delivers no wrong byte, nothing twice, and every packet that is missing has its reason", async () => {
    const soak = await pathSoak(15, 5, 2.6);
    expect(soak.findings, soak.lines.join("\n")).toBe(0);
    expect(soak.rounds).toBeGreaterThanOrEqual(5);
    expect(soak.delivered).toBeGreaterThan(1000);
  }, 900_000);
});
