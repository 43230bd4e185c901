/**
 * What a connection may say when it speaks IKEv1: which algorithms have a number there, what belongs to IKEv2 alone, and
 * what is weak about it whatever the algorithms are. With `ike.version: ikev1` everything written has to exist there;
 * with `auto` what does not is left to IKEv2, as long as something remains.
 */
import {
  encryptionKeyword,
  formatProposal,
  groupKeyword,
  ikev1EncryptionByEncr,
  ikev1Groups,
  ikev1HashByInteg,
  integrityKeyword,
  type ParsedProposal,
  type ProposalUse,
  parseProposal,
  prfKeyword,
} from "../registry/index.ts";
import { espDefaults, ikeDefaults, ikev1EspDefaults, ikev1IkeDefaults } from "./defaults.ts";
import type { Path } from "./problem.ts";
import type { Partly, Report } from "./read.ts";
import { type Connection, definedItems, peersOf } from "./rules.ts";
import type { FileConfig } from "./schema.ts";
import type { Warn } from "./warnings.ts";

/** A proposal as IKEv1 has it. */
export interface Ikev1Part {
  /** undefined: of some kind of algorithm nothing is left. */
  readonly proposal: ParsedProposal | undefined;
  /** Keywords that IKEv1 does not have, or not here. */
  readonly missing: readonly string[];
}

/** RFC 2409 has one hash for the integrity and the PRF of phase 1, no AEAD and no counter mode there. */
export function ikev1Part(parsed: ParsedProposal, use: ProposalUse): Ikev1Part {
  const missing: string[] = [];
  const keep = <T>(list: readonly T[], has: (item: T) => boolean, word: (item: T) => string): T[] =>
    list.filter((item) => has(item) || void missing.push(word(item)));

  const encryption = keep(
    parsed.encryption,
    ({ id }) => {
      const row = ikev1EncryptionByEncr.get(id);
      return use === "esp" ? row !== undefined : row?.phase1 !== undefined;
    },
    ({ id, keyBits }) => encryptionKeyword(id, keyBits),
  );
  const hashed = (id: number) => {
    const row = ikev1HashByInteg.get(id);
    return row !== undefined && (use === "esp" || parsed.prf.includes(row.prf));
  };
  const integrity = keep(parsed.integrity, hashed, integrityKeyword);
  const hashes = integrity.map((id) => ikev1HashByInteg.get(id)!.prf);
  const prf = keep(parsed.prf, (id) => hashes.includes(id), prfKeyword);
  const groups = keep(parsed.groups, (id) => ikev1Groups.has(id), groupKeyword);
  const required = parsed.additionalKeyExchanges.filter(({ methods }) => !methods.includes(0));
  if (parsed.additionalKeyExchanges.length > 0) missing.push("ke1_… to ke7_…");

  const gone = [
    [parsed.encryption, encryption],
    [parsed.integrity, integrity],
    [parsed.prf, prf],
    [parsed.groups, groups],
  ].some(([before, after]) => before!.length > 0 && after!.length === 0);
  if (gone || required.length > 0) return { proposal: undefined, missing };
  if (missing.length === 0) return { proposal: parsed, missing };
  // The PRF goes without saying: it is the hash of the integrity keyword.
  const text = formatProposal({ encryption, integrity, prf: [], groups, esn: parsed.esn });
  return { proposal: parseProposal(text, use), missing };
}

/** What is offered where the file says nothing. `auto`: what either version has, the newer first. */
export function defaultProposals(version: "ikev1" | "ikev2" | "auto", use: ProposalUse): ParsedProposal[] {
  const current = use === "ike" ? ikeDefaults : espDefaults;
  const old = use === "ike" ? ikev1IkeDefaults : ikev1EspDefaults;
  const list = version === "ikev1" ? old : version === "ikev2" ? current : [...current, ...old];
  return list.map((text) => parseProposal(text, use));
}

// ── Rules ──────────────────────────────────────────────────────────────────────────────────────────────────────

export function checkIkev1(at: Path, connection: Connection, report: Report): void {
  const { ike, ipsec } = connection;
  if (ike?.version !== "ikev1" && ike?.version !== "auto") return;
  checkProposals([...at, "ike", "proposals"], ike.proposals, "ike", ike.version, report);
  checkProposals([...at, "ipsec", "proposals"], ipsec?.proposals, "esp", ike.version, report);
  if (ike.version === "auto") {
    if (ike.ppk?.required === true)
      report(
        [...at, "ike", "ppk", "required"],
        "true",
        "false, or ike.version: ikev2: IKEv1, which auto allows, has no postquantum preshared keys",
      );
    return;
  }
  if (ike.ppk !== undefined)
    report([...at, "ike", "ppk"], undefined, "no ppk, because ike.version is ikev1 (RFC 8784 is IKEv2's)");
  if (ike.childless === "force")
    report(
      [...at, "ike", "childless"],
      "force",
      "allow or never, because ike.version is ikev1 (RFC 6023 is IKEv2's; here each IPsec SA has its own PFS)",
    );
  if (ipsec?.perSubnetPair === false)
    report(
      [...at, "ipsec", "perSubnetPair"],
      "false",
      "auto or true, because ike.version is ikev1, where an IPsec SA carries one pair",
    );
}

/** `proposals`: undefined for the defaults, which are sound. */
function checkProposals(
  at: Path,
  proposals: readonly (ParsedProposal | undefined)[] | undefined,
  use: ProposalUse,
  version: "ikev1" | "auto",
  report: Report,
): void {
  // What could not be read may be the one that would do.
  if (!proposals || proposals.includes(undefined)) return;
  const parts = definedItems(proposals).map((parsed) => ikev1Part(parsed, use));
  const [example] = use === "ike" ? ikev1IkeDefaults : ikev1EspDefaults;
  if (version === "auto") {
    const rule = `at least one proposal for IKEv1 too, such as ${example}, or ike.version: ikev2: auto answers both versions`;
    if (parts.every(({ proposal }) => !proposal)) report(at, listed(proposals), rule);
    return;
  }
  for (const [i, { proposal, missing }] of parts.entries()) {
    if (proposal && missing.length === 0) continue;
    const lacks = `IKEv1 has no ${missing.join(", ")} ${use === "ike" ? "in its first phase" : "for ESP"}`;
    report([...at, i], proposals[i]!.text, `${proposal?.text ?? `a proposal such as ${example}`} (${lacks})`);
  }
}

const listed = (proposals: readonly (ParsedProposal | undefined)[]): string =>
  proposals.map((p) => p?.text).join(" ");

// ── What is weak about it ──────────────────────────────────────────────────────────────────────────────────────

/** Keyword and reason, as of weak algorithms. */
export const versionWeakness = { keyword: "ikev1", reason: "IKEv1 is deprecated (RFC 9395)" } as const;
export const aggressiveWeakness = {
  keyword: "aggressive",
  reason:
    "aggressive mode shows whoever asks a hash of the pre-shared key: it can be guessed offline, so make it long and random",
} as const;

/** Those of the version itself. */
export function weaknessesOf(ike: {
  readonly version?: string | undefined;
  readonly mode?: string | undefined;
}) {
  if (ike.version !== "ikev1" && ike.version !== "auto") return [];
  return ike.mode === "aggressive" ? [versionWeakness, aggressiveWeakness] : [versionWeakness];
}

export function warnIkev1(at: Path, connection: Connection, file: Partly<FileConfig>, warn: Warn): void {
  const { ike } = connection;
  for (const { keyword, reason } of weaknessesOf(ike ?? {}))
    warn([...at, "ike", keyword === "aggressive" ? "mode" : "version"], `weak: ${keyword}: ${reason}`);
  if (ike?.version !== "ikev1" && ike?.version !== "auto") return;
  if (ike.mode !== "main" || !peersOf(connection, file).some(({ kind }) => kind === "any")) return;
  warn(
    [...at, "ike", "mode"],
    "in main mode the key is chosen by the peer's address before it says who it is: every peer that calls from anywhere shares this key",
  );
}
