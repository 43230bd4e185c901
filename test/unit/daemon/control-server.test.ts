import {
  chmodSync,
  existsSync,
  linkSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LineSplitter, maxRequestBytes } from "../../../src/api/control-protocol.ts";
import { ok } from "../../../src/core/result.ts";
import { parseRequest } from "../../../src/daemon/control-request.ts";
import { type ControlServer, openControlServer } from "../../../src/daemon/control-server.ts";
import { exitCode, StartError } from "../../../src/daemon/exit-codes.ts";
import { LogRing } from "../../../src/telemetry/log-ring.ts";

let directory: string;
let path: string;
let server: ControlServer | undefined;
let ring: LogRing;
let events: LogRing;
let errors: unknown[];
const sockets: Socket[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "culvert-control-"));
  path = join(directory, "run", "control.sock");
  ring = new LogRing(10);
  events = new LogRing(10);
  errors = [];
});

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  server?.close();
  server = undefined;
  rmSync(directory, { recursive: true });
});

async function open(): Promise<void> {
  server = await openControlServer({
    path,
    rings: { log: ring, events },
    handle: (request) => {
      if (request.verb === "dump") throw new Error("bug");
      return ok({ verb: request.verb });
    },
    onError: (error) => errors.push(error),
  });
}

/** A raw client that collects whole lines. */
function dial(to = path) {
  const socket = connect(to);
  sockets.push(socket);
  const lines: string[] = [];
  const waiting: (() => void)[] = [];
  let rest = "";
  let closed = false;
  const wake = () => {
    for (const resolve of waiting.splice(0)) resolve();
  };
  socket.on("error", () => {});
  socket.on("close", () => {
    closed = true;
    wake();
  });
  socket.on("data", (chunk) => {
    const parts = (rest + chunk.toString("utf8")).split("\n");
    rest = parts.pop()!;
    lines.push(...parts);
    wake();
  });
  const until = async (done: () => boolean) => {
    while (!done() && !closed) await new Promise<void>((resolve) => waiting.push(resolve));
  };
  return {
    socket,
    /** The next answer; undefined when the server hung up instead. */
    async next() {
      await until(() => lines.length > 0);
      const line = lines.shift();
      return line === undefined ? undefined : JSON.parse(line);
    },
    async hungUp() {
      await until(() => false);
      return closed;
    },
  };
}

const request = (verb: string, more: object = {}) => `${JSON.stringify({ v: 1, id: 5, verb, ...more })}\n`;

describe("control socket", () => {
  it("answers each request with its id, in order, whatever the chunks", async () => {
    await open();
    const client = dial();
    const bytes = request("status") + request("counters", { id: 6 });
    client.socket.write(bytes.slice(0, 10));
    client.socket.write(bytes.slice(10));
    expect(await client.next()).toEqual({ v: 1, id: 5, ok: true, result: { verb: "status" } });
    expect(await client.next()).toEqual({ v: 1, id: 6, ok: true, result: { verb: "counters" } });
  });

  it.each([
    ["not JSON", "hello\n", 0, "BAD_REQUEST"],
    ["an empty line", "\n", 0, "BAD_REQUEST"],
    ["a JSON number", "7\n", 0, "BAD_REQUEST"],
    ["another version", request("status", { v: 2 }), 5, "UNSUPPORTED_VERSION"],
    ["an unknown verb", request("reboot"), 5, "BAD_REQUEST"],
    ["an unknown key", request("status", { force: true }), 5, "BAD_REQUEST"],
    ["a verb without its connection", request("up"), 5, "BAD_REQUEST"],
    ["a name that is too long", request("up", { connection: "x".repeat(101) }), 5, "BAD_REQUEST"],
    ["a count out of range", request("log", { lines: -1, follow: false }), 5, "BAD_REQUEST"],
    ["bytes that are not UTF-8", Buffer.from([0xff, 0xfe, 0x0a]), 0, "BAD_REQUEST"],
  ])("refuses %s and goes on listening", async (_what, bytes, id, code) => {
    await open();
    const client = dial();
    client.socket.write(bytes);
    expect(await client.next()).toMatchObject({ v: 1, id, ok: false, error: { code } });
    client.socket.write(request("status"));
    expect(await client.next()).toMatchObject({ id: 5, ok: true });
  });

  it("hangs up on a line that never ends", async () => {
    await open();
    const client = dial();
    client.socket.write("x".repeat(maxRequestBytes));
    expect(await client.next()).toMatchObject({ id: 0, ok: false, error: { code: "BAD_REQUEST" } });
    expect(await client.hungUp()).toBe(true);
    const other = dial();
    other.socket.write(request("status"));
    expect(await other.next()).toMatchObject({ ok: true });
  });

  it("answers INTERNAL when the handler throws, and reports the error", async () => {
    await open();
    const client = dial();
    client.socket.write(request("dump"));
    expect(await client.next()).toMatchObject({ id: 5, ok: false, error: { code: "INTERNAL" } });
    expect(errors).toEqual([new Error("bug")]);
  });

  it("serves 32 clients at once, refuses the next, and takes one when another left", async () => {
    await open();
    const clients = Array.from({ length: 32 }, () => dial());
    for (const client of clients) {
      client.socket.write(request("status"));
      expect(await client.next()).toMatchObject({ ok: true });
    }
    const late = dial();
    expect(await late.next()).toMatchObject({ ok: false, error: { code: "TOO_MANY_CLIENTS" } });
    expect(await late.hungUp()).toBe(true);
    clients[0]!.socket.destroy();
    for (let served = false; !served; ) {
      const next = dial();
      next.socket.write(request("status"));
      served = (await next.next())?.ok === true;
    }
  });

  it("sends log records to a follower from its request on, and none to others", async () => {
    await open();
    const follower = dial();
    follower.socket.write(request("log", { lines: 0, follow: true }));
    expect(await follower.next()).toMatchObject({ ok: true });
    ring.push('{"msg":"SA up"}');
    expect(await follower.next()).toEqual({ v: 1, id: 5, record: { msg: "SA up" } });
  });

  it("never waits for a follower that does not read: it misses records and is told how many", async () => {
    await open();
    const follower = dial();
    follower.socket.write(request("log", { lines: 0, follow: true }));
    await follower.next();
    follower.socket.pause();
    const record = JSON.stringify({ msg: "x".repeat(4000) });
    // More than the socket's buffers and the server's own limit together.
    for (let i = 0; i < 2000; i++) ring.push(record);
    follower.socket.resume();
    // The answer to this comes behind every record that was not dropped.
    follower.socket.write(request("status"));
    let received = 0;
    while ((await follower.next()).record !== undefined) received++;
    expect(received).toBeGreaterThan(0);
    expect(received).toBeLessThan(2000);
    ring.push('{"msg":"last"}');
    expect(await follower.next()).toEqual({ v: 1, id: 5, record: { msg: "last" }, dropped: 2000 - received });
  });

  it("may be used by its owner and group only", async () => {
    await open();
    expect(statSync(path).mode & 0o777).toBe(0o660);
  });

  it("is removed on close", async () => {
    await open();
    server!.close();
    expect(existsSync(path)).toBe(false);
  });
});

describe("control socket as the daemon's lock", () => {
  it("refuses to start beside a daemon that answers", async () => {
    await open();
    const second = openControlServer({
      path,
      rings: { log: ring, events },
      handle: () => ok({}),
      onError: () => {},
    });
    await expect(second).rejects.toMatchObject({ name: "StartError", code: exitCode.busy });
    const client = dial();
    client.socket.write(request("status"));
    expect(await client.next()).toMatchObject({ ok: true });
  });

  it("replaces the socket that a killed daemon left", async () => {
    await open();
    // What kill -9 leaves: the path, and nobody behind it.
    const stale = join(directory, "stale.sock");
    const left = createServer();
    await new Promise<void>((resolve) => left.listen(stale, resolve));
    const copy = join(directory, "left.sock");
    linkSync(stale, copy);
    await new Promise((resolve) => left.close(resolve));
    expect(existsSync(copy)).toBe(true);
    const replaced = await openControlServer({
      path: copy,
      rings: { log: ring, events },
      handle: () => ok({}),
      onError: () => {},
    });
    const client = dial(copy);
    client.socket.write(request("status"));
    expect(await client.next()).toMatchObject({ ok: true });
    replaced.close();
  });

  it("never removes a file that is no socket", async () => {
    const file = join(directory, "file.sock");
    writeFileSync(file, "precious");
    const options = { path: file, rings: { log: ring, events }, handle: () => ok({}), onError: () => {} };
    await expect(openControlServer(options)).rejects.toThrow("not a socket");
    expect(readFileSync(file, "utf8")).toBe("precious");
  });

  it("names the remedy when the path cannot be used", async () => {
    const file = join(directory, "plain");
    writeFileSync(file, "");
    chmodSync(file, 0o600);
    const options = {
      path: join(file, "control.sock"),
      rings: { log: ring, events },
      handle: () => ok({}),
      onError: () => {},
    };
    await expect(openControlServer(options)).rejects.toBeInstanceOf(StartError);
    const long = { ...options, path: `/tmp/${"x".repeat(200)}` };
    await expect(openControlServer(long)).rejects.toMatchObject({ code: exitCode.usage });
  });
});

describe("control requests, from anyone", () => {
  it("never throw, and answer with the request's own id where it has one", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        const result = parseRequest(text);
        if (!result.ok) expect(result.error.id).toBeGreaterThanOrEqual(0);
      }),
    );
    expect(parseRequest('{"id":9}')).toMatchObject({ ok: false, error: { id: 9 } });
    expect(parseRequest('{"id":-9}')).toMatchObject({ ok: false, error: { id: 0 } });
    expect(parseRequest('{"__proto__":{"v":1},"id":1,"verb":"status"}')).toMatchObject({ ok: false });
  });

  it("cut into lines the same way whatever the chunks", () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ maxLength: 20 }).filter((s) => !s.includes("\n"))),
        fc.integer({ min: 1, max: 7 }),
        (lines, size) => {
          const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
          const splitter = new LineSplitter(1000);
          const got: string[] = [];
          for (let at = 0; at < bytes.length; at += size)
            got.push(...splitter.feed(bytes.subarray(at, at + size))!);
          expect(got).toEqual(lines);
        },
      ),
    );
  });
});
