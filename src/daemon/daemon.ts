/**
 * culvertd's life: take the lock, clean what a crash left, open the data plane, run the gateway, stop politely.
 *
 * Order matters. The control socket comes first because it is the lock, and the data plane second because device and
 * ports have one owner: a second daemon ends before it touches the first one's routes. Routes and rules go before the data plane does, so that nothing is routed into a device that is
 * about to vanish. Thread: JavaScript's.
 */
import type { ControlError } from "../api/control-protocol.ts";
import type { Config } from "../config/model.ts";
import { wipeKeys } from "../config/ppk.ts";
import type { IpAddress } from "../core/address.ts";
import type { DataPlaneEvent } from "../core/dataplane.ts";
import { err } from "../core/result.ts";
import type { Kernel } from "../dataplane/kernel.ts";
import type { GatewayMachine } from "../gateway/contract.ts";
import type { EventLog } from "../telemetry/event-log.ts";
import type { Log } from "../telemetry/log.ts";
import { type MetricsInput, MetricsPage } from "../telemetry/metrics.ts";
import { AddressWatch, addressWatchMs } from "./address-watch.ts";
import { configDifference } from "./config-diff.ts";
import { type ControlServer, openControlServer } from "./control-server.ts";
import { answerControl, type ControlSubject } from "./control-verbs.ts";
import { type ExitCode, exitCode } from "./exit-codes.ts";
import { HostRouting } from "./host-routing.ts";
import type { Keylog } from "./keylog.ts";
import { type MetricsListener, openMetricsListener } from "./metrics-listener.ts";
import { type Performer, perform } from "./perform.ts";
import type { DataPlanePort } from "./ports.ts";
import type { Resolver } from "./resolver.ts";
import { SendTrouble } from "./send-trouble.ts";
import { type Clock, Shell } from "./shell.ts";
import type { ServiceManager } from "./systemd.ts";
import { TrafficTotals } from "./traffic-totals.ts";
import { tunMtu } from "./tun-mtu.ts";

export interface DaemonParts {
  readonly version: string;
  readonly configFile: string;
  readonly controlPath: string;
  readonly config: Config;
  /** What a start found wanting on the host, for the log and the status. */
  readonly warnings: readonly string[];
  readonly log: Log;
  readonly events: EventLog;
  readonly clock: Clock;
  readonly resolve: Resolver;
  readonly kernel: Kernel;
  readonly keylog: Keylog["write"] | undefined;
  readonly manager: ServiceManager;
  /** Opens TUN, sockets and workers; throws StartError. Events arrive in batches, in order. */
  readonly openDataPlane: (onEvents: (events: readonly DataPlaneEvent[]) => void) => DataPlanePort;
  /** The mark of the data plane's outer packets. */
  readonly fwmark: number;
  readonly createMachine: (dataPlane: DataPlanePort) => GatewayMachine;
  /** The addresses of this host's interfaces. */
  readonly hostAddresses: () => readonly IpAddress[];
  /** Reads the configuration file again; undefined when it has problems, which were logged. */
  readonly reloadConfig: () => Config | undefined;
}

export class Daemon {
  /** Settles when everything is closed. */
  readonly ended: Promise<ExitCode>;
  readonly #parts: DaemonParts;
  readonly #server: ControlServer;
  readonly #routing: HostRouting;
  readonly #dataPlane: DataPlanePort;
  readonly #machine: GatewayMachine;
  readonly #shell: Shell;
  readonly #metrics: MetricsPage;
  #metricsListener: MetricsListener | undefined;
  readonly #totals = new TrafficTotals();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #startedAtMs: number;
  readonly #startedAt = new Date().toISOString();
  readonly #mtu: number;
  #restartNeeded: readonly string[] = [];
  #lastStatus = "";
  #phase: "running" | "stopping" | "ended" = "running";
  #end!: (code: ExitCode) => void;

  /** Starts everything. When a step fails, what was opened before it is closed again and the error is thrown. */
  static async start(parts: DaemonParts): Promise<Daemon> {
    let daemon: Daemon | undefined;
    const starting: ControlError = { code: "UNAVAILABLE", message: "the daemon is starting" };
    const server = await openControlServer({
      path: parts.controlPath,
      rings: { log: parts.log.ring, events: parts.events.ring },
      handle: (request) => (daemon ? answerControl(request, daemon.#subject()) : err(starting)),
      onError: (error) => parts.log.write("error", "control socket", { err: error }),
    });
    const routing = new HostRouting({
      kernel: parts.kernel,
      now: () => parts.clock.now(),
      device: parts.config.gateway.tun.name,
      fwmark: parts.fwmark,
      log: parts.log,
    });
    let dataPlane: DataPlanePort | undefined;
    let metrics: MetricsListener | undefined;
    try {
      const { listen } = parts.config.gateway.metrics;
      const render = async () => (daemon ? daemon.#metrics.render() : "");
      const onError = (error: unknown) => parts.log.write("error", "metrics", { err: error });
      if (listen) metrics = await openMetricsListener({ listen, render, onError });
      dataPlane = parts.openDataPlane((events) => {
        if (daemon) daemon.#onEvents(events);
      });
      routing.cleanUp();
      daemon = new Daemon(parts, server, routing, dataPlane);
      daemon.#metricsListener = metrics;
      daemon.#begin();
      return daemon;
    } catch (error) {
      if (daemon) daemon.#shell.close();
      if (dataPlane) routing.cleanUp();
      dataPlane?.close();
      metrics?.close();
      server.close();
      throw error;
    }
  }

  private constructor(
    parts: DaemonParts,
    server: ControlServer,
    routing: HostRouting,
    dataPlane: DataPlanePort,
  ) {
    this.#parts = parts;
    this.#server = server;
    this.#routing = routing;
    this.#dataPlane = dataPlane;
    this.#machine = parts.createMachine(dataPlane);
    this.#startedAtMs = parts.clock.now();
    this.#mtu = tunMtu(parts.config);
    this.#metrics = new MetricsPage(
      () => this.#metricsInput(),
      () => new Promise((resolve) => setImmediate(resolve)),
    );
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    const performer: Performer = {
      dataPlane,
      sendTrouble: new SendTrouble(parts.log),
      traffic: this.#totals,
      routing,
      resolve: parts.resolve,
      log: parts.log,
      events: parts.events,
      keylog: parts.keylog,
      feed: (input) => this.#shell.feed(input),
      onStopped: () => this.#finish(exitCode.ok),
    };
    this.#shell = new Shell({
      machine: this.#machine,
      clock: parts.clock,
      perform: (output) => perform(output, performer),
      onError: (error, during) => parts.log.write("error", "internal error", { during, err: error }),
    });
  }

  /** Deletes every SA politely and ends within `stopLimitMs`; a second call ends at once. */
  stop(reason: string): void {
    if (this.#phase === "ended") return;
    if (this.#phase === "stopping") {
      this.#finish(exitCode.failed);
      return;
    }
    this.#phase = "stopping";
    this.#parts.log.write("info", "culvertd stopping", { reason });
    this.#parts.manager.stopping();
    this.#timers.push(
      setTimeout(() => {
        this.#parts.log.write("warn", "peers did not confirm every delete in time");
        this.#finish(exitCode.ok);
      }, stopLimitMs),
    );
    this.#shell.feed({ kind: "shutdown" });
  }

  /** Validates the file again and says what a restart would change. Nothing changes while the daemon runs. */
  reload(): void {
    const wanted = this.#parts.reloadConfig();
    if (!wanted) {
      this.#parts.log.write("warn", "configuration not reloaded: it has problems, the running one stays");
      return;
    }
    this.#restartNeeded = configDifference(this.#parts.config, wanted);
    for (const connection of wanted.connections) wipeKeys(connection);
    if (this.#restartNeeded.length === 0) this.#parts.log.write("info", "configuration unchanged");
    else
      this.#parts.log.write("warn", "configuration changed: restart the daemon to apply it", {
        changed: this.#restartNeeded,
      });
  }

  /** After a throw that nobody caught the state is unknown: leaves the host clean and ends. */
  crash(error: unknown): void {
    this.#parts.log.write("error", "culvertd crashed: please report this", { err: error });
    this.#finish(exitCode.failed);
  }

  #begin(): void {
    const { kernel, config, log, version, manager, warnings } = this.#parts;
    const { name } = config.gateway.tun;
    kernel.setLink(name, { mtu: this.#mtu, up: true });
    log.write("info", "culvertd started", {
      version,
      gateway: config.gateway.name,
      connections: config.connections.length,
      tun: name,
      mtu: this.#mtu,
    });
    for (const warning of warnings) log.write("warn", warning);
    this.#shell.feed({ kind: "start" });
    this.#every(reconcileMs, () => {
      this.#routing.reconcile();
      this.#tellStatus();
    });
    const addresses = new AddressWatch(
      config.gateway.addresses,
      (present) => {
        log.write("info", "outer addresses changed", { present: present.map(String) });
        this.#shell.feed({ kind: "localAddresses", addresses: present });
      },
      this.#parts.hostAddresses,
    );
    this.#every(addressWatchMs, () => addresses.poll());
    this.#every(auditMs, () => this.#shell.feed({ kind: "installed", sas: this.#dataPlane.traffic() }));
    if (manager.watchdogIntervalMs !== undefined)
      this.#every(manager.watchdogIntervalMs, () => manager.watchdog());
    this.#lastStatus = this.#summary();
    manager.ready(this.#lastStatus);
  }

  #onEvents(events: readonly DataPlaneEvent[]): void {
    for (const event of events) this.#shell.feed({ kind: "dataPlane", event });
  }

  #every(intervalMs: number, run: () => void): void {
    this.#timers.push(setInterval(run, intervalMs));
  }

  #tellStatus(): void {
    const text = this.#summary();
    if (text === this.#lastStatus) return;
    this.#lastStatus = text;
    this.#parts.manager.status(text);
  }

  /** For `systemctl status`: `2 of 3 connections up`. */
  #summary(): string {
    const { up, all } = this.#machine.connectionCount;
    return `${up} of ${all} connections up`;
  }

  #finish(code: ExitCode): void {
    if (this.#phase === "ended") return;
    this.#phase = "ended";
    for (const timer of this.#timers) clearInterval(timer);
    this.#shell.close();
    this.#routing.cleanUp();
    this.#dataPlane.close();
    this.#metricsListener?.close();
    this.#server.close();
    this.#parts.log.write("info", "culvertd stopped");
    this.#end(code);
  }

  #metricsInput(): MetricsInput {
    const { version, clock, config } = this.#parts;
    const nowMs = clock.now();
    const names = config.connections.map(({ name }) => name);
    return {
      version,
      startedAtMs: this.#startedAtMs,
      nowMs,
      gateway: this.#machine.status(nowMs),
      connectionTraffic: this.#totals.perConnection(names, this.#dataPlane.traffic()),
      drops: this.#dataPlane.drops(),
    };
  }

  #subject(): ControlSubject {
    const { version, configFile, config, clock, log, events, warnings } = this.#parts;
    return {
      machine: this.#machine,
      dataPlane: this.#dataPlane,
      clock,
      ring: log.ring,
      events: events.ring,
      metrics: this.#metrics,
      feed: (input) => this.#shell.feed(input),
      daemon: {
        version,
        pid: process.pid,
        configFile,
        startedAt: this.#startedAt,
        startedAtMs: this.#startedAtMs,
        restartNeeded: this.#restartNeeded,
        warnings,
      },
      tun: { name: config.gateway.tun.name, mtu: this.#mtu },
      totals: this.#totals,
      connectionNames: config.connections.map(({ name }) => name),
      stopping: this.#phase !== "running",
    };
  }
}

/** How long the peers have to answer our deletes. */
const stopLimitMs = 3000;
/** How soon a route that somebody deleted is back. */
const reconcileMs = 2000;
/** How soon a difference between what is installed and what should be is found. */
const auditMs = 30_000;
