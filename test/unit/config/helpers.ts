import { formatProblem, type ParsedConfig, type ParseInput, parseConfig } from "../../../src/config/index.ts";
import type { Random } from "../../../src/core/random.ts";

/** Counts up: every byte string differs, and each run gives the same. */
export function countingRandom(): Random {
  let next = 1;
  return { bytes: (length) => Uint8Array.from({ length }, () => next++ * 37) };
}

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

export function input(text: string, more: Partial<ParseInput> = {}): ParseInput {
  return {
    text,
    file: "culvert.yaml",
    fileMode: 0o600,
    readSecret: (path) => {
      const text = path.endsWith(".ppk") ? "0123456789abcdef".repeat(4) : "a key of twenty letters";
      return { ok: true, bytes: bytes(`${text}\n`), mode: 0o600 };
    },
    random: countingRandom(),
    ...more,
  };
}

/** The configuration; throws with every problem if there is one. */
export function load(text: string, more: Partial<ParseInput> = {}): ParsedConfig {
  const result = parseConfig(input(text, more));
  if (!result.ok) throw new Error(result.error.map(formatProblem).join("\n"));
  return result.value;
}

/** The problems as they are printed; none when the text is a good configuration. */
export function problems(text: string, more: Partial<ParseInput> = {}): readonly string[] {
  const result = parseConfig(input(text, more));
  return result.ok ? [] : result.error.map(formatProblem);
}

/** A file in which `connection` holds more keys of the one connection, and `rest` further top-level keys. */
export function file(parts: {
  readonly gateway?: string;
  readonly customerGateways?: string;
  readonly connection?: string;
  readonly rest?: string;
}): string {
  return `gateway:
  addresses: [192.0.2.1, "2001:db8::1"]
${indent(parts.gateway ?? "name: hq", 2)}
customerGateways:
  branch: {address: 198.51.100.7}
  depot: {address: 198.51.100.8, asn: 65010}
  roaming: {address: any}
${indent(parts.customerGateways ?? "", 2)}
connections:
  hq-branch:
    psk: {file: psk/branch}
${indent(parts.connection ?? "customerGateway: branch", 4)}
${parts.rest ?? ""}
`;
}

export function indent(text: string, by: number): string {
  return text
    .split("\n")
    .map((line) => (line === "" ? "" : " ".repeat(by) + line))
    .join("\n");
}
