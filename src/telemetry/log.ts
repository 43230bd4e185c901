/**
 * The daemon's log: JSON records of fields, written to stderr by pino and kept in a ring for `culvert log`.
 * Nothing secret reaches it (`Secret` prints as `[secret]`), and nothing per packet: that is what counters are for.
 */
import { type DestinationStream, type Logger, pino, stdTimeFunctions } from "pino";
import { LogRing } from "./log-ring.ts";

export const logLevels = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof logLevels)[number];

export interface Log {
  /** `message` names the event; what varies goes into `fields`. An `err` field may hold an Error. */
  write(level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>): void;
  readonly ring: LogRing;
  /** Writes out what is still buffered. Call before the process exits. */
  flush(): void;
}

/** Logs to file descriptor 2 at `level` and above, without ever waiting for a slow reader. */
export function openLog(level: LogLevel): Log {
  // A reader that stalls costs records, not the tunnels: beyond `maxLength` pino drops, and `flush` is not blocked.
  const stderr = pino.destination({
    dest: 2,
    sync: false,
    minLength: fullChunkBytes,
    maxLength: maxBufferedBytes,
  });
  let waiting = false;
  const release = () => {
    waiting = false;
    stderr.flush();
  };
  return createLog(level, {
    write: (line) => {
      stderr.write(line);
      if (waiting) return;
      waiting = true;
      setTimeout(release, collectMs);
    },
    flush: () => {
      try {
        stderr.flushSync();
      } catch {
        // Nothing was opened yet or nobody reads stderr any more; there is nowhere left to say so.
      }
    },
  });
}

export interface LogSink {
  write(line: string): void;
  flush(): void;
}

/** A log into any sink; `openLog` is this one on stderr. */
export function createLog(level: LogLevel, sink: LogSink): Log {
  const ring = new LogRing(ringRecords);
  const stream: DestinationStream = {
    write: (line) => {
      sink.write(line);
      ring.push(line.trimEnd());
    },
  };
  const logger: Logger = pino(
    {
      level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: pino.stdSerializers.err },
    },
    stream,
  );
  return {
    write: (at, message, fields = {}) => logger[at](fields, message),
    ring,
    flush: () => sink.flush(),
  };
}

const ringRecords = 1000;
/** Records of a busy moment leave in one write: a write of each costs as much as making it. */
const collectMs = 20;
const fullChunkBytes = 8 * 1024;
const maxBufferedBytes = 4 * 1024 * 1024;
