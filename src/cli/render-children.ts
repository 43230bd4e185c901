/** The CHILD_SAs of a tunnel, and the pairs of subnets that they carry or should: all when few, a table when many. */
import type { SaTraffic } from "../api/control-protocol.ts";
import type { TunnelStatus } from "../gateway/contract.ts";
import { formatEspSpi } from "../wire/index.ts";
import { formatBytes, formatDuration, printable, table } from "./table.ts";

type Child = TunnelStatus["children"][number];
type Pairs = NonNullable<TunnelStatus["pairs"]>;
type Row = [label: string, text: string];

/** More than these are a table. */
export const fewChildren = 4;

/** One line for each CHILD_SA, the latest first, as many as a screen has. */
export function renderManyChildren(
  children: readonly Child[],
  traffic: readonly SaTraffic[],
  width: number,
): string[] {
  const bytes = (direction: "inbound" | "outbound", spi: number) =>
    formatBytes(traffic.find((sa) => sa.direction === direction && sa.spi === spi)?.bytes ?? 0);
  const columns = [
    { title: "IPSEC SA", shrink: true },
    { title: "SPI IN" },
    { title: "AGE" },
    { title: "IN", align: "right" as const },
    { title: "OUT", align: "right" as const },
  ];
  const rows = children
    .slice(0, mostChildren)
    .map((child) => [
      printable(`${listed(child.localSelectors, 1)} === ${listed(child.remoteSelectors, 1)}`),
      formatEspSpi(child.spiIn),
      formatDuration(child.ageMs),
      bytes("inbound", child.spiIn),
      bytes("outbound", child.spiOut),
    ]);
  const left = children.length - rows.length;
  const lines = table(columns, rows, width - 4).map((line) => `    ${line}`);
  return ["", ...lines, ...(left > 0 ? [`    and ${left} more: culvert status --json has all`] : [])];
}

export function selectorText({ localSelectors, remoteSelectors }: Child): string {
  return `${listed(localSelectors, mostSelectors)} === ${listed(remoteSelectors, mostSelectors)}`;
}

export function pairRows(pairs: Pairs): Row[] {
  const shown = pairs.missing.slice(0, mostMissing);
  const left = pairs.total - pairs.up - shown.length;
  return [
    ["subnet pairs", `${pairs.up} of ${pairs.total} up`],
    ...shown.map(({ local, remote, refusal }): Row => {
      const why = refusal === undefined ? "" : `: ${refusal}`;
      return ["not up", `${local} === ${remote}${why}`];
    }),
    ...(left > 0 ? [["not up", `and ${left} more`] satisfies Row] : []),
  ];
}

/** A warning for the overview: the tunnel is up, and some of its pairs are not. */
export function pairsWarning(connection: string, tunnels: readonly TunnelStatus[]): string | undefined {
  const lacking = tunnels.find(
    ({ state, pairs }) => state === "up" && pairs && pairs.up < pairs.total,
  )?.pairs;
  if (!lacking) return undefined;
  const missing = lacking.total - lacking.up;
  return `${missing} of ${lacking.total} subnet pairs of ${connection} ${missing === 1 ? "is" : "are"} not up: see culvert status ${connection}`;
}

function listed(selectors: readonly string[], most: number): string {
  const left = selectors.length - most;
  return selectors.slice(0, most).join(" ") + (left > 0 ? ` and ${left} more` : "");
}

const mostChildren = 24;
const mostSelectors = 16;
const mostMissing = 8;
