import { describe, expect, it } from "vitest";
import { chooseAmong } from "../../../src/ike/common/candidates.ts";
import type { PeerSettings } from "../../../src/ike/common/settings.ts";
import { choose, firstIkeSa, offer } from "../../../src/ike/v2/proposals.ts";
import { formatSuite, parseProposal } from "../../../src/registry/index.ts";

const ike = (...texts: string[]) => texts.map((text) => parseProposal(text, "ike"));
const peer = (id: string, ...texts: string[]) =>
  ({ id, ikeProposals: ike(...texts) }) as unknown as PeerSettings;

const modern = "aes256gcm16-prfsha256-x25519";
const old = "aes128-sha256-prfsha256-modp2048";
const candidates = [
  peer("modern 1", modern),
  peer("old", old),
  peer("both", modern, old),
  peer("modern 2", modern),
  peer("other", "aes128gcm16-prfsha256-ecp256"),
];

function chosen(among: readonly PeerSettings[], ...texts: string[]) {
  const offered = offer(firstIkeSa, ike(...texts));
  const choice = chooseAmong(among, (proposals) => choose(firstIkeSa, proposals, offered));
  if ("mismatch" in choice) return choice.mismatch.difference;
  return { suite: formatSuite(choice.chosen.suite), peers: choice.peers };
}

describe("the candidates that agree to an offer", () => {
  const ids = (...texts: string[]) => {
    const choice = chosen(candidates, ...texts);
    return typeof choice === "string" ? choice : [choice.suite, ...choice.peers.map(({ id }) => id)];
  };

  it("are those that choose what the first that can agree does, in their order", () => {
    expect(ids(modern)).toEqual([modern, "modern 1", "both", "modern 2"]);
    expect(ids(modern, old)).toEqual([modern, "modern 1", "both", "modern 2"]);
    expect(ids(old)).toEqual([old, "old", "both"]);
  });

  it("are the same array for the same choice, so that what is derived from it can be kept", () => {
    const peers = () => (chosen(candidates, modern) as { readonly peers: readonly PeerSettings[] }).peers;
    expect(peers()).toBe(peers());
    const alike = candidates.filter(({ id }) => id.startsWith("modern"));
    expect(chosen(alike, modern)).toEqual({ suite: modern, peers: alike });
  });

  it("may be none", () => {
    expect(ids("aes256-sha384-ecp384")).toMatch(/\S/);
    expect(chosen([], modern)).toBe("no connection");
  });
});
