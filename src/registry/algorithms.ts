/** Finding algorithm rows by IANA transform ID. */
import type { AlgorithmRow, DhRow, EncryptionRow, IntegrityRow, KemRow, PrfRow } from "./algorithm-row.ts";
import { dh } from "./dh-rows.ts";
import { encr } from "./encryption-rows.ts";
import { integ, prf } from "./hmac-rows.ts";
import { kem } from "./kem-rows.ts";
import { EncryptionAlgorithm } from "./transforms.ts";

const byId = <R extends AlgorithmRow>(rows: Readonly<Record<string, R>>): ReadonlyMap<number, R> =>
  new Map(Object.values(rows).map((row) => [row.id, row]));

/** Rows by IANA transform ID. A missing row: an algorithm this program cannot name, so never choose it. */
export const encrById: ReadonlyMap<number, EncryptionRow> = byId<EncryptionRow>(encr);
export const integById: ReadonlyMap<number, IntegrityRow> = byId<IntegrityRow>(integ);
export const prfById: ReadonlyMap<number, PrfRow> = byId<PrfRow>(prf);
export const dhById: ReadonlyMap<number, DhRow> = byId<DhRow>(dh);
export const kemById: ReadonlyMap<number, KemRow> = byId<KemRow>(kem);

/** Key length of an encryption transform in bits; `keyBits` is its Key Length attribute. RangeError if impossible. */
export function encrKeyBits(row: EncryptionRow, keyBits: number | undefined): number {
  const bits = row.keyLengthAttribute ? keyBits : row.keyBits[0];
  if (bits === undefined || !row.keyBits.includes(bits) || (!row.keyLengthAttribute && keyBits !== undefined))
    throw new RangeError(`${EncryptionAlgorithm.nameOf(row.id)} has no key length ${keyBits}`);
  return bits;
}
