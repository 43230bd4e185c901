/**
 * The daemon's log: JSON records of fields, written to stderr by pino and kept in a ring for `culvert log`.
 * Nothing secret reaches it (`Secret` prints as `[secret]`), and nothing per packet: that is what counters are for.
 */
import { type DestinationStream, type Logger, pino } from "pino";
import { isoTime } from "./iso-time.ts";
import { LogRing } from "./log-ring.ts";

export const logLevels = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof logLevels)[number];

export interface Log {
  /** `message` names the event; what varies goes into `fields`. An `err` field may hold an Error. */
  write(level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** Whether records of `level` go anywhere: what costs something to put together is put together only then. */
  takes(level: LogLevel): boolean;
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
    minLength: fullChunkLength,
    maxLength: maxBufferedBytes,
  });
  const waiting: string[] = [];
  let waitingLength = 0;
  const handOver = () => {
    waitingLength = 0;
    if (waiting.length > 0) stderr.write(waiting.splice(0).join(""));
  };
  const release = () => {
    handOver();
    stderr.flush();
  };
  return createLog(level, {
    write: (line) => {
      if (waiting.push(line) === 1) setTimeout(release, collectMs);
      waitingLength += line.length;
      if (waitingLength >= fullChunkLength) handOver();
    },
    flush: () => {
      try {
        handOver();
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
      timestamp: () => `,"time":"${isoTime(Date.now())}"`,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: pino.stdSerializers.err },
    },
    stream,
  );
  return {
    write: (at, message, fields = {}) => logger[at](fields, message),
    takes: (at) => logger.isLevelEnabled(at),
    ring,
    flush: () => sink.flush(),
  };
}

const ringRecords = 1000;
/**
 * Records of a busy moment leave in one write: a write is a thread woken and a turn of the event loop, more than making
 * the record. A tenth of a second is what someone who follows the log does not notice.
 */
const collectMs = 100;
/** Characters that are written without waiting for more. */
const fullChunkLength = 8 * 1024;
const maxBufferedBytes = 4 * 1024 * 1024;
