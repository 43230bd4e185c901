/**
 * Debian's strongSwan as a peer: charon-systemd with the in-process ESP of its `kernel-libipsec` plugin, a private
 * /run, its own configuration and vici socket. Nothing of the host's own strongSwan is read or touched.
 */
import { copyFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { delay, must, type Program, type RunResult, run } from "./exec.ts";
import type { Testbed } from "./testbed.ts";

export interface StrongSwanOptions {
  readonly netns: string;
  /** Names this instance's files within the bed. */
  readonly name: string;
  readonly localAddress: string;
  /** `%any` to accept any peer address. */
  readonly remoteAddress: string;
  readonly localId: string;
  readonly remoteId: string;
  readonly psk: string;
  /** IKEv1 in this mode; IKEv2 when absent. */
  readonly ikev1?: "main" | "aggressive";
  readonly localSubnets: readonly string[];
  readonly remoteSubnets: readonly string[];
  /** swanctl's keywords, e.g. `aes256gcm16-prfsha384-x25519`. */
  readonly ikeProposals: readonly string[];
  readonly espProposals: readonly string[];
  /** Octets of an IP datagram above which charon sends an IKE message in fragments; its own default is 1280. */
  readonly fragmentSize?: number;
  /** A postquantum preshared key beside the other one (RFC 8784). */
  readonly ppk?: { readonly id: string; readonly secret: string };
  /** The root of another system whose charon is to run, in place of the host's. */
  readonly root?: string;
  /** How often a request is repeated before the peer counts as dead; 4, about 20 s, by default. */
  readonly retransmitTries?: number;
  /** Set up the new IKE SA before the old one is deleted when reauthenticating; charon's default is the opposite. */
  readonly makeBeforeBreak?: boolean;
  /** charon's own scale, −1 to 4; 1 when absent. */
  readonly logLevel?: number;
  /** Lines for the connection and for the child, e.g. `rekey_time = 20s`. */
  readonly extraConnection?: readonly string[];
  readonly extraChild?: readonly string[];
  /** In place of the child `net`: one CHILD_SA each. */
  readonly children?: readonly StrongSwanChild[];
  /** In place of the connection `peer`: what differs from the options above. */
  readonly connections?: readonly (Partial<StrongSwanOptions> & { readonly name: string })[];
}

export interface StrongSwanChild {
  readonly name: string;
  readonly localSubnets: readonly string[];
  readonly remoteSubnets: readonly string[];
  /** The connection's when absent. */
  readonly espProposals?: readonly string[];
}

/**
 * The root of a system with strongSwan 6, which does additional key exchanges; `scripts/strongswan6-root.sh` makes one.
 * undefined when nobody has named one.
 */
export function strongSwan6Root(): string | undefined {
  const root = process.env["CULVERT_STRONGSWAN6_ROOT"];
  return root === undefined || root === "" ? undefined : root;
}

/** The packages without which `startStrongSwan` cannot work. */
export function strongSwanMissing(): boolean {
  return !existsSync(charon) || !existsSync(libipsec) || !existsSync(swanctl);
}

export class StrongSwan {
  readonly program: Program;
  readonly logFile: string;
  /** Path of its control socket. */
  readonly viciSocket: string;
  readonly #uri: string;
  readonly #netns: string;
  readonly #binary: string;
  readonly #environment: Readonly<Record<string, string>>;

  private constructor(
    program: Program,
    at: { socket: string; netns: string; swanctl: string; logFile: string },
    environment: Readonly<Record<string, string>>,
  ) {
    this.program = program;
    this.logFile = at.logFile;
    this.viciSocket = at.socket;
    this.#uri = `unix://${at.socket}`;
    this.#netns = at.netns;
    this.#binary = at.swanctl;
    this.#environment = environment;
  }

  /** Starts charon and loads the connection `peer` with its child `net`; initiates nothing. */
  static async start(bed: Testbed, options: StrongSwanOptions): Promise<StrongSwan> {
    const folder = join(bed.directory, options.name);
    const socket = join(folder, "charon.vici");
    const logFile = join(folder, "charon.log");
    const environment = {
      STRONGSWAN_CONF: bed.file(`${options.name}/strongswan.conf`, daemonConf(socket, logFile, options)),
    };
    const connectionFile = bed.file(`${options.name}/swanctl.conf`, connectionConf(options));
    // Copies: Ubuntu's AppArmor profiles are bound to the installed paths and would deny our private directory.
    const binaries = { charon: join(folder, "charon-systemd"), swanctl: join(folder, "swanctl") };
    copyFileSync(charon, binaries.charon);
    copyFileSync(swanctl, binaries.swanctl);
    const program = bed.start(`strongSwan ${options.name}`, charonCommand(bed, binaries.charon, options), {
      netns: options.netns,
      env: environment,
    });
    const at = { socket, netns: options.netns, swanctl: binaries.swanctl, logFile };
    const self = new StrongSwan(program, at, environment);
    await self.#loaded(connectionFile);
    return self;
  }

  /** Runs a swanctl command against this charon. */
  swanctl(args: readonly string[], timeoutMs = 40_000): Promise<RunResult> {
    const argv = [this.#binary, ...args, "--uri", this.#uri];
    return run(argv, { netns: this.#netns, env: this.#environment, timeoutMs });
  }

  /** Initiates the child; resolves with the exit code and swanctl's log of the exchange. */
  initiate(timeoutSeconds = 15, child = "net"): Promise<RunResult> {
    return this.swanctl(["--initiate", "--child", child, "--timeout", `${timeoutSeconds}`]);
  }

  /** `swanctl --list-sas`, for people and for matching. */
  async sas(): Promise<string> {
    return (await this.swanctl(["--list-sas"])).stdout;
  }

  /** Resolves with the first line of charon's log that matches. */
  async waitForLog(pattern: RegExp, timeoutMs: number): Promise<string> {
    const until = performance.now() + timeoutMs;
    for (;;) {
      const found = readFileSync(this.logFile, "utf8")
        .split("\n")
        .find((line) => pattern.test(line));
      if (found !== undefined) return found;
      if (performance.now() > until) throw new Error(`charon did not log ${pattern} in ${timeoutMs} ms`);
      await delay(50);
    }
  }

  async #loaded(connectionFile: string): Promise<void> {
    let last: RunResult | undefined;
    for (let attempt = 0; attempt < 100; attempt += 1) {
      if (!this.program.running) break;
      last = await this.swanctl(["--load-all", "--noprompt", "--file", connectionFile]);
      if (last.code === 0) return;
      await delay(100);
    }
    throw new Error(`strongSwan did not start: ${last?.stderr ?? ""}\n${this.program.tail()}`);
  }
}

/** The tunnel device of `kernel-libipsec` in `netns` is up. */
export async function libipsecDeviceIsUp(netns: string): Promise<boolean> {
  return (await must(["ip", "-n", netns, "-br", "link"])).includes("ipsec0");
}

/** charon keeps its pid file in /run: a private one lets several run side by side. */
function charonCommand(bed: Testbed, binary: string, { root }: StrongSwanOptions): string[] {
  if (root === undefined)
    return ["unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$0"', binary];
  const script = `set -e
mount --bind "$0" "$0"
mount --rbind /dev "$0/dev"
mount --rbind /sys "$0/sys"
mount -t proc proc "$0/proc"
mount -t tmpfs tmpfs "$0/run"
mount -t tmpfs tmpfs "$0/tmp"
mkdir -p "$0$1"
mount --bind "$1" "$0$1"
exec chroot "$0" ${charon}`;
  return ["unshare", "-m", "sh", "-c", script, root, bed.directory];
}

function daemonConf(socket: string, logFile: string, options: StrongSwanOptions): string {
  const { fragmentSize, retransmitTries = 4, logLevel } = options;
  return `
charon-systemd {
  load = random nonce openssl aes sha1 sha2 hmac kdf gmp curve25519 gcm ctr ccm chapoly kernel-libipsec kernel-netlink socket-default vici updown
  # The first retransmission after a second: a lost handshake message must not cost a test four.
  retransmit_timeout = 1.0
  retransmit_tries = ${retransmitTries}
  install_virtual_ip = no
  # Without it charon answers nobody in aggressive mode.
  i_dont_care_about_security_and_use_aggressive_mode_psk = yes
  make_before_break = ${options.makeBeforeBreak === true ? "yes" : "no"}
  ${fragmentSize === undefined ? "" : `fragment_size = ${fragmentSize}`}
  plugins {
    vici {
      socket = unix://${socket}
    }
  }
  filelog {
    main {
      path = ${logFile}
      default = ${logLevel ?? 1}
      flush_line = yes
      time_format = %T
      time_add_ms = yes
    }
  }
}
`;
}

function connectionConf(o: StrongSwanOptions): string {
  const connections = (o.connections ?? [{ name: "peer" }]).map((own) => ({ ...o, ...own }));
  return `
connections {
${connections.map(oneConnection).join("\n")}
}
secrets {
${connections.map(secret).join("\n")}
  ${o.ppk ? `ppk-peer {\n    id = ${o.ppk.id}\n    secret = "${o.ppk.secret}"\n  }` : ""}
}
`;
}

function oneConnection(o: StrongSwanOptions): string {
  return `  ${o.name} {
    version = ${o.ikev1 === undefined ? 2 : 1}
    aggressive = ${o.ikev1 === "aggressive" ? "yes" : "no"}
    local_addrs = ${o.localAddress}
    remote_addrs = ${o.remoteAddress}
    proposals = ${o.ikeProposals.join(",")}
    # kernel-libipsec knows ESP in UDP only.
    encap = yes
    mobike = no
    ${(o.extraConnection ?? []).join("\n    ")}
    local {
      auth = psk
      id = ${o.localId}
    }
    remote {
      auth = psk
      id = ${o.remoteId}
    }
    children {
${(o.children ?? [{ ...o, name: "net" }]).map((child) => childConf(child, o)).join("\n")}
    }
  }`;
}

function secret(o: StrongSwanOptions): string {
  return `  ike-${o.name} {
    id-local = ${o.localId}
    id-remote = ${o.remoteId}
    secret = "${o.psk}"
  }`;
}

function childConf(
  child: StrongSwanChild,
  { espProposals: common, extraChild = [] }: StrongSwanOptions,
): string {
  return `      ${child.name} {
        local_ts = ${child.localSubnets.join(",")}
        remote_ts = ${child.remoteSubnets.join(",")}
        esp_proposals = ${(child.espProposals ?? common).join(",")}
        ${extraChild.join("\n        ")}
      }`;
}

const charon = "/usr/sbin/charon-systemd";
const swanctl = "/usr/sbin/swanctl";
const libipsec = "/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so";
