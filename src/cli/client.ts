/** The command line's end of the control socket. */
import { connect, type Socket } from "node:net";
import {
  type ControlAnswer,
  type ControlCommand,
  type ControlRecord,
  controlVersion,
  LineSplitter,
  maxAnswerBytes,
} from "../api/control-protocol.ts";
import { CommandError, exitCode } from "./exit-codes.ts";

export interface ControlClient {
  /** Sends one command and waits for its answer. Throws CommandError with what the daemon says. */
  ask<T>(command: ControlCommand): Promise<T>;
  /** Called with every record after a `log` with `follow`. */
  onRecord: (record: ControlRecord) => void;
  /** Settles when the daemon hangs up. */
  readonly closed: Promise<void>;
  close(): void;
}

/** Connects to the daemon. Throws CommandError that names the socket and what to do when nobody answers. */
export async function connectControl(path: string): Promise<ControlClient> {
  const socket = await open(path);
  const waiting = new Map<number, (answer: ControlAnswer | undefined) => void>();
  const splitter = new LineSplitter(maxAnswerBytes);
  let nextId = 1;
  const client: ControlClient = {
    ask<T>(command: ControlCommand): Promise<T> {
      const id = nextId++;
      return new Promise<T>((resolve, reject) => {
        waiting.set(id, (answer) => {
          if (!answer) reject(new CommandError(exitCode.unavailable, `culvertd hung up (${path})`));
          else if (answer.ok) resolve(answer.result as T);
          else reject(new CommandError(exitCode.failed, answer.error.message));
        });
        socket.write(`${JSON.stringify({ v: controlVersion, id, ...command })}\n`);
      });
    },
    onRecord: () => {},
    closed: new Promise((resolve) => socket.on("close", () => resolve())),
    close: () => socket.destroy(),
  };
  socket.on("data", (chunk: Buffer) => {
    const lines = splitter.feed(chunk);
    if (!lines) {
      socket.destroy();
      return;
    }
    for (const line of lines) {
      const message = JSON.parse(line) as ControlAnswer | ControlRecord;
      if ("record" in message) {
        client.onRecord(message);
        continue;
      }
      // Id 0: the daemon could not tell which request it refuses; with one at a time it is the one that waits.
      const id = message.id === 0 ? [...waiting.keys()][0] : message.id;
      const settle = id === undefined ? undefined : waiting.get(id);
      if (id !== undefined) waiting.delete(id);
      settle?.(message);
    }
  });
  socket.on("close", () => {
    for (const settle of waiting.values()) settle(undefined);
    waiting.clear();
  });
  return client;
}

function open(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const onError = (error: NodeJS.ErrnoException) => reject(unreachable(path, error));
    socket.once("error", onError);
    socket.once("connect", () => {
      socket.off("error", onError);
      // From here on `close` tells everything.
      socket.on("error", () => {});
      resolve(socket);
    });
  });
}

function unreachable(path: string, error: NodeJS.ErrnoException): CommandError {
  switch (error.code) {
    case "ENOENT":
    case "ECONNREFUSED":
      return new CommandError(
        exitCode.unavailable,
        `culvertd is not running: nothing answers at ${path}\n` +
          "start it with: systemctl start culvert (or name its socket with --control)",
      );
    case "EACCES":
    case "EPERM":
      return new CommandError(
        exitCode.noPermission,
        `no permission to use ${path}\n` +
          "run this as root, or join the group: adduser $USER culvert, then log in again",
      );
    default:
      return new CommandError(exitCode.unavailable, `control socket ${path}: ${error.message}`);
  }
}
