/**
 * Metrics in Prometheus' text format, through prom-client. One table: names, meanings, labels and where the values come
 * from; `docs/operations.md` is compared with it by a test. Every configured connection has its rows, up or not.
 *
 * Nothing is counted here: a scrape reads the status, and is rendered metric by metric so that ten thousand connections
 * never hold up a datagram. Thread: JavaScript's.
 */
import { Counter, Gauge, Registry } from "prom-client";
import type { ConnectionStatus, GatewayStatus } from "../gateway/contract.ts";

/** What a scrape is made of. Times are milliseconds on the daemon's clock. */
export interface MetricsInput {
  readonly version: string;
  readonly startedAtMs: number;
  readonly nowMs: number;
  readonly gateway: GatewayStatus;
  readonly connectionTraffic: readonly {
    readonly connection: string;
    readonly inbound: Amount;
    readonly outbound: Amount;
  }[];
  /** The data plane's reasons, those that never occurred too. */
  readonly drops: readonly { readonly reason: string; readonly packets: number }[];
}

interface Amount {
  readonly packets: number;
  readonly bytes: number;
}

interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface MetricRow {
  readonly name: string;
  readonly type: "gauge" | "counter";
  readonly labels: readonly string[];
  readonly help: string;
  readonly samples: (input: MetricsInput) => Iterable<Sample>;
}

export const metricRows: readonly MetricRow[] = [
  gauge("culvert_info", ["version"], "1; the version that runs", (input) => [
    { labels: { version: input.version }, value: 1 },
  ]),
  gauge("culvert_uptime_seconds", [], "since the daemon started", (input) => [
    { labels: {}, value: (input.nowMs - input.startedAtMs) / 1000 },
  ]),
  gauge("culvert_ike_half_open", [], "IKE SAs that nobody has authenticated yet", ({ gateway }) => [
    { labels: {}, value: gateway.ike.halfOpen },
  ]),
  gauge("culvert_ike_sas", [], "IKE SAs in any state", ({ gateway }) => [
    { labels: {}, value: gateway.ike.sas },
  ]),
  counter("culvert_ike_dropped_datagrams_total", ["reason"], "IKE datagrams without effect", ({ gateway }) =>
    Object.entries(gateway.ike.drops).map(([reason, value]) => ({ labels: { reason }, value })),
  ),
  counter("culvert_dropped_packets_total", ["reason"], "packets that the data plane dropped", ({ drops }) =>
    drops.map(({ reason, packets }) => ({ labels: { reason }, value: packets })),
  ),
  perConnection("culvert_connection_configured", "1 for every connection of the configuration", () => 1),
  perConnection("culvert_connection_up", "1 while the connection is up", (c) => (c.state === "up" ? 1 : 0)),
  perConnection(
    "culvert_connection_state_seconds",
    "how long the connection has been in its state",
    (c, input) => (input.nowMs - c.sinceMs) / 1000,
  ),
  perConnection("culvert_connection_warnings", "what works and will fail later", (c) => c.warnings.length),
  perConnection("culvert_connection_weak", "what is weak about its configuration", (c) => c.weak.length),
  perConnection("culvert_connection_child_sas", "CHILD_SAs that may carry packets", (c) =>
    c.tunnels.reduce((sum, tunnel) => sum + tunnel.children.length, 0),
  ),
  gauge(
    "culvert_connection_last_failure",
    ["connection", "code"],
    "1; the code of the last failure, `none` without one",
    ({ gateway }) =>
      gateway.connections.map(({ name, lastFailure }) => ({
        labels: { connection: name, code: lastFailure?.code ?? "none" },
        value: 1,
      })),
  ),
  counter(
    "culvert_tunnel_failures_total",
    ["connection", "code"],
    "failed attempts, from the first one of a code",
    ({ gateway }) =>
      gateway.connections.flatMap(({ name, counts }) =>
        Object.entries(counts.failures).map(([code, value]) => ({
          labels: { connection: name, code },
          value: value ?? 0,
        })),
      ),
  ),
  counter(
    "culvert_handshakes_total",
    ["connection", "role"],
    "authenticated IKE SAs by our role, without rekeys",
    ({ gateway }) =>
      gateway.connections.flatMap(({ name, counts }) => [
        { labels: { connection: name, role: "initiator" }, value: counts.handshakesInitiated },
        { labels: { connection: name, role: "responder" }, value: counts.handshakesAnswered },
      ]),
  ),
  counter("culvert_rekeys_total", ["connection", "sa"], "rekeys, of `ike` and `child` SAs", ({ gateway }) =>
    gateway.connections.flatMap(({ name, counts }) => [
      { labels: { connection: name, sa: "ike" }, value: counts.ikeRekeys },
      { labels: { connection: name, sa: "child" }, value: counts.childRekeys },
    ]),
  ),
  gauge(
    "culvert_tunnel_path_mtu_bytes",
    ["connection", "tunnel"],
    "the largest outer packet on the way to the peer; only while the tunnel is up",
    ({ gateway }) =>
      gateway.connections.flatMap(({ name, tunnels }) =>
        tunnels.flatMap(({ customerGateway, pathMtu }) =>
          pathMtu ? [{ labels: { connection: name, tunnel: customerGateway }, value: pathMtu.bytes }] : [],
        ),
      ),
  ),
  gauge(
    "culvert_tunnel_ike_version",
    ["connection", "tunnel"],
    "1 or 2: the version of IKE that the tunnel speaks; only while it has an IKE SA",
    ({ gateway }) =>
      gateway.connections.flatMap(({ name, tunnels }) =>
        tunnels.flatMap(({ customerGateway, ike }) =>
          ike ? [{ labels: { connection: name, tunnel: customerGateway }, value: ike.version }] : [],
        ),
      ),
  ),
  traffic("culvert_connection_bytes_total", "inner bytes carried", (amount) => amount.bytes),
  traffic("culvert_connection_packets_total", "packets carried", (amount) => amount.packets),
];

/** Renders scrapes, one at a time: who asks while one is being made gets that one. */
export class MetricsPage {
  readonly #read: () => MetricsInput;
  readonly #yield: () => Promise<void>;
  #underWay: Promise<string> | undefined;

  /** `giveWay`: lets other work run between two metrics. */
  constructor(read: () => MetricsInput, giveWay: () => Promise<void>) {
    this.#read = read;
    this.#yield = giveWay;
  }

  render(): Promise<string> {
    this.#underWay ??= this.#render().finally(() => {
      this.#underWay = undefined;
    });
    return this.#underWay;
  }

  async #render(): Promise<string> {
    const input = this.#read();
    const texts: string[] = [];
    for (const row of metricRows) {
      texts.push(await renderMetric(row, input));
      await this.#yield();
    }
    return `${texts.join("\n\n")}\n`;
  }
}

export const metricsContentType = Registry.PROMETHEUS_CONTENT_TYPE;

function renderMetric(
  { name, type, labels, help, samples }: MetricRow,
  input: MetricsInput,
): Promise<string> {
  const registers = [new Registry()];
  const common = { name, help, labelNames: [...labels], registers };
  if (type === "gauge") {
    const metric = new Gauge(common);
    for (const sample of samples(input)) metric.set(sample.labels, sample.value);
  } else {
    const metric = new Counter(common);
    for (const sample of samples(input)) metric.inc(sample.labels, sample.value);
  }
  return registers[0]!.getSingleMetricAsString(name);
}

function gauge(
  name: string,
  labels: readonly string[],
  help: string,
  samples: MetricRow["samples"],
): MetricRow {
  return { name, type: "gauge", labels, help, samples };
}

function counter(
  name: string,
  labels: readonly string[],
  help: string,
  samples: MetricRow["samples"],
): MetricRow {
  return { name, type: "counter", labels, help, samples };
}

function perConnection(
  name: string,
  help: string,
  value: (connection: ConnectionStatus, input: MetricsInput) => number,
): MetricRow {
  return gauge(name, ["connection"], help, (input) =>
    input.gateway.connections.map((c) => ({ labels: { connection: c.name }, value: value(c, input) })),
  );
}

function traffic(name: string, help: string, value: (amount: Amount) => number): MetricRow {
  return counter(name, ["connection", "direction"], help, ({ connectionTraffic }) =>
    connectionTraffic.flatMap(({ connection, inbound, outbound }) => [
      { labels: { connection, direction: "inbound" }, value: value(inbound) },
      { labels: { connection, direction: "outbound" }, value: value(outbound) },
    ]),
  );
}
