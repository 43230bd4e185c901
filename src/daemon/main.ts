#!/usr/bin/env -S node --single-threaded-gc
/**
 * culvertd's entry: the host's real clock, kernel, data plane and resolver, put together.
 *
 * Whoever starts it with a node of his own gives that the option of the first line: the heap is small, and V8's threads
 * for collecting it cost more than they take off the main one (ARCHITECTURE.md).
 */
import { availableParallelism } from "node:os";
import { loadConfigFile } from "../api/config-file.ts";
import { systemRandom } from "../api/system-random.ts";
import { culvertVersion } from "../api/version.ts";
import type { Config, ParsedConfig } from "../config/index.ts";
import { assumedPathMtu } from "../core/dataplane.ts";
import { RandomPool } from "../core/random-pool.ts";
import type { Secret } from "../core/secret.ts";
import { accelerate, generateKeyPair } from "../crypto/index.ts";
import { nativeCurves, nativeSymmetric, openDataPlane, openKernel } from "../dataplane/index.ts";
import { Gateway } from "../gateway/gateway.ts";
import { dhById } from "../registry/index.ts";
import { EventLog } from "../telemetry/event-log.ts";
import { type Log, openLog } from "../telemetry/log.ts";
import { hostAddresses } from "./address-watch.ts";
import { systemClock } from "./clock.ts";
import { openCrashSecret } from "./crash-secret.ts";
import { Daemon } from "./daemon.ts";
import { type ExitCode, exitCode } from "./exit-codes.ts";
import { hostFacts, hostWarnings } from "./host-checks.ts";
import { KeyPool } from "./key-pool.ts";
import { openKeylog } from "./keylog.ts";
import { type DaemonOptions, parseOptions } from "./options.ts";
import { storePsk } from "./psk-store.ts";
import { systemResolver } from "./resolver.ts";
import { startProblem } from "./start-problem.ts";
import { listenDescriptors, serviceManager } from "./systemd.ts";
import { tunMtu } from "./tun-mtu.ts";

const version = culvertVersion();

async function main(): Promise<ExitCode> {
  const parsed = parseOptions(process.argv.slice(2), version, {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
  });
  if (parsed.kind === "exit") return parsed.code;
  const { options } = parsed;
  const loaded = loadConfigFile(options.config, options.state, systemRandom);
  if (!loaded.ok) {
    for (const problem of loaded.error) process.stderr.write(`${problem}\n`);
    return exitCode.config;
  }
  try {
    return await run(options, loaded.value);
  } catch (error) {
    const { code, line } = startProblem(error);
    process.stderr.write(`${line}\n`);
    return code;
  }
}

async function run(options: DaemonOptions, config: ParsedConfig): Promise<ExitCode> {
  // Keys and the control socket are for the daemon's own user unless a mode says otherwise.
  process.umask(0o077);
  const log = openLog(options.logLevel);
  for (const { connection, psk } of config.generatedPsks)
    log.write("info", "pre-shared key made", { connection, file: storePsk(options.state, connection, psk) });
  const kernel = openKernel();
  const { workers: asked } = config.gateway;
  const workers = asked === "auto" ? Math.min(availableParallelism(), maxAutoWorkers) : asked;
  const keylog = options.insecureKeylog === undefined ? undefined : openKeylog(options.insecureKeylog);
  accelerate(nativeSymmetric());
  const curves = nativeCurves();
  const keyPairs = new KeyPool({
    generate: (group) => generateKeyPair(group, curves),
    groups: offeredGroups(config).filter((group) => dhById.get(group)?.kind === "modp"),
    size: keptPairs,
    whenIdle: (work) => setTimeout(work, idleMs).unref(),
  });
  // Before the host changes, so that no signal ends the daemon without its cleaning up.
  let stopEarly: NodeJS.Signals | undefined;
  let stop = (signal: NodeJS.Signals): void => {
    stopEarly = signal;
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => stop(signal));
  let reload = (): void => {};
  process.on("SIGHUP", () => reload());
  const daemon = await Daemon.start({
    version,
    configFile: options.config,
    controlPath: options.control,
    config,
    warnings: [
      ...config.warnings.map(
        (warning) => `${options.config}:${warning.line}: ${warning.path}: ${warning.text}`,
      ),
      ...(keylog ? [`every key is written to ${options.insecureKeylog}`] : []),
      ...hostWarnings(config, hostFacts),
    ],
    log,
    events: new EventLog(() => new Date()),
    clock: systemClock,
    resolve: systemResolver,
    kernel,
    keylog: keylog?.write,
    manager: serviceManager(kernel, process.env, process.pid),
    fwmark,
    openDataPlane: (onEvents) => {
      const dataPlane = openDataPlane({
        tunName: config.gateway.tun.name,
        tunMtu: tunMtu(config),
        workers,
        busyPollMicroseconds: config.gateway.busyPollMicroseconds,
        addresses: config.gateway.addresses,
        mark: fwmark,
        pathMtu: assumedPathMtu,
        ikeSockets: listenDescriptors(process.env, process.pid),
        onEvents,
      });
      const { notices, ...description } = dataPlane.describe();
      log.write("info", "data plane open", { ...description });
      for (const notice of notices) log.write("info", "data plane does without", { notice });
      return dataPlane;
    },
    createMachine: (dataPlane) =>
      new Gateway(config, {
        random: new RandomPool(systemRandom),
        keyPairs,
        workers,
        exportKeys: keylog !== undefined,
        debugLog: log.takes("debug"),
        lastInbound: (spi, remote) => dataPlane.saTotals("inbound", spi, remote)?.lastUsedMs || undefined,
        // Only now: a daemon that cannot start writes nothing.
        crashSecret: crashSecretOf(options.state, log),
      }),
    hostAddresses,
    reloadConfig: () => {
      const reloaded = loadConfigFile(options.config, options.state, systemRandom);
      if (reloaded.ok) {
        for (const { psk } of reloaded.value.generatedPsks) psk.wipe();
        return reloaded.value;
      }
      for (const problem of reloaded.error) log.write("warn", "configuration problem", { problem });
      return undefined;
    },
  });
  stop = (signal) => daemon.stop(signal);
  reload = () => daemon.reload();
  if (stopEarly) stop(stopEarly);
  process.on("uncaughtException", (error) => daemon.crash(error));
  process.on("unhandledRejection", (reason) => daemon.crash(reason));
  const code = await daemon.ended;
  keyPairs.close();
  keylog?.close();
  log.flush();
  return code;
}

/** Without the file the daemon runs, and its peers find out about a restart a little later. */
function crashSecretOf(stateDirectory: string, log: Log): Secret | undefined {
  try {
    return openCrashSecret(stateDirectory, systemRandom);
  } catch (error) {
    log.write("warn", "no quick crash detection: its secret cannot be kept", {
      stateDirectory,
      error: (error as Error).message,
    });
    return undefined;
  }
}

/** Every group that a handshake or a rekey may ask for. */
function offeredGroups(config: Config): number[] {
  const proposals = config.connections.flatMap(({ ike, ipsec }) => [...ike.proposals, ...ipsec.proposals]);
  return [...new Set(proposals.flatMap((proposal) => proposal.groups))];
}

/** The mark of outer packets; any number would do that nobody else on the host uses. */
const fwmark = 0x2125;
/**
 * Pairs of each group made ahead: enough for the first message of a handshake and of a rekey behind it. Only of groups
 * modulo a prime: on a curve a pair takes 30 to 140 microseconds, and waking up to make it ahead costs as much again.
 */
const keptPairs = 2;
const idleMs = 10;
/** The configuration's own bound. */
const maxAutoWorkers = 64;

process.exit(await main());
