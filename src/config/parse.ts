/**
 * Text in, configuration or every problem out. Reads no file and no clock: secrets and randomness come in as
 * arguments. Nothing of a file that breaks a rule is used.
 */
import type { Random } from "../core/random.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Secret } from "../core/secret.ts";
import { buildConfig } from "./build.ts";
import { readDocument } from "./document.ts";
import { checkIkev1 } from "./ikev1.ts";
import type { Config, ConfigWarning } from "./model.ts";
import { readPpks } from "./ppk.ts";
import { type ConfigProblem, formatPath, type Path, Problems } from "./problem.ts";
import { generatePsk, pskFromFile, pskFromValue, pskRule, type SecretFile } from "./psk.ts";
import { type Findings, type Partly, readPartly } from "./read.ts";
import { type Connection, checkRules } from "./rules.ts";
import { configSchema, type FileConfig } from "./schema.ts";
import { unsupportedInConnection, unsupportedInFile } from "./unsupported.ts";
import { collectWarnings } from "./warnings.ts";

export interface ParseInput {
  readonly text: string;
  /** How messages call the file. */
  readonly file: string;
  /** Permission bits of the file, e.g. 0o600; undefined when unknown, and then it may hold no secret. */
  readonly fileMode?: number | undefined;
  /** Reads the file of a secret, at most a few hundred bytes; `path` is relative to the configuration's directory. */
  readonly readSecret: (path: string) => SecretFile;
  /**
   * The key that was generated for this connection before; undefined only when there is none. One that exists and
   * cannot be read is a problem to report: a new key in its place would lock the peer out. Taken over and wiped.
   */
  readonly storedPsk?: (connection: string) => SecretFile | undefined;
  /** For keys of connections that have none. */
  readonly random: Random;
}

export interface ParsedConfig extends Config {
  /** Made now, because the file names none and none was stored: to be kept, and shown once. */
  readonly generatedPsks: readonly { readonly connection: string; readonly psk: Secret }[];
}

/** All problems in the file's order, or the configuration. Never throws, whatever the text. */
export function parseConfig(input: ParseInput): Result<ParsedConfig, readonly ConfigProblem[]> {
  const problems = new Problems(input.file);
  const document = readDocument(input.text, problems);
  if (document === undefined) return err(problems.sorted());

  const findings: Findings = {
    report: (path, found, rule) => problems.add(document.positionOf(path), path, found, rule),
    has: (path) => problems.has(path),
  };
  const file = readPartly(configSchema, document.value ?? {}, findings) ?? {};
  const connections = inFileOrder(file, document.positionOf);
  checkRules(file, connections, findings);
  checkSupported(file, connections, findings);
  for (const [name, connection] of connections)
    checkIkev1(["connections", name], connection, findings.report);

  const warnings: ConfigWarning[] = [];
  const warn = (path: Path, text: string) => {
    warnings.push({ path: formatPath(path), line: document.positionOf(path).line, text });
  };
  collectWarnings(file, connections, warn);
  const keys = readKeys(connections, input, findings, warn);

  const ppks = readPpks(connections, input, findings);

  if (!problems.empty) {
    for (const secret of [...[...keys.values()].map(({ psk }) => psk), ...ppks.values()]) secret.wipe();
    return err(problems.sorted());
  }
  warnings.sort((a, b) => a.line - b.line);
  // No problem was found, so nothing is missing from what was read.
  const config = buildConfig(file as FileConfig, [...connections.keys()], (name) => ({
    psk: keys.get(name)!.psk,
    ppk: ppks.get(name),
  }));
  const generatedPsks = [...keys].flatMap(([connection, { psk, generated }]) =>
    generated ? [{ connection, psk: psk.copy() }] : [],
  );
  return ok({ ...config, warnings, generatedPsks });
}

/** JavaScript moves keys such as `10` to the front; connection numbers follow the file. */
function inFileOrder(
  file: Partly<FileConfig>,
  positionOf: (path: Path) => { readonly line: number; readonly column: number },
): ReadonlyMap<string, Connection> {
  const entries = Object.entries(file.connections ?? {}).flatMap(([name, connection]) =>
    connection === undefined ? [] : [{ name, connection, at: positionOf(["connections", name]) }],
  );
  entries.sort((a, b) => a.at.line - b.at.line || a.at.column - b.at.column);
  return new Map(entries.map(({ name, connection }) => [name, connection]));
}

function checkSupported(
  file: Partly<FileConfig>,
  connections: ReadonlyMap<string, Connection>,
  { report }: Findings,
): void {
  for (const row of unsupportedInFile)
    for (const { path, found, rule } of row.find(file)) report(path, found, rule);
  for (const [name, connection] of connections)
    for (const row of unsupportedInConnection)
      for (const { path, found, rule } of row.find(connection))
        report(["connections", name, ...path], found, rule);
}

interface Key {
  readonly psk: Secret;
  readonly generated: boolean;
}

function readKeys(
  connections: ReadonlyMap<string, Connection>,
  input: ParseInput,
  findings: Findings,
  warn: (path: Path, text: string) => void,
): ReadonlyMap<string, Key> {
  const keys = new Map<string, Key>();
  for (const [name, { psk }] of connections) {
    const at = ["connections", name, "psk"];
    if (psk === undefined) {
      if (findings.has(at)) continue;
      const stored = input.storedPsk?.(name);
      const result = stored && pskFromFile(name, stored);
      if (result === undefined) keys.set(name, { psk: generatePsk(input.random), generated: true });
      else if (result.ok) keys.set(name, { psk: result.psk, generated: false });
      else {
        const why = stored?.ok === false ? `cannot be read (${stored.problem})` : `is not ${pskRule}`;
        findings.report(at, undefined, `a psk here: the key kept for this connection ${why}`);
      }
      continue;
    }
    const from = psk.file !== undefined ? "file" : "value";
    if (psk.file === undefined && psk.value === undefined) {
      const unreadable = ["file", "value"].some((key) => findings.has([...at, key])) || findings.has(at);
      if (!unreadable) findings.report(at, undefined, `{file: …} or {value: …}, which is ${pskRule}`);
      continue;
    }
    const result =
      psk.file !== undefined
        ? pskFromFile(psk.file, input.readSecret(psk.file))
        : pskFromValue(psk.value!, input.fileMode);
    if (!result.ok) {
      findings.report([...at, from], result.found, result.rule);
      continue;
    }
    keys.set(name, { psk: result.psk, generated: false });
    if (result.psk.length < shortKey)
      warn(
        [...at, from],
        `short: whoever records a handshake can guess a key of under ${shortKey} characters`,
      );
  }
  return keys;
}

/** Below this a chosen text has too little in it to stand guessing (RFC 7296 §2.15, §5). */
const shortKey = 16;
