/** culvertd's command line. */
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { defaultStateDirectory } from "../api/config-file.ts";
import { defaultConfigFile, defaultControlSocket } from "../api/control-protocol.ts";
import { type LogLevel, logLevels } from "../telemetry/log.ts";
import { type ExitCode, exitCode } from "./exit-codes.ts";

export interface DaemonOptions {
  readonly config: string;
  readonly control: string;
  readonly state: string;
  readonly logLevel: LogLevel;
  readonly insecureKeylog: string | undefined;
}

/** What the arguments ask for: to run, or to end at once with text that commander has printed. */
export type ParsedOptions =
  | { readonly kind: "run"; readonly options: DaemonOptions }
  | { readonly kind: "exit"; readonly code: ExitCode };

/** `args`: without the interpreter and the script. */
export function parseOptions(
  args: readonly string[],
  version: string,
  print: { readonly out: (text: string) => void; readonly err: (text: string) => void },
): ParsedOptions {
  const command = new Command("culvertd")
    .description("culvert's VPN gateway daemon")
    .version(version)
    .option("--config <file>", "configuration file", path("--config"), defaultConfigFile)
    .option("--control <socket>", "control socket", path("--control"), defaultControlSocket)
    .option(
      "--state <dir>",
      "where the keys are kept that this daemon makes",
      path("--state"),
      defaultStateDirectory,
    )
    .addOption(
      new Option("--log-level <level>", "least severe record to log").choices(logLevels).default("info"),
    )
    .option(
      "--insecure-keylog <file>",
      "append every key to this file, for Wireshark: whoever reads it reads the traffic",
      path("--insecure-keylog"),
    )
    .allowExcessArguments(false)
    .configureOutput({ writeOut: print.out, writeErr: print.err })
    .exitOverride();
  try {
    command.parse([...args], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return { kind: "exit", code: error.exitCode === 0 ? exitCode.ok : exitCode.usage };
  }
  const given = command.opts<DaemonOptions>();
  return {
    kind: "run",
    options: {
      config: given.config,
      control: given.control,
      state: given.state,
      logLevel: given.logLevel,
      insecureKeylog: given.insecureKeylog,
    },
  };
}

const path = (flag: string) => (text: string) => {
  if (text === "") throw new InvalidArgumentError(`${flag} needs a path.`);
  return text;
};
