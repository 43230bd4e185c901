import { expect, it } from "vitest";
import { pathSoak } from "../../testbed/path-soak.ts";
import { describeInNamespaces } from "./support.ts";

describeInNamespaces("two data planes over a path that damages, repeats, reorders and loses", [], () => {
  // Six rounds: every weather, one to three workers, TCP and UDP, every kind of suite; `npm run soak` has ten minutes of it.
  it("delivers no wrong byte, nothing twice, and every packet that is missing has its reason", async () => {
    const soak = await pathSoak(17, 5, 2.6);
    expect(soak.findings, soak.lines.join("\n")).toBe(0);
    expect(soak.rounds).toBeGreaterThanOrEqual(4);
    expect(soak.delivered).toBeGreaterThan(1000);
  }, 900_000);
});
