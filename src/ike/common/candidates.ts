/**
 * Which of the peers that may be calling can agree to what a first message offers. Thousands of peers may be behind few
 * different lists of proposals: each list is negotiated once, and what does not depend on the message is kept for as
 * long as the array of candidates lives.
 */
import type { Result } from "../../core/result.ts";
import type { IkeSuite } from "../../registry/index.ts";
import type { Mismatch } from "./failures.ts";
import type { PeerSettings } from "./settings.ts";

/** Candidates by their list of proposals, in the order of the first of each. */
interface Groups {
  readonly lists: readonly { readonly proposals: PeerSettings["ikeProposals"]; readonly key: string }[];
  /** Candidates that have one of some lists, by the numbers of the lists. */
  readonly subsets: Map<string, readonly PeerSettings[]>;
}

/**
 * The first candidate that can agree decides; whoever else would have chosen the same stays in the running. `choose`:
 * what is agreed with one of their lists.
 */
export function chooseAmong<Choice extends { readonly suite: IkeSuite }>(
  candidates: readonly PeerSettings[],
  choose: (proposals: PeerSettings["ikeProposals"]) => Result<Choice, Mismatch>,
): { readonly mismatch: Mismatch } | { readonly chosen: Choice; readonly peers: readonly PeerSettings[] } {
  const { lists, subsets } = groupsOf(candidates);
  let mismatch: Mismatch | undefined;
  let chosen: Choice | undefined;
  const agreeing: number[] = [];
  for (const [i, { proposals }] of lists.entries()) {
    const result = choose(proposals);
    if (!result.ok) {
      mismatch ??= result.error;
      continue;
    }
    chosen ??= result.value;
    if (chosen === result.value || sameSuite(chosen, result.value)) agreeing.push(i);
  }
  if (!chosen) return { mismatch: mismatch ?? { ours: [], theirs: [], difference: "no connection" } };
  if (agreeing.length === lists.length) return { chosen, peers: candidates };
  const name = agreeing.join();
  let peers = subsets.get(name);
  if (!peers) {
    const keys = new Set(agreeing.map((i) => lists[i]!.key));
    peers = candidates.filter(({ ikeProposals }) => keys.has(proposalsKey(ikeProposals)));
    // What is offered is the caller's choice: what is remembered of it is bounded.
    if (subsets.size >= maxSubsets) subsets.clear();
    subsets.set(name, peers);
  }
  return { chosen, peers };
}

const sameSuite = <C extends { readonly suite: IkeSuite }>(a: C, b: C): boolean =>
  JSON.stringify(a.suite) === JSON.stringify(b.suite);

function groupsOf(candidates: readonly PeerSettings[]): Groups {
  let groups = groupsByCandidates.get(candidates);
  if (!groups) {
    const lists = new Map(
      candidates.map(({ ikeProposals }) => {
        const key = proposalsKey(ikeProposals);
        return [key, { proposals: ikeProposals, key }];
      }),
    );
    groups = { lists: [...lists.values()], subsets: new Map() };
    groupsByCandidates.set(candidates, groups);
  }
  return groups;
}

function proposalsKey(proposals: PeerSettings["ikeProposals"]): string {
  let key = proposalKeys.get(proposals);
  if (key === undefined) {
    key = JSON.stringify(proposals);
    proposalKeys.set(proposals, key);
  }
  return key;
}

const groupsByCandidates = new WeakMap<readonly PeerSettings[], Groups>();
const proposalKeys = new WeakMap<PeerSettings["ikeProposals"], string>();
const maxSubsets = 16;
