/** The command line of `culvert`: arguments in, exit code out. */
import { Command, CommanderError, InvalidArgumentError } from "commander";
import { defaultStateDirectory } from "../api/config-file.ts";
import { defaultConfigFile, defaultControlSocket } from "../api/control-protocol.ts";
import { type ControlClient, connectControl } from "./client.ts";
import { check } from "./commands/check.ts";
import { changeConnection, type Verb } from "./commands/connection.ts";
import { counters } from "./commands/counters.ts";
import { events } from "./commands/events.ts";
import { log } from "./commands/log.ts";
import { metrics } from "./commands/metrics.ts";
import { status } from "./commands/status.ts";
import { CommandError, type ExitCode, exitCode } from "./exit-codes.ts";
import { type Output, printJson } from "./output.ts";

interface Common {
  readonly control: string;
  readonly json?: true;
}

/** Runs one command. `args`: without the interpreter and the script. */
export async function runCli(args: readonly string[], version: string, output: Output): Promise<ExitCode> {
  try {
    await program(version, output).parseAsync([...args], { from: "user" });
    return exitCode.ok;
  } catch (error) {
    if (error instanceof CommandError) {
      if (error.message !== "") output.error(error.message);
      return error.code;
    }
    // commander has printed what is wrong, or the help that was asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.ok : exitCode.usage;
    throw error;
  }
}

function program(version: string, output: Output): Command {
  const root = new Command("culvert")
    .description("Look after the VPN gateway that culvertd runs on this host.")
    .version(version)
    .allowExcessArguments(false)
    .showHelpAfterError("(culvert --help lists the commands)")
    .configureOutput({
      writeOut: (text) => output.line(text.trimEnd()),
      writeErr: (text) => output.error(text.trimEnd()),
    })
    .exitOverride();

  root
    .command("check")
    .description("say what is wrong, weak or missing in a configuration; changes nothing")
    .argument("[file]", "configuration file", defaultConfigFile)
    .option("--state <dir>", "where the daemon keeps the keys it made", defaultStateDirectory)
    .option("--json", jsonHelp)
    .action((file: string, options: { state: string; json?: true }) =>
      check(file, options.state, output, options.json === true),
    );

  talking(root.command("status"))
    .description("show every connection, or one in full")
    .argument("[connection]", "a connection's name")
    .action((connection: string | undefined, options: Common) =>
      withDaemon(options, (client) => status(client, output, connection, options.json === true)),
    );

  for (const [verb, description] of Object.entries(verbs) as [keyof typeof verbs, string][]) {
    talking(root.command(verb))
      .description(description)
      .argument("<connection>", "a connection's name")
      .option("--timeout <seconds>", "how long to wait for the result", seconds, 30)
      .action((connection: string, options: Common & { timeout: number }) =>
        withDaemon(options, (client) =>
          changeConnection(
            client,
            output,
            { verb },
            connection,
            waitFor(options.timeout),
            options.json === true,
          ),
        ),
      );
  }

  talking(root.command("rekey"))
    .description("replace a connection's CHILD_SAs now; no packet is lost")
    .argument("<connection>", "a connection's name")
    .option("--ike", "replace its IKE SA instead")
    .option("--timeout <seconds>", "how long to wait for the result", seconds, 30)
    .action((connection: string, options: Common & { ike?: true; timeout: number }) =>
      withDaemon(options, (client) =>
        changeConnection(
          client,
          output,
          { verb: "rekey", ike: options.ike === true },
          connection,
          waitFor(options.timeout),
          options.json === true,
        ),
      ),
    );

  talking(root.command("log"))
    .description("show what the daemon logged last")
    .option("-f, --follow", "go on with what it logs from now on")
    .option("-n, --lines <count>", "how many records", lineCount, 100)
    .action((options: Common & { follow?: true; lines: number }) =>
      withDaemon(options, (client) =>
        log(client, output, {
          lines: options.lines,
          follow: options.follow === true,
          json: options.json === true,
        }),
      ),
    );

  talking(root.command("events"))
    .description("show what happened: tunnels, SAs and failures, one record each")
    .option("-f, --follow", "go on with what happens from now on")
    .option("-n, --lines <count>", "how many records", lineCount, 100)
    .action((options: Common & { follow?: true; lines: number }) =>
      withDaemon(options, (client) =>
        events(client, output, {
          lines: options.lines,
          follow: options.follow === true,
          json: options.json === true,
        }),
      ),
    );

  talking(root.command("counters"))
    .description("show what the data plane counts, and why packets were dropped")
    .action((options: Common) =>
      withDaemon(options, (client) => counters(client, output, options.json === true)),
    );

  talking(root.command("metrics"), false)
    .description("print the metrics in Prometheus' text format")
    .action((options: Common) => withDaemon(options, (client) => metrics(client, output)));

  talking(root.command("dump"), false)
    .description("print the daemon's whole state as JSON; no secrets")
    .action((options: Common) =>
      withDaemon(options, async (client) => printJson(output, await client.ask({ verb: "dump" }))),
    );
  return root;
}

/** Adds what every command has that talks to the daemon. */
function talking(command: Command, choosesJson = true): Command {
  command.option("--control <socket>", "the daemon's control socket", defaultControlSocket);
  return choosesJson ? command.option("--json", jsonHelp) : command;
}

async function withDaemon(options: Common, use: (client: ControlClient) => Promise<void>): Promise<void> {
  const client = await connectControl(options.control);
  try {
    await use(client);
  } finally {
    client.close();
  }
}

const waitFor = (timeoutSeconds: number) => ({
  timeoutMs: timeoutSeconds * 1000,
  now: () => performance.now(),
  sleep: (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms)),
});

function seconds(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0 || value > 86_400)
    throw new InvalidArgumentError("0 to 86400 seconds.");
  return value;
}

function lineCount(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isInteger(value) || value < 0 || value > 1000)
    throw new InvalidArgumentError("0 to 1000 records.");
  return value;
}

const verbs: Readonly<Record<Exclude<Verb, "rekey">, string>> = {
  up: "bring a connection up and keep it up",
  down: "take a connection down and keep it down",
  reset: "take a connection down and bring it up again",
};
const jsonHelp = "print JSON";
