import { readFileSync } from "node:fs";

/** culvert's version, from the package.json above this file, wherever it was built to. */
export function culvertVersion(): string {
  for (let up = "../"; up.length < 40; up += "../") {
    try {
      const manifest = JSON.parse(readFileSync(new URL(`${up}package.json`, import.meta.url), "utf8"));
      if (manifest.name === "culvert") return String(manifest.version);
    } catch {
      // Not in this directory: the next one up.
    }
  }
  return "unknown";
}
