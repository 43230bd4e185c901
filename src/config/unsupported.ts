/**
 * What the file can say and this build cannot do yet: refused at load, so that nothing is accepted that would fail,
 * or silently not happen, at run time. A feature that arrives deletes its row. Algorithms say for themselves whether
 * they are implemented (`src/registry/algorithms.ts`).
 */

import type { Path } from "./problem.ts";
import type { Partly } from "./read.ts";
import type { FileConfig, FileConnection } from "./schema.ts";

export interface Unsupported {
  /** From the connection, or from the top of the file. */
  readonly path: Path;
  readonly found: string | undefined;
  readonly rule: string;
}

interface Row<T> {
  /** As `docs/configuration.md` lists it. */
  readonly key: string;
  readonly find: (value: T) => readonly Unsupported[];
}

export const unsupportedInConnection: readonly Row<Partly<FileConnection>>[] = [
  { key: "ike.proposals", find: ({ ike }) => algorithms(["ike", "proposals"], ike?.proposals) },
  { key: "ipsec.proposals", find: ({ ipsec }) => algorithms(["ipsec", "proposals"], ipsec?.proposals) },
  {
    key: "healthCheck.enabled",
    find: ({ healthCheck }) => enabled(["healthCheck", "enabled"], healthCheck?.enabled, "health checks"),
  },
  { key: "bgp.enabled", find: ({ bgp }) => enabled(["bgp", "enabled"], bgp?.enabled, "BGP") },
];

export const unsupportedInFile: readonly Row<Partly<FileConfig>>[] = [
  {
    key: "routes.policy",
    find: ({ routes }) =>
      (routes?.policy ?? []).map((_route, i) => ({
        path: ["routes", "policy", i],
        found: undefined,
        rule: "no policy routes (this build has none; protected-data-flows makes its own)",
      })),
  },
];

function enabled(path: Path, value: boolean | undefined, what: string): readonly Unsupported[] {
  return value === true ? [{ path, found: "true", rule: `false (this build has no ${what})` }] : [];
}

function algorithms(
  path: Path,
  proposals: Partly<FileConnection>["ike"] extends infer I
    ? I extends { readonly proposals?: infer P }
      ? P
      : never
    : never,
): readonly Unsupported[] {
  return (proposals ?? []).flatMap((proposal, i) => {
    if (proposal === undefined || proposal.implemented) return [];
    const rule = `algorithms of this build; it does not have ${proposal.unimplemented.join(", ")}`;
    return [{ path: [...path, i], found: proposal.text, rule }];
  });
}
