import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ControlRequest, DaemonStatus } from "../../../src/api/control-protocol.ts";
import { exitCode } from "../../../src/cli/exit-codes.ts";
import { runCli } from "../../../src/cli/program.ts";
import { err, ok } from "../../../src/core/result.ts";
import { type ControlServer, openControlServer } from "../../../src/daemon/control-server.ts";
import type { ConnectionStatus } from "../../../src/gateway/contract.ts";
import { LogRing } from "../../../src/telemetry/log-ring.ts";
import { daemonStatus, failing, failure, manyPairs, up } from "./statuses.ts";

let directory: string;
let socket: string;
let server: ControlServer | undefined;
const ring = new LogRing(100);
const events = new LogRing(100);

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "culvert-cli-"));
  socket = join(directory, "control.sock");
});

afterEach(() => {
  server?.close();
  server = undefined;
  rmSync(directory, { recursive: true });
});

/** Runs `culvert ARGS`; what it prints must fit 80 columns unless it is JSON or a path of this test. */
async function culvert(...args: string[]) {
  const out: string[] = [];
  const errors: string[] = [];
  const output = {
    line: (text: string) => out.push(text),
    error: (text: string) => errors.push(text),
    width: 80,
  };
  const code = await runCli(args, "1.2.3", output);
  return { code, out: out.join("\n"), err: errors.join("\n").replaceAll(directory, "DIR") };
}

/** A daemon that answers `status` with each of `statuses` in turn, the last one for ever. */
async function daemon(...statuses: DaemonStatus[]) {
  const asked: ControlRequest[] = [];
  const queue = [...statuses];
  server = await openControlServer({
    path: socket,
    rings: { log: ring, events },
    handle: (request) => {
      asked.push(request);
      switch (request.verb) {
        case "status":
          return ok(queue.length > 1 ? queue.shift() : queue[0]);
        case "log":
          return ok({ records: ring.recent(request.lines).map((line) => JSON.parse(line)) });
        case "events":
          return ok({ records: events.recent(request.lines).map((line) => JSON.parse(line)) });
        case "counters":
          return ok({ counters: { "tun.packets.read": 12, "udp.sends": 3 }, drops: daemonStatus.drops });
        case "metrics":
          return Promise.resolve(ok({ text: "# HELP culvert_info 1\nculvert_info 1\n" }));
        case "dump":
          return ok({ everything: true });
        default:
          return request.connection === "gone"
            ? err({ code: "UNKNOWN_CONNECTION", message: "no connection is named gone" })
            : ok({ acceptedAtMs: 3_900_000 });
      }
    },
    onError: () => {},
  });
  return asked;
}

const withConnection = (connection: ConnectionStatus): DaemonStatus => ({
  ...daemonStatus,
  gateway: { name: "hq", ike: { halfOpen: 0, sas: 0, inboundSpis: 0, drops: {} }, connections: [connection] },
});

function fits80(text: string): void {
  for (const line of text.split("\n")) expect(line.length, line).toBeLessThanOrEqual(80);
}

describe("culvert status", () => {
  it("shows every connection in 80 columns, and why one is not up", async () => {
    await daemon(daemonStatus);
    const { code, out } = await culvert("status", "--control", socket);
    expect(code).toBe(exitCode.ok);
    fits80(out);
    expect(out).toMatchInlineSnapshot(`
      "gateway hq on culvert0 (MTU 1438), culvertd 1.2.3 for 1h 6m

      CONNECTION          STATE         FOR      PEER                      IN      OUT
      hq-branch           up            1h 6m    198.51.100.7:4500    5.3 GiB  1.1 KiB
      hq-backup-with-a-…  connecting *  16m 40s  2001:db8:ffff:ffff…      0 B      0 B

      * weak: see culvert status CONNECTION

      hq-backup: no IKE proposal in common (NO_PROPOSAL_CHOSEN_IKE, 12s ago)
        peer          203.0.113.9
        we offered    aes256gcm16-prfsha384-x25519-ecp384-ecp256-modp3072-modp2048
                      aes128gcm16-prfsha256-x25519
        peer offered  aes128-sha1-modp1024
        differs       encryption: ours ENCR_AES_GCM_16/256, theirs ENCR_AES_CBC/128
        change        on the peer, add one of our proposals; or here, add
                      aes128-sha1-modp1024 to ike.proposals (it is weak)

      DROPPED  REASON    MEANING
         1200  no_route  no policy or destination route takes this packet
            7  replayed  sequence number is a replay or left of the window (RFC 4303 …

      warning: IPv4 forwarding is off: hosts behind this gateway cannot use the
               tunnels; sysctl -w net.ipv4.ip_forward=1

      /etc/culvert/culvert.yaml has changed since the daemon started (connection
      hq-branch, routes): systemctl restart culvert applies it"
    `);
  });

  it("says which version and mode a tunnel speaks, and what is weak about it", async () => {
    const old: ConnectionStatus = {
      ...up,
      weak: ["ikev1: IKEv1 is deprecated (RFC 9395)"],
      tunnels: up.tunnels.map((tunnel) => ({ ...tunnel, ike: { ...tunnel.ike!, version: 1, mode: "main" } })),
    };
    await daemon(withConnection(old));
    const { out } = await culvert("status", "hq-branch", "--control", socket);
    fits80(out);
    expect(out).toContain("  weak            ikev1: IKEv1 is deprecated (RFC 9395)");
    expect(out.replaceAll(/\s+/g, " ")).toContain(
      "IKE SA IKEv1 main mode, 0011223344556677_i 8899aabbccddeeff_r, initiator",
    );
  });

  it("shows one connection in full", async () => {
    await daemon(daemonStatus);
    const { code, out } = await culvert("status", "hq-branch", "--control", socket);
    expect(code).toBe(exitCode.ok);
    fits80(out);
    expect(out).toMatchInlineSnapshot(`
      "hq-branch: up for 1h 6m

        tunnel to branch
          state         up
          local         192.0.2.1:4500  id hq.example
          remote        198.51.100.7:4500  id branch.example
          IKE SA        IKEv2, 0011223344556677_i 8899aabbccddeeff_r, initiator
          IKE suite     ENCR_AES_GCM_16/256 PRF_HMAC_SHA2_384 Curve25519
          age           1h 6m, rekey in 22h 46m, handshake 12 ms
          NAT           remote
          path MTU      1500 bytes, complete
          IPsec SA      in 00001001, out 00002002, ESP in UDP
          IPsec suite   ENCR_AES_GCM_16/256
          selectors     0.0.0.0/0 ::/0 === 0.0.0.0/0 ::/0
          inner MTU     1438 bytes
          age           1h 6m
          in            4000000 packets, 5.2 GiB
          out           12 packets, 1008 B"
    `);
  });

  it("sums up many CHILD_SAs, and names the pairs of subnets that are not up", async () => {
    const { gateway } = daemonStatus;
    await daemon({ ...daemonStatus, gateway: { ...gateway, connections: [manyPairs] } });
    const one = await culvert("status", "many", "--control", socket);
    fits80(one.out);
    expect(one.out).toContain("subnet pairs  59 of 60 up");
    expect(one.out).toContain("IPsec SAs     59");
    expect(one.out.split("\n").filter((line) => line.includes("2001:db8:1234:5678::/64 "))).toHaveLength(24);
    expect(one.out).toContain("and 35 more: culvert status --json has all");
    const all = await culvert("status", "--control", socket);
    fits80(all.out);
    expect(all.out).toContain("warning: 1 of 60 subnet pairs of many is not up: see culvert status many");
  });

  it("prints the daemon's own answer with --json", async () => {
    await daemon(daemonStatus);
    const { out } = await culvert("status", "--json", "--control", socket);
    expect(JSON.parse(out)).toEqual(JSON.parse(JSON.stringify(daemonStatus)));
    const one = await culvert("status", "hq-branch", "--json", "--control", socket);
    expect(JSON.parse(one.out).tunnels[0].ike.nat).toBe("remote");
  });

  it("names the connections there are when it knows none of that name", async () => {
    await daemon(withConnection(up));
    const { code, err } = await culvert("status", "hq", "--control", socket);
    expect([code, err]).toEqual([exitCode.failed, "no connection is named hq; configured: hq-branch"]);
  });

  it("cannot be made to write control characters by a peer", async () => {
    const evil = { ...failing, lastFailure: { ...failure, theirs: ["\u001b[2J\nconnection up"] } };
    await daemon(withConnection(evil));
    const { out } = await culvert("status", "--control", socket);
    expect(out).toContain("?[2J?connection up");
    expect(out).not.toContain("\u001b");
  });
});

describe("culvert up, down, reset, rekey", () => {
  const down: ConnectionStatus = { ...up, state: "down", tunnels: [] };
  const connecting: ConnectionStatus = { ...up, state: "connecting", tunnels: [] };
  const fresh: ConnectionStatus = {
    ...up,
    tunnels: up.tunnels.map((tunnel) => ({
      ...tunnel,
      ike: { ...tunnel.ike!, spiInitiator: "ffffffffffffffff" },
    })),
  };

  it("up waits until the connection is up and says with whom and how", async () => {
    const asked = await daemon(withConnection(down), withConnection(connecting), withConnection(up));
    const { code, out } = await culvert("up", "hq-branch", "--control", socket);
    expect(code).toBe(exitCode.ok);
    expect(out).toMatchInlineSnapshot(
      `
      "hq-branch is up with 198.51.100.7:4500
        IKE    ENCR_AES_GCM_16/256 PRF_HMAC_SHA2_384 Curve25519
        IPsec  ENCR_AES_GCM_16/256"
    `,
    );
    expect(asked.map(({ verb }) => verb)).toEqual(["status", "up", "status", "status"]);
  });

  it("up explains a failure: what we offered, what the peer offered, what differs, what to change", async () => {
    await daemon(
      withConnection(down),
      withConnection({ ...connecting, lastFailure: { ...failure, connection: "hq-branch" } }),
    );
    const { code, err } = await culvert("up", "hq-branch", "--control", socket);
    expect(code).toBe(exitCode.failed);
    fits80(err);
    expect(err).toMatchInlineSnapshot(`
      "hq-branch: no IKE proposal in common (NO_PROPOSAL_CHOSEN_IKE, 12s ago)
        peer          203.0.113.9
        we offered    aes256gcm16-prfsha384-x25519-ecp384-ecp256-modp3072-modp2048
                      aes128gcm16-prfsha256-x25519
        peer offered  aes128-sha1-modp1024
        differs       encryption: ours ENCR_AES_GCM_16/256, theirs ENCR_AES_CBC/128
        change        on the peer, add one of our proposals; or here, add
                      aes128-sha1-modp1024 to ike.proposals (it is weak)"
    `);
  });

  it("does not take an older failure for this attempt's", async () => {
    const old = { ...connecting, lastFailure: { ...failure, atMs: 3_899_999 } };
    await daemon(withConnection(down), withConnection(old), withConnection(up));
    expect((await culvert("up", "hq-branch", "--control", socket)).code).toBe(exitCode.ok);
  });

  it("gives up waiting, not trying, after --timeout", async () => {
    await daemon(withConnection(connecting));
    const { code, err } = await culvert("up", "hq-branch", "--timeout", "0", "--control", socket);
    expect(code).toBe(exitCode.timeout);
    expect(err).toBe(
      "hq-branch is connecting after 0 s; the daemon goes on trying: see culvert status hq-branch",
    );
  });

  it("reset is done when new SAs are up, not while the old ones still are", async () => {
    const asked = await daemon(
      withConnection(up),
      withConnection(up),
      withConnection(connecting),
      withConnection(fresh),
    );
    expect((await culvert("reset", "hq-branch", "--control", socket)).code).toBe(exitCode.ok);
    expect(asked.map(({ verb }) => verb)).toEqual(["status", "reset", "status", "status", "status"]);
  });

  it("rekey is done when the old CHILD_SAs are gone, or with --ike the old IKE SA", async () => {
    const children = up.tunnels[0]!.children;
    const tunnel = (change: object) => ({ ...up, tunnels: [{ ...up.tunnels[0]!, ...change }] });
    const newer = children.map((child) => ({ ...child, spiIn: child.spiIn + 1 }));
    const both = withConnection(tunnel({ children: [...newer, ...children] }));
    const done = withConnection(tunnel({ children: newer }));
    const asked = await daemon(withConnection(up), withConnection(up), both, done);
    expect((await culvert("rekey", "hq-branch", "--control", socket)).code).toBe(exitCode.ok);
    expect(asked.map(({ verb }) => verb)).toEqual(["status", "rekey", "status", "status", "status"]);
    expect(asked[1]).toMatchObject({ connection: "hq-branch", ike: false });
    server?.close();
    const again = await daemon(withConnection(up), done, withConnection(fresh));
    expect((await culvert("rekey", "hq-branch", "--ike", "--control", socket)).code).toBe(exitCode.ok);
    expect(again[1]).toMatchObject({ ike: true });
    expect(again).toHaveLength(4);
  });

  it("rekey is done over IKEv1 when packets leave on new SAs, beside which the old ones stay for a while", async () => {
    const [tunnel] = up.tunnels;
    const over1 = (spis: readonly number[]) => {
      const children = spis.map((spiIn) => ({ ...tunnel!.children[0]!, spiIn }));
      return withConnection({
        ...up,
        tunnels: [{ ...tunnel!, ike: { ...tunnel!.ike!, version: 1 as const }, children }],
      });
    };
    const asked = await daemon(over1([1]), over1([1, 2]), over1([2, 1]));
    expect((await culvert("rekey", "hq-branch", "--control", socket)).code).toBe(exitCode.ok);
    expect(asked.map(({ verb }) => verb)).toEqual(["status", "rekey", "status", "status"]);
  });

  it("down waits until it is down", async () => {
    await daemon(withConnection(up), withConnection(up), withConnection(down));
    const { code, out } = await culvert("down", "hq-branch", "--control", socket);
    expect([code, out]).toEqual([exitCode.ok, "hq-branch is down"]);
  });

  it("print their outcome with --json, failures and timeouts, too", async () => {
    await daemon(withConnection(down), withConnection({ ...connecting, lastFailure: failure }));
    const failed = await culvert("up", "hq-branch", "--json", "--control", socket);
    expect([failed.code, failed.err]).toEqual([exitCode.failed, ""]);
    expect(JSON.parse(failed.out)).toMatchObject({
      connection: "hq-branch",
      verb: "up",
      outcome: "failed",
      status: { lastFailure: { code: "NO_PROPOSAL_CHOSEN_IKE" } },
    });
  });
});

describe("culvert log", () => {
  it("prints one readable line per record, or the records with --json", async () => {
    ring.push('{"level":"info","time":"2026-01-02T03:04:05.678Z","connection":"hq","spi":7,"msg":"SA up"}');
    ring.push('{"level":"warn","time":"2026-01-02T03:04:06.000Z","text":"two words","list":[1],"msg":"odd"}');
    await daemon(daemonStatus);
    const { out } = await culvert("log", "-n", "2", "--control", socket);
    expect(out.split("\n")).toEqual([
      "2026-01-02T03:04:05.678Z info  SA up  connection=hq spi=7",
      '2026-01-02T03:04:06.000Z warn  odd  text="two words" list=[1]',
    ]);
    const json = await culvert("log", "-n", "1", "--json", "--control", socket);
    expect(JSON.parse(json.out)).toMatchObject({ level: "warn", msg: "odd" });
  });

  it("follows until the daemon hangs up", async () => {
    await daemon(daemonStatus);
    const follow = ring.follow.bind(ring);
    ring.follow = (callback) => {
      const unfollow = follow(callback);
      queueMicrotask(() => {
        ring.push('{"level":"info","time":"T","msg":"live"}');
        setImmediate(() => server!.close());
      });
      return unfollow;
    };
    const { code, out } = await culvert("log", "-f", "-n", "0", "--control", socket);
    expect([code, out]).toEqual([exitCode.ok, "T info  live"]);
  });
});

describe("culvert counters and dump", () => {
  it("fit 80 columns", async () => {
    await daemon(daemonStatus);
    const { out } = await culvert("counters", "--control", socket);
    fits80(out);
    expect(out).toMatchInlineSnapshot(`
      "COUNTER           VALUE
      tun.packets.read     12
      udp.sends             3

      DROPPED  REASON    MEANING
         1200  no_route  no policy or destination route takes this packet
            7  replayed  sequence number is a replay or left of the window (RFC 4303 …"
    `);
    expect(JSON.parse((await culvert("counters", "--json", "--control", socket)).out).drops).toHaveLength(2);
    expect(JSON.parse((await culvert("dump", "--control", socket)).out)).toEqual({ everything: true });
  });
});

describe("culvert check", () => {
  const valid = `
gateway: {name: hq, addresses: [192.0.2.1]}
customerGateways: {branch: {address: 198.51.100.7}}
connections:
  hq-branch:
    customerGateway: branch
    ike: {proposals: [aes128-sha256-modp1024]}
routes:
  destination: [{destination: 10.2.0.0/16, connection: hq-branch}]
`;
  const file = (text: string) => {
    const path = join(directory, "c.yaml");
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };

  it("sums up a valid file, with what is weak and the key that it made", async () => {
    const { code, out } = await culvert("check", file(valid), "--state", directory);
    expect(code).toBe(exitCode.ok);
    expect(out).toContain("c.yaml: valid");
    expect(out).toContain("hq-branch   198.51.100.7  destination  immediately");
    expect(out).toContain("weak");
    expect(out).toMatch(/kept\s+nowhere:\n {5}[A-Za-z0-9]{32,}$/);
  });

  it("shows no key that the daemon keeps or a file holds", async () => {
    writeFileSync(join(directory, "key"), "from a file\n", { mode: 0o600 });
    const named = valid.replace("    ike:", "    psk: {file: key}\n    ike:");
    const { code, out } = await culvert("check", file(named), "--state", directory);
    expect(code).toBe(exitCode.ok);
    expect(out).not.toContain("psk:");
    expect(out).not.toContain("from a file");
    const json = await culvert("check", file(named), "--state", directory, "--json");
    expect(JSON.parse(json.out)).toMatchObject({
      valid: true,
      generatedPsks: [],
      effective: { gateway: { name: "hq" } },
    });
    expect(json.out).not.toContain("from a file");
  });

  it("prints every problem on a line of its own, with file and line, and exits 78", async () => {
    const path = file(valid.replace("198.51.100.7", "127.0.0.1").replace("modp1024", "modp99"));
    const { code, out, err } = await culvert("check", path, "--state", directory);
    expect([code, out]).toEqual([exitCode.config, ""]);
    const lines = err.split("\n");
    expect(lines).toHaveLength(3);
    expect(lines[0]).toMatch(/^DIR\/c\.yaml:3: customerGateways\.branch\.address: 127\.0\.0\.1: /);
    expect(lines[1]).toMatch(/^DIR\/c\.yaml:7: connections\.hq-branch\.ike\.proposals\[0\]: /);
    expect(lines[2]).toBe("2 problems; nothing was changed");
    const json = await culvert("check", path, "--state", directory, "--json");
    expect(json.code).toBe(exitCode.config);
    expect(JSON.parse(json.out)).toMatchObject({
      valid: false,
      problems: [expect.any(String), expect.any(String)],
    });
  });

  it.each([
    ["is not there", (path: string) => join(path, "none.yaml"), "no such file"],
    ["is a directory", (path: string) => path, "is a directory"],
  ])("says so when the file %s", async (_what, choose, message) => {
    const { code, err } = await culvert("check", choose(directory));
    expect(code).toBe(exitCode.config);
    expect(err).toContain(message);
  });
});

describe("a daemon that is not there, and wrong usage", () => {
  it("names the socket and how to start the daemon", async () => {
    const { code, err } = await culvert("status", "--control", socket);
    expect(code).toBe(exitCode.unavailable);
    expect(err).toBe(
      "culvertd is not running: nothing answers at DIR/control.sock\n" +
        "start it with: systemctl start culvert (or name its socket with --control)",
    );
  });

  it("says so when the daemon hangs up in the middle", async () => {
    server = await openControlServer({
      path: socket,
      rings: { log: ring, events },
      handle: () => {
        server!.close();
        return ok({});
      },
      onError: () => {},
    });
    const { code, err } = await culvert("status", "--control", socket);
    expect(code).toBe(exitCode.unavailable);
    expect(err).toContain("hung up");
  });

  it.each([
    [["frobnicate"], "unknown command 'frobnicate'"],
    [["up"], "missing required argument 'connection'"],
    [["status", "a", "b"], "too many arguments"],
    [["up", "a", "--timeout", "soon"], "0 to 86400 seconds"],
    [["up", "a", "--timeout", "-1"], "0 to 86400 seconds"],
    [["log", "-n", "1e9"], "0 to 1000 records"],
    [["status", "--jason"], "unknown option '--jason'"],
  ])("refuses %j", async (args, message) => {
    const { code, err } = await culvert(...args);
    expect(code).toBe(exitCode.usage);
    expect(err).toContain(message);
  });

  it("prints its version, and help in 80 columns", async () => {
    expect(await culvert("--version")).toEqual({ code: exitCode.ok, out: "1.2.3", err: "" });
    const { code, out } = await culvert("--help");
    expect(code).toBe(exitCode.ok);
    fits80(out);
  });
});
