/** A pair of wireguard-go, the userspace WireGuard, between the two gateways. */
import { must, type Program, run } from "./exec.ts";
import type { Testbed } from "./testbed.ts";
import type { Topology } from "./topology.ts";

export async function hasWireGuardGo(): Promise<boolean> {
  return (await onPath("wireguard-go")) && (await onPath("wg"));
}

/** Brings both ends up and routes the inner networks through them. Resolves with a function that ends both. */
export async function startWireGuardPair(bed: Testbed, topology: Topology): Promise<() => Promise<void>> {
  const { a, b } = topology;
  const keyOf = async (privateKey: string) => (await must(["wg", "pubkey"], { input: privateKey })).trim();
  const keys = { a: (await must(["wg", "genkey"])).trim(), b: (await must(["wg", "genkey"])).trim() };
  const ends = [
    { own: a, peer: b, key: keys.a, peerKey: await keyOf(keys.b) },
    { own: b, peer: a, key: keys.b, peerKey: await keyOf(keys.a) },
  ];
  const programs: Program[] = [];
  for (const { own, peer, key, peerKey } of ends) {
    const netns = own.gateway;
    // Its control socket has a fixed place under /run, named for the device: a private /run keeps two apart.
    const shell = 'mount -t tmpfs tmpfs /run && exec wireguard-go -f "$0"';
    const program = bed.start(
      `wireguard-go ${own.outerAddress}`,
      ["unshare", "-m", "sh", "-c", shell, "wg0"],
      {
        netns,
        env: {
          WG_PROCESS_FOREGROUND: "1",
          WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD: "1",
          LOG_LEVEL: "verbose",
        },
      },
    );
    programs.push(program);
    await program.waitForLine(/UAPI listener started/);
    const inside = ["nsenter", "-t", `${program.pid}`, "-m", "-n"];
    const keyFile = bed.file(`wireguard-${own.outerAddress}.key`, key);
    await must([
      ...[...inside, "wg", "set", "wg0", "private-key", keyFile, "listen-port", "51820"],
      ...["peer", peerKey, "endpoint", `${peer.outerAddress}:51820`, "allowed-ips", "10.0.0.0/8"],
    ]);
    await must(["ip", "-n", netns, "link", "set", "wg0", "mtu", "1420", "up"]);
    await must(["ip", "-n", netns, "route", "add", peer.subnet, "dev", "wg0"]);
  }
  return async () => {
    for (const program of programs) await program.stop();
  };
}

async function onPath(command: string): Promise<boolean> {
  return (await run(["sh", "-c", 'command -v "$0"', command])).code === 0;
}
