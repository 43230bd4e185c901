/** ` (did you mean X?)` for the nearest of `known`, or nothing when none is near. Case does not count as a mistake. */
export function suggestion(word: string, known: Iterable<string>): string {
  // Longer texts are no typing mistakes, and distance costs the product of the lengths.
  if (word.length > 64) return "";
  let best: { readonly name: string; readonly distance: number } | undefined;
  const allowed = Math.max(1, Math.floor(word.length / 3));
  for (const name of known) {
    if (Math.abs(name.length - word.length) > allowed) continue;
    const distance = editDistance(word.toLowerCase(), name.toLowerCase());
    if (distance <= allowed && (best === undefined || distance < best.distance)) best = { name, distance };
  }
  return best === undefined ? "" : ` (did you mean ${best.name}?)`;
}

/** Insertions, deletions, replacements and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let [before, previous] = [new Array<number>(0), Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let cost = Math.min(row[j - 1]! + 1, previous[j]! + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        cost = Math.min(cost, before[j - 2]! + 1);
      row.push(cost);
    }
    [before, previous] = [previous, row];
  }
  return previous[b.length]!;
}
