/**
 * Many tunnels between one culvertd and one charon, each with settings of its own: a hundred combinations cost two
 * programs and one network. strongSwan has an address for each tunnel, so that culvert tells them apart from the first
 * message on (IKEv1's main mode needs that: the PSK is found by address).
 *
 *     culvert 192.0.2.1, 10.1.k.0/24 ═══ strongSwan 192.0.2.(10 + n), 10.2.n.0/24
 *
 * for tunnel n (from 1) and its child k (from 0).
 */
import { connectControl } from "../../src/cli/client.ts";
import type { ConnectionStatus } from "../../src/gateway/contract.ts";
import { Culvert } from "../../testbed/culvert.ts";
import { delay, must } from "../../testbed/exec.ts";
import { StrongSwan, type StrongSwanOptions } from "../../testbed/strongswan.ts";
import { waitForPing } from "../../testbed/traffic.ts";
import { Vici } from "../../testbed/vici.ts";
import { network } from "./support.ts";

export interface Tunnel {
  readonly name: string;
  readonly mode: "main" | "aggressive";
  readonly ike: string;
  /** One child each. */
  readonly esp: readonly string[];
  /** Where culvert is told something else than strongSwan. */
  readonly culvert?: {
    readonly mode?: "main" | "aggressive";
    readonly ike?: readonly string[];
    readonly esp?: readonly string[];
    readonly psk?: string;
    readonly localId?: unknown;
    readonly remoteId?: unknown;
    readonly localSubnets?: readonly string[];
  };
  readonly strongSwan?: Partial<Pick<StrongSwanOptions, "localId" | "remoteId">>;
}

export class ManyTunnels {
  readonly culvert: Culvert;
  readonly strongSwan: StrongSwan;
  readonly #tunnels: readonly Tunnel[];
  readonly #hosts: { readonly a: string; readonly b: string };

  private constructor(
    tunnels: readonly Tunnel[],
    hosts: { a: string; b: string },
    programs: { culvert: Culvert; strongSwan: StrongSwan },
  ) {
    this.#tunnels = tunnels;
    this.#hosts = hosts;
    this.culvert = programs.culvert;
    this.strongSwan = programs.strongSwan;
  }

  /** Starts both programs; nobody initiates anything before `initiate`. */
  static async start(tunnels: readonly Tunnel[]): Promise<ManyTunnels> {
    const { bed, a, b } = await network();
    const children = Math.max(...tunnels.map(({ esp }) => esp.length));
    const lines = (device: string, addresses: readonly string[]) =>
      addresses.map((address) => `addr add ${address} dev ${device}\n`).join("");
    const batch = async (netns: string, content: string) => {
      await must(["ip", "-force", "-n", netns, "-batch", bed.file(`${netns}.batch`, content)]);
    };
    const sites = tunnels.map((_, i) => i + 1);
    const more = Array.from({ length: children - 1 }, (_, i) => i + 1);
    await batch(
      a.gateway,
      lines(
        "lan",
        more.map((k) => `10.1.${k}.1/24`),
      ),
    );
    await batch(
      a.host,
      lines(
        "eth0",
        more.map((k) => `10.1.${k}.2/24`),
      ),
    );
    await batch(
      b.gateway,
      lines(
        "wan",
        sites.map((n) => `${outer(n)}/24`),
      ) +
        lines(
          "lan",
          sites.map((n) => `10.2.${n}.1/24`),
        ),
    );
    await batch(
      b.host,
      lines(
        "eth0",
        sites.map((n) => `10.2.${n}.2/24`),
      ),
    );
    const [culvert, strongSwan] = await Promise.all([
      Culvert.start(bed, {
        netns: a.gateway,
        name: "a",
        localAddress: a.outerAddress,
        remoteAddress: "any",
        remoteSubnets: [],
        psk: "",
        file: culvertFile(tunnels),
      }),
      StrongSwan.start(bed, {
        netns: b.gateway,
        name: "strongswan",
        ikev1: "main",
        localAddress: b.outerAddress,
        remoteAddress: a.outerAddress,
        localId: b.outerAddress,
        remoteId: a.outerAddress,
        psk: "",
        localSubnets: [],
        remoteSubnets: [],
        ikeProposals: [],
        espProposals: [],
        connections: tunnels.map((tunnel, i) => strongSwanConnection(tunnel, i + 1)),
      }),
    ]);
    return new ManyTunnels(tunnels, { a: a.host, b: b.host }, { culvert, strongSwan });
  }

  /**
   * Has one side begin every tunnel, a few at a time (charon's socket has room for hardly a hundred datagrams). Resolves
   * with what culvert says when each satisfies `accept`, or `timeoutMs` after it was begun has not.
   */
  async initiate(
    side: "culvert" | "strongSwan",
    accept: (connection: ConnectionStatus, tunnel: Tunnel) => boolean,
    timeoutMs: number,
  ): Promise<ReadonlyMap<string, ConnectionStatus>> {
    const client = await connectControl(this.culvert.controlSocket);
    const vici = await Vici.connect(this.strongSwan.viciSocket);
    try {
      for (let i = 0; i < this.#tunnels.length; i += atOnce) {
        const some = this.#tunnels.slice(i, i + atOnce);
        for (const { name, esp } of some) {
          if (side === "culvert") await client.ask({ verb: "up", connection: name });
          else
            for (const k of esp.keys())
              await vici.ask("initiate", { child: child(name, k), ike: name, timeout: "-1" });
        }
        await this.#until(some, accept, timeoutMs);
      }
      return (await this.#until([], accept, 0)).found;
    } finally {
      client.close();
      vici.close();
    }
  }

  /** strongSwan deletes all that it has; resolves when culvert has nothing left that is up. */
  async terminate(): Promise<void> {
    const vici = await Vici.connect(this.strongSwan.viciSocket);
    for (const { name } of this.#tunnels) await vici.ask("terminate", { ike: name });
    vici.close();
    const { missing } = await this.#until(this.#tunnels, ({ state }) => state !== "up", 10_000);
    if (missing.length > 0) throw new Error(`still up: ${missing.join(", ")}`);
  }

  /** Throws when a packet does not get through a tunnel, in either direction. */
  async ping(): Promise<void> {
    for (const [i, { esp }] of this.#tunnels.entries())
      await Promise.all(
        esp.map((_, k) => waitForPing(this.#hosts.a, `10.2.${i + 1}.2`, 5_000, `10.1.${k}.2`)),
      );
  }

  async #until(
    tunnels: readonly Tunnel[],
    accept: (connection: ConnectionStatus, tunnel: Tunnel) => boolean,
    timeoutMs: number,
  ): Promise<{ found: ReadonlyMap<string, ConnectionStatus>; missing: readonly string[] }> {
    const until = performance.now() + timeoutMs;
    for (;;) {
      const { gateway } = await this.culvert.status();
      const found = new Map(gateway.connections.map((connection) => [connection.name, connection]));
      const missing = tunnels.filter((tunnel) => !accept(found.get(tunnel.name)!, tunnel));
      if (missing.length === 0 || performance.now() > until)
        return { found, missing: missing.map(({ name }) => name) };
      await delay(50);
    }
  }
}

/** Tunnels that are begun before one waits for them. */
const atOnce = 8;
const outer = (n: number) => `192.0.2.${n + 10}`;
const child = (name: string, k: number) => `${name}-${k}`;
const localSubnets = ({ esp }: Tunnel) => esp.map((_, k) => `10.1.${k}.0/24`);
/** One of its own for each: the wrong one is found out. */
const key = (n: number) => `the key of tunnel ${n}`;

function strongSwanConnection(tunnel: Tunnel, n: number) {
  return {
    name: tunnel.name,
    ikev1: tunnel.mode,
    localAddress: outer(n),
    localId: outer(n),
    psk: key(n),
    ikeProposals: [tunnel.ike],
    children: tunnel.esp.map((esp, k) => ({
      name: child(tunnel.name, k),
      localSubnets: [`10.2.${n}.0/24`],
      remoteSubnets: [`10.1.${k}.0/24`],
      espProposals: [esp],
    })),
    // Wrong settings are to fail once, not for ever.
    extraConnection: ["keyingtries = 1"],
    ...tunnel.strongSwan,
  };
}

function culvertFile(tunnels: readonly Tunnel[]): Record<string, unknown> {
  const rows = tunnels.map((tunnel, i) => {
    const { mode, ike, esp, psk, ...own } = tunnel.culvert ?? {};
    const { localSubnets: subnets, ...ids } = own;
    const connection = {
      customerGateway: tunnel.name,
      start: "passive",
      psk: { value: psk ?? key(i + 1) },
      routing: "protected-data-flows",
      localSubnets: subnets ?? localSubnets(tunnel),
      remoteSubnets: [`10.2.${i + 1}.0/24`],
      ike: {
        version: "ikev1",
        mode: mode ?? tunnel.mode,
        proposals: ike ?? [tunnel.ike],
        ...ids,
      },
      ipsec: { proposals: esp ?? tunnel.esp },
      natTraversal: { forceEncapsulation: true },
    };
    return [tunnel.name, { address: outer(i + 1) }, connection] as const;
  });
  return {
    gateway: { name: "a", addresses: ["192.0.2.1"] },
    customerGateways: Object.fromEntries(rows.map(([name, gateway]) => [name, gateway])),
    connections: Object.fromEntries(rows.map(([name, , connection]) => [name, connection])),
  };
}
