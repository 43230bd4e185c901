/**
 * systemd's side of a service: sd_notify(3) readiness, status and watchdog, and socket activation
 * (sd_listen_fds(3)). Everything is a no-op when systemd did not start the process.
 */
import type { Kernel } from "../dataplane/kernel.ts";

export interface ServiceManager {
  ready(status: string): void;
  status(text: string): void;
  reloading(monotonicMs: number): void;
  stopping(): void;
  /** Milliseconds between two watchdog pings; undefined when none are expected. */
  readonly watchdogIntervalMs: number | undefined;
  watchdog(): void;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** `pid`: this process's, because the watchdog may be meant for another. */
export function serviceManager(
  kernel: Pick<Kernel, "notifySystemd">,
  environment: Environment,
  pid: number,
): ServiceManager {
  const socketPath = environment["NOTIFY_SOCKET"];
  const notify = (text: string) => {
    if (socketPath) kernel.notifySystemd(socketPath, text);
  };
  return {
    ready: (status) => notify(`READY=1\nSTATUS=${oneLine(status)}`),
    status: (text) => notify(`STATUS=${oneLine(text)}`),
    reloading: (monotonicMs) => notify(`RELOADING=1\nMONOTONIC_USEC=${Math.floor(monotonicMs * 1000)}`),
    stopping: () => notify("STOPPING=1"),
    watchdogIntervalMs: socketPath ? watchdogInterval(environment, pid) : undefined,
    watchdog: () => notify("WATCHDOG=1"),
  };
}

/** Descriptors that systemd opened for this process; empty when there are none or they are another's. */
export function listenDescriptors(environment: Environment, pid: number): number[] {
  const count = Number(environment["LISTEN_FDS"]);
  if (Number(environment["LISTEN_PID"]) !== pid || !Number.isInteger(count) || count < 1) return [];
  return Array.from({ length: Math.min(count, maxListenDescriptors) }, (_, i) => firstDescriptor + i);
}

function watchdogInterval(environment: Environment, pid: number): number | undefined {
  const micros = Number(environment["WATCHDOG_USEC"]);
  const watchdogPid = environment["WATCHDOG_PID"];
  if (!Number.isFinite(micros) || micros <= 0) return undefined;
  if (watchdogPid !== undefined && Number(watchdogPid) !== pid) return undefined;
  // sd_watchdog_enabled(3): ping at half the time that systemd allows.
  return micros / 1000 / 2;
}

const oneLine = (text: string): string => text.replaceAll("\n", " ");
const firstDescriptor = 3;
const maxListenDescriptors = 64;
