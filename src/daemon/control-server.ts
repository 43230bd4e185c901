/**
 * The control socket: a Unix stream socket that answers `culvert`. It also is the daemon's lock: a socket that
 * answers means that another daemon runs, one that refuses is what a killed daemon left, and is replaced.
 *
 * Every bound is explicit, because a client may be broken or slow: line size, number of clients, bytes waiting for a
 * reader. Nothing here waits for a client.
 */
import { chmodSync, lstatSync, mkdirSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import {
  type ControlAnswer,
  type ControlError,
  type ControlRequest,
  controlVersion,
  LineSplitter,
  maxRequestBytes,
} from "../api/control-protocol.ts";
import type { Result } from "../core/result.ts";
import type { LogRing } from "../telemetry/log-ring.ts";
import { parseRequest } from "./control-request.ts";
import { exitCode, StartError } from "./exit-codes.ts";

/** Answers one request; follows are the server's own business. A promise is for what takes several turns. */
export type ControlHandler = (
  request: ControlRequest,
) => Result<unknown, ControlError> | Promise<Result<unknown, ControlError>>;

export interface ControlServerOptions {
  readonly path: string;
  readonly handle: ControlHandler;
  /** What can be followed, by verb. */
  readonly rings: { readonly log: LogRing; readonly events: LogRing };
  /** A throw out of `handle`; the client gets INTERNAL. */
  readonly onError: (error: unknown) => void;
}

export interface ControlServer {
  /** Hangs up on everyone and removes the socket. */
  close(): void;
}

/** Listens at `path`. Throws StartError when another daemon answers there or the path cannot be used. */
export async function openControlServer(options: ControlServerOptions): Promise<ControlServer> {
  const { path } = options;
  if (Buffer.byteLength(path) > maxPathBytes)
    throw new StartError(
      exitCode.usage,
      `control socket ${path}: longer than ${maxPathBytes} bytes`,
      "choose a shorter path with --control",
    );
  makeDirectory(path);
  await clearStale(path);
  const clients = new Set<Socket>();
  const server = createServer((socket) => {
    if (clients.size >= maxClients) return refuse(socket);
    clients.add(socket);
    socket.on("close", () => clients.delete(socket));
    serve(socket, options);
  });
  await listen(server, path);
  server.on("error", options.onError);
  return {
    close() {
      // Closing a listening Unix socket unlinks its path.
      server.close();
      for (const socket of clients) socket.destroy();
    },
  };
}

/** True when something accepts connections at `path`. */
export function answersAt(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    probe.on("connect", () => {
      probe.destroy();
      resolve(true);
    });
    // EACCES means that somebody else's daemon listens; only refusal and absence mean that nobody does.
    probe.on("error", (error: NodeJS.ErrnoException) =>
      resolve(error.code !== "ECONNREFUSED" && error.code !== "ENOENT"),
    );
  });
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  } catch (error) {
    throw unusable(path, error);
  }
}

async function clearStale(path: string): Promise<void> {
  if (await answersAt(path))
    throw new StartError(
      exitCode.busy,
      `another culvertd answers at ${path}`,
      "stop it first (systemctl stop culvert), or give this one a --control socket of its own",
    );
  try {
    // Only ever a socket: a mistyped --control must not cost the operator a file.
    if (!lstatSync(path).isSocket()) throw new Error("exists and is not a socket");
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw unusable(path, error);
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: unknown) => reject(unusable(path, error));
    server.once("error", onError);
    // Nobody but us may connect before the mode is set: the socket is born with what the umask leaves.
    const umask = process.umask(0o177);
    server.listen(path, () => {
      server.off("error", onError);
      chmodSync(path, socketMode);
      resolve();
    });
    process.umask(umask);
  });
}

function unusable(path: string, error: unknown): StartError {
  const { code, message } = error as NodeJS.ErrnoException;
  const denied = code === "EACCES" || code === "EPERM" || code === "EROFS";
  return new StartError(
    denied ? exitCode.noPermission : exitCode.unavailable,
    `control socket ${path}: ${message}`,
    denied
      ? "run as root or as the user culvert, or choose a writable path with --control"
      : "choose another path with --control",
  );
}

function refuse(socket: Socket): void {
  socket.on("error", () => {});
  const error: ControlError = {
    code: "TOO_MANY_CLIENTS",
    message: `more than ${maxClients} clients are connected`,
  };
  socket.end(encode({ v: controlVersion, id: 0, ok: false, error }));
  socket.destroySoon();
}

function serve(socket: Socket, options: ControlServerOptions): void {
  const splitter = new LineSplitter(maxRequestBytes);
  let unfollow: (() => void) | undefined;
  // A client that hangs up in the middle is normal; `close` follows every error.
  socket.on("error", () => {});
  socket.on("close", () => unfollow?.());
  socket.on("data", (chunk: Buffer) => {
    const lines = splitter.feed(chunk);
    if (!lines) {
      const error: ControlError = {
        code: "BAD_REQUEST",
        message: `a request is at most ${maxRequestBytes} bytes`,
      };
      socket.end(encode({ v: controlVersion, id: 0, ok: false, error }));
      socket.destroySoon();
      return;
    }
    for (const line of lines) {
      if (socket.writableEnded) return;
      const request = parseRequest(line);
      if (!request.ok) {
        socket.write(
          encode({ v: controlVersion, id: request.error.id, ok: false, error: request.error.error }),
        );
        continue;
      }
      const answered = answer(request.value, options);
      if (answered instanceof Promise)
        void answered.then((later) => {
          if (!socket.writableEnded) socket.write(encode(later));
        });
      else socket.write(encode(answered));
      const { verb, id } = request.value;
      if ((verb === "log" || verb === "events") && request.value.follow) {
        unfollow?.();
        unfollow = follow(socket, options.rings[verb], id);
      }
    }
    // A client that asks without reading is not read from until it has caught up.
    if (socket.writableLength > maxWaitingBytes) {
      socket.pause();
      socket.once("drain", () => socket.resume());
    }
  });
}

function answer(
  request: ControlRequest,
  options: ControlServerOptions,
): ControlAnswer | Promise<ControlAnswer> {
  const { id } = request;
  const failed = (error: unknown): ControlAnswer => {
    options.onError(error);
    const message = "the daemon failed to answer; its log says why";
    return { v: controlVersion, id, ok: false, error: { code: "INTERNAL", message } };
  };
  const told = (result: Result<unknown, ControlError>): ControlAnswer =>
    result.ok
      ? { v: controlVersion, id, ok: true, result: result.value }
      : { v: controlVersion, id, ok: false, error: result.error };
  try {
    const result = options.handle(request);
    return result instanceof Promise ? result.then(told, failed) : told(result);
  } catch (error) {
    return failed(error);
  }
}

/** Sends every record until the socket closes; a reader that falls behind misses records and is told how many. */
function follow(socket: Socket, ring: LogRing, id: number): () => void {
  let dropped = 0;
  return ring.follow((line) => {
    if (socket.writableLength > maxWaitingBytes) {
      dropped++;
      return;
    }
    const missed = dropped > 0 ? `,"dropped":${dropped}` : "";
    dropped = 0;
    socket.write(`{"v":${controlVersion},"id":${id},"record":${line}${missed}}\n`);
  });
}

const encode = (answer: ControlAnswer): string => `${JSON.stringify(answer)}\n`;

/** The user and the group `culvert` may talk to the daemon. */
const socketMode = 0o660;
const maxClients = 32;
const maxWaitingBytes = 1024 * 1024;
/** sun_path of unix(7), terminating zero included. */
const maxPathBytes = 107;
