import { readFileSync } from "node:fs";

export interface Group<T> {
  readonly tests: readonly T[];
  readonly keySize: number;
  readonly ivSize: number;
  readonly tagSize: number;
}

export interface Case {
  readonly tcId: number;
  readonly comment: string;
  readonly flags: readonly string[];
  readonly result: "valid" | "invalid" | "acceptable";
}

export const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replace(/\s/g, ""), "hex"));
export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

export function wycheproof<T>(file: string): readonly Group<T & Case>[] {
  const url = new URL(`../../vectors/wycheproof/${file}_test.json`, import.meta.url);
  const parsed = JSON.parse(readFileSync(url, "utf8"));
  const groups: readonly Group<T & Case>[] = parsed.testGroups;
  const count = groups.reduce((sum, group) => sum + group.tests.length, 0);
  if (count !== parsed.numberOfTests || count === 0) throw new Error(`${file} is not whole`);
  return groups;
}
