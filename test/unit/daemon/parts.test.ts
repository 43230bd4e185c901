import { describe, expect, it } from "vitest";
import { IpAddress } from "../../../src/core/address.ts";
import { Secret } from "../../../src/core/secret.ts";
import { configDifference } from "../../../src/daemon/config-diff.ts";
import { exitCode, StartError } from "../../../src/daemon/exit-codes.ts";
import { hostWarnings } from "../../../src/daemon/host-checks.ts";
import { parseOptions } from "../../../src/daemon/options.ts";
import { SendTrouble } from "../../../src/daemon/send-trouble.ts";
import { startProblem } from "../../../src/daemon/start-problem.ts";
import { listenDescriptors, serviceManager } from "../../../src/daemon/systemd.ts";
import { tunMtu } from "../../../src/daemon/tun-mtu.ts";
import {
  DhGroup,
  EncryptionAlgorithm,
  encrById,
  IntegrityAlgorithm,
  innerMtu,
  integById,
} from "../../../src/registry/index.ts";
import { configOf, exampleConfig, FakeKernel, fakeLog } from "./fakes.ts";

describe("TUN MTU (RFC 4303 §2.4)", () => {
  const encr = EncryptionAlgorithm.code;
  const auth = IntegrityAlgorithm.code;

  it.each([
    // 1500 − 20 − 8 − 8 − IV − ICV, down to a multiple, − 2
    ["AES-GCM over IPv4", 20, encr.ENCR_AES_GCM_16, undefined, 1438],
    ["AES-GCM over IPv6", 40, encr.ENCR_AES_GCM_16, undefined, 1418],
    ["AES-CBC with SHA-256 over IPv4", 20, encr.ENCR_AES_CBC, auth.AUTH_HMAC_SHA2_256_128, 1422],
    ["AES-CBC with SHA-512 over IPv6", 40, encr.ENCR_AES_CBC, auth.AUTH_HMAC_SHA2_512_256, 1390],
  ] as const)("%s", (_name, outer, encryption, integrity, expected) => {
    expect(innerMtu(1500, outer + 8, encryption, integrity)).toBe(expected);
  });

  it("fits the path exactly for every suite there is: one byte more does not", () => {
    const outerBytes = (inner: number, id: number, integrity: number | undefined): number => {
      const cipher = encrById.get(id)!;
      const unit = Math.max(cipher.block, 4);
      const icv = cipher.icvBytes + (integrity === undefined ? 0 : integById.get(integrity)!.icvBytes);
      return 20 + 8 + 8 + cipher.ivBytes + Math.ceil((inner + 2) / unit) * unit + icv;
    };
    for (const [id, cipher] of encrById) {
      for (const integrity of cipher.mode === "aead" ? [undefined] : integById.keys()) {
        const mtu = innerMtu(1500, 28, id, integrity);
        expect(outerBytes(mtu, id, integrity)).toBeLessThanOrEqual(1500);
        expect(outerBytes(mtu + 1, id, integrity)).toBeGreaterThan(1500);
      }
    }
  });

  it("takes the operator's number as it is, and the largest overhead for auto", () => {
    expect(tunMtu(configOf(exampleConfig.replace("gateway:", "gateway:\n  tun: {mtu: 1300}")))).toBe(1300);
    expect(tunMtu(configOf(exampleConfig))).toBe(1438);
    expect(tunMtu(configOf(exampleConfig.replace("[192.0.2.1]", '[192.0.2.1, "2001:db8::1"]')))).toBe(1418);
  });

  it("is the path's less the outer header when there is no connection yet", () => {
    expect(tunMtu(configOf("gateway: {addresses: [192.0.2.1]}"))).toBe(1480);
  });

  it("knows no algorithm outside the registry", () => {
    expect(() => innerMtu(1500, 28, 9999, undefined)).toThrow(RangeError);
    expect(DhGroup.nameOf(31)).not.toBe("");
  });
});

describe("systemd", () => {
  it("is told nothing when it did not start the daemon", () => {
    const kernel = new FakeKernel();
    const manager = serviceManager(kernel, {}, 42);
    manager.ready("up");
    manager.stopping();
    expect(kernel.notifications).toEqual([]);
    expect(manager.watchdogIntervalMs).toBeUndefined();
  });

  it("keeps a status on one line", () => {
    const kernel = new FakeKernel();
    serviceManager(kernel, { NOTIFY_SOCKET: "@x" }, 42).status("a\nREADY=0");
    expect(kernel.notifications).toEqual(["STATUS=a READY=0"]);
  });

  it.each([
    [{ WATCHDOG_USEC: "10000000" }, 5000],
    [{ WATCHDOG_USEC: "10000000", WATCHDOG_PID: "42" }, 5000],
    [{ WATCHDOG_USEC: "10000000", WATCHDOG_PID: "43" }, undefined],
    [{ WATCHDOG_USEC: "soon" }, undefined],
    [{ WATCHDOG_USEC: "0" }, undefined],
  ])("watchdog %o → %s ms", (environment, expected) => {
    const manager = serviceManager(new FakeKernel(), { NOTIFY_SOCKET: "@x", ...environment }, 42);
    expect(manager.watchdogIntervalMs).toBe(expected);
  });

  it.each([
    [{ LISTEN_FDS: "2", LISTEN_PID: "42" }, [3, 4]],
    [{ LISTEN_FDS: "2", LISTEN_PID: "43" }, []],
    [{ LISTEN_FDS: "2" }, []],
    [{ LISTEN_FDS: "-1", LISTEN_PID: "42" }, []],
    [{ LISTEN_FDS: "many", LISTEN_PID: "42" }, []],
    [{}, []],
  ])("sockets %o → %o", (environment, expected) => {
    expect(listenDescriptors(environment, 42)).toEqual(expected);
  });
});

describe("datagrams that the kernel refuses", () => {
  const to = (address: string) => ({ address: IpAddress.parse(address), port: 500 });
  const refuse = (code: string) => () => {
    throw Object.assign(new Error(`IKE message: ${code}`), { code });
  };
  function open() {
    const { log, lines } = fakeLog();
    return { trouble: new SendTrouble(log), lines };
  }

  it("are one record for each peer and reason until one gets through", () => {
    const { trouble, lines } = open();
    for (let i = 0; i < 5; i++) trouble.watch(to("192.0.2.1"), refuse("ENETUNREACH"));
    expect(lines()).toHaveLength(1);
    trouble.watch(to("192.0.2.2"), refuse("ENETUNREACH"));
    trouble.watch(to("192.0.2.1"), refuse("EPERM"));
    expect(lines()).toHaveLength(3);
    trouble.watch(to("192.0.2.1"), () => {});
    trouble.watch(to("192.0.2.1"), refuse("EPERM"));
    expect(lines()).toHaveLength(4);
  });

  it("are forgotten when there are too many, and a bug is not taken for one", () => {
    const { trouble, lines } = open();
    for (let i = 0; i < 2000; i++) trouble.watch(to(`10.0.${i >> 8}.${i & 255}`), refuse("EPERM"));
    expect(lines()).toHaveLength(2000);
    expect(() => trouble.watch(to("192.0.2.1"), refuse("ERR_INVALID_ARG_TYPE"))).toThrow();
  });
});

describe("a start that fails", () => {
  const errno = (code: string, message: string) => Object.assign(new Error(message), { code });

  it.each([
    [
      new StartError(exitCode.busy, "another runs", "stop it"),
      exitCode.busy,
      "culvertd: another runs; stop it",
    ],
    [
      errno("EPERM", "TUN device culvert0: Operation not permitted; run with CAP_NET_ADMIN"),
      exitCode.noPermission,
      "culvertd: TUN device culvert0: Operation not permitted; run with CAP_NET_ADMIN",
    ],
    [
      errno("EPERM", "set link culvert0: Operation not permitted"),
      exitCode.noPermission,
      "culvertd: set link culvert0: Operation not permitted; " +
        "run as root, or with the capabilities CAP_NET_ADMIN and CAP_NET_RAW",
    ],
    [
      errno("EADDRINUSE", "port 500: in use; stop it"),
      exitCode.unavailable,
      "culvertd: port 500: in use; stop it",
    ],
    [errno("ADDON_MISSING", "not built"), exitCode.unavailable, "culvertd: not built"],
  ])("is one line with its remedy: %s", (error, code, line) => {
    expect(startProblem(error)).toEqual({ code, line });
  });

  it("that is our bug says so, with the place", () => {
    const { code, line } = startProblem(new TypeError("x is not a function"));
    expect(code).toBe(exitCode.failed);
    expect(line).toMatch(/this is a bug, please report it: TypeError: x is not a function\n\s+at /);
    expect(startProblem("odd").line).toContain("odd");
  });
});

describe("what a restart would change", () => {
  it("nothing, for the same file", () => {
    expect(configDifference(configOf(exampleConfig), configOf(exampleConfig))).toEqual([]);
  });

  it("a key, though it prints the same", () => {
    expect(configDifference(configOf(exampleConfig, "one"), configOf(exampleConfig, "two"))).toEqual([
      "connection hq-branch",
    ]);
  });

  it("connections that come and go, the gateway, the routes", () => {
    const other = exampleConfig.replaceAll("hq-branch", "renamed").replace("name: hq", "name: hub");
    expect(configDifference(configOf(exampleConfig), configOf(other))).toEqual([
      "gateway",
      "connection hq-branch",
      "connection renamed",
      "routes",
    ]);
  });

  it("never shows a key", () => {
    const parts = configDifference(
      configOf(exampleConfig, "first secret"),
      configOf(exampleConfig, "second"),
    );
    expect(JSON.stringify(parts)).not.toContain("secret");
    expect(`${Secret.fromText("x")}`).toBe("[secret]");
  });
});

describe("host warnings", () => {
  const warnings = (sysctls: Record<string, string>, text = exampleConfig) =>
    hostWarnings(configOf(text), { sysctl: (name) => sysctls[name] });

  it("none on a host that is set up", () => {
    expect(warnings({ "net.ipv4.ip_forward": "1", "net.ipv4.conf.all.rp_filter": "2" })).toEqual([]);
  });

  it("forwarding that is off, in the families that are routed", () => {
    expect(warnings({ "net.ipv4.ip_forward": "0", "net.ipv6.conf.all.forwarding": "0" })).toEqual([
      expect.stringContaining("sysctl -w net.ipv4.ip_forward=1"),
    ]);
    const six = exampleConfig.replace("10.2.0.0/16", "2001:db8:2::/48");
    expect(warnings({ "net.ipv4.ip_forward": "0", "net.ipv6.conf.all.forwarding": "0" }, six)).toEqual([
      expect.stringContaining("sysctl -w net.ipv6.conf.all.forwarding=1"),
    ]);
  });

  it("strict reverse path filtering, unless loose wins", () => {
    const strict = expect.stringContaining("rp_filter=2");
    expect(warnings({ "net.ipv4.conf.all.rp_filter": "1" })).toEqual([strict]);
    expect(warnings({ "net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.default.rp_filter": "1" })).toEqual([
      strict,
    ]);
    expect(warnings({ "net.ipv4.conf.all.rp_filter": "1", "net.ipv4.conf.culvert0.rp_filter": "2" })).toEqual(
      [],
    );
  });
});

describe("culvertd's command line", () => {
  function parse(...args: string[]) {
    const printed: string[] = [];
    const result = parseOptions(args, "1.2.3", {
      out: (text) => printed.push(text),
      err: (text) => printed.push(text),
    });
    return { result, printed: printed.join("") };
  }

  it("has defaults for everything", () => {
    expect(parse().result).toEqual({
      kind: "run",
      options: {
        config: "/etc/culvert/culvert.yaml",
        control: "/run/culvert/control.sock",
        state: "/var/lib/culvert",
        logLevel: "info",
        insecureKeylog: undefined,
      },
    });
  });

  it("prints help and version and ends well", () => {
    expect(parse("--version")).toEqual({ result: { kind: "exit", code: exitCode.ok }, printed: "1.2.3\n" });
    expect(parse("--help").printed).toContain("--config <file>");
  });

  it.each([
    [["--log-level", "loud"], "Allowed choices are debug, info, warn, error"],
    [["--confg", "x"], "unknown option '--confg'"],
    [["extra"], "too many arguments"],
    [["--config", ""], "needs a path"],
    [["--config"], "argument missing"],
  ])("refuses %j", (args, message) => {
    const { result, printed } = parse(...args);
    expect(result).toEqual({ kind: "exit", code: exitCode.usage });
    expect(printed).toContain(message);
  });
});
