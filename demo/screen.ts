/** The demo's one screen, 80 columns: what was built, what was negotiated, what went through. Pure. */
import type { SaTraffic } from "../src/api/control-protocol.ts";
import type { PingResult, TcpResult } from "../testbed/traffic.ts";

export interface DemoResult {
  readonly peer: "culvert" | "strongswan";
  readonly initiator: "culvert" | "peer";
  readonly encapsulation: "udp" | "esp";
  readonly ikeSuite: string;
  readonly espSuite: string;
  readonly handshakeMs: number;
  readonly ping: PingResult;
  readonly seconds: number;
  readonly forward: TcpResult;
  readonly reverse: TcpResult;
  /** The SAs of culvert on site A, after all traffic. */
  readonly traffic: readonly SaTraffic[];
  /** What was dropped, by side. */
  readonly drops: readonly { readonly where: string; readonly reason: string; readonly packets: number }[];
}

export function renderScreen(r: DemoResult): string {
  const b = r.peer === "culvert" ? "culvertd" : "strongSwan";
  const wire = r.encapsulation === "udp" ? "ESP in UDP, port 4500" : "raw ESP, IP protocol 50";
  const lines = [
    rule("culvert demo"),
    "",
    `     hA ${"─".repeat(12)} gA ${"═".repeat(31)} gB ${"─".repeat(12)} hB`,
    `  10.1.0.2      192.0.2.1 ${center(wire, 26)} 192.0.2.2      10.2.0.2`,
    `${" ".repeat(16)}culvertd${" ".repeat(29)}${b}`,
    "",
    row(
      "handshake",
      `${formatMs(r.handshakeMs)}, ${r.initiator === "culvert" ? "culvert" : `${b} on site B`} initiates`,
    ),
    row("IKEv2", r.ikeSuite),
    row("ESP", r.espSuite),
    row("ping", pingText(r.ping)),
    row(`TCP ${r.seconds} s`, `hA → hB ${gbps(r.forward)}    hB → hA ${gbps(r.reverse)}    (1 stream)`),
    "",
    ...trafficRows(r.traffic),
    ...dropRows(r.drops),
    "",
    ...note(r),
    rule(""),
  ];
  return lines.join("\n");
}

function trafficRows(traffic: readonly SaTraffic[]): string[] {
  return (["outbound", "inbound"] as const).map((direction) => {
    const of = traffic.filter((sa) => sa.direction === direction);
    const packets = of.reduce((sum, sa) => sum + sa.packets, 0);
    const bytes = of.reduce((sum, sa) => sum + sa.bytes, 0);
    const spis = of.map((sa) => `SPI ${sa.spi.toString(16).padStart(8, "0")}`).join(", ");
    const counts =
      `${packets.toLocaleString("en")} packets`.padStart(20) + `${(bytes / 1e6).toFixed(1)} MB`.padStart(14);
    return row(`gA ${direction}`, `${counts}   ${spis}`);
  });
}

function dropRows(drops: DemoResult["drops"]): string[] {
  if (drops.length === 0) return [row("drops", "none")];
  return drops.map((drop) =>
    row("drops", `${drop.packets.toLocaleString("en")} ${drop.reason} (${drop.where})`),
  );
}

function note(r: DemoResult): string[] {
  if (r.peer === "strongswan") {
    return [
      "strongSwan's userspace ESP (kernel-libipsec) speaks ESP in UDP only, and sets",
      "the pace here.",
    ];
  }
  return r.encapsulation === "udp"
    ? [
        "UDP encapsulation is forced here: the kernel then sends and receives runs of ESP",
        "packets in one call. Raw ESP: npm run demo -- --encap esp",
      ]
    : ["Raw ESP: no UDP header, and one kernel call for each batch instead of each run."];
}

function pingText({ sent, received, lossPercent, averageMs }: PingResult): string {
  const average = averageMs === undefined ? "" : `, ${averageMs.toFixed(2)} ms`;
  return `${received} of ${sent} answered, ${Number(lossPercent.toFixed(1))} % lost${average}`;
}

const gbps = (tcp: TcpResult) => `${tcp.gbps.toFixed(2)} Gb/s`;
const formatMs = (ms: number) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
const row = (label: string, text: string) => `  ${label.padEnd(12)} ${text}`;
const rule = (title: string) =>
  title === "" ? "─".repeat(80) : `── ${title} ${"─".repeat(76 - title.length)}`;

function center(text: string, width: number): string {
  const left = Math.max(0, Math.floor((width - text.length) / 2));
  return (" ".repeat(left) + text).padEnd(width);
}
