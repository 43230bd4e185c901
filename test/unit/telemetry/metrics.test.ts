import { get } from "node:http";
import { connect } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { IpAddress } from "../../../src/core/address.ts";
import { StartError } from "../../../src/daemon/exit-codes.ts";
import { type MetricsListener, openMetricsListener } from "../../../src/daemon/metrics-listener.ts";
import type { ConnectionStatus, TunnelStatus } from "../../../src/gateway/contract.ts";
import { type MetricsInput, MetricsPage, metricRows } from "../../../src/telemetry/metrics.ts";

const down: ConnectionStatus = {
  name: "hq-branch",
  state: "waiting",
  sinceMs: 4_000,
  weak: [],
  tunnels: [],
  lastFailure: undefined,
  failures: [],
  warnings: [],
  counts: { handshakesInitiated: 3, handshakesAnswered: 0, ikeRekeys: 1, childRekeys: 9, failures: {} },
};
const failed: ConnectionStatus = {
  ...down,
  name: 'a"b\\c\nd',
  state: "up",
  lastFailure: {
    code: "PEER_DELETED",
    connection: "x",
    peer: undefined,
    ours: [],
    theirs: [],
    difference: "d",
    remedy: "r",
    atMs: 0,
  },
  counts: { ...down.counts, failures: { PEER_DELETED: 2, DPD_TIMEOUT: 1 } },
};
const none = { packets: 0, bytes: 0 };

const input = (connections: readonly ConnectionStatus[]): MetricsInput => ({
  version: "1.2.3",
  startedAtMs: 1_000,
  nowMs: 10_000,
  gateway: { name: "hq", ike: { halfOpen: 2, sas: 5, inboundSpis: 1, drops: { malformed: 7 } }, connections },
  connectionTraffic: connections.map(({ name }) => ({
    connection: name,
    inbound: none,
    outbound: { packets: 3, bytes: 4_500_000_000 },
  })),
  drops: [{ reason: "replayed", packets: 0 }],
});

const page = (connections: readonly ConnectionStatus[]) =>
  new MetricsPage(
    () => input(connections),
    async () => {},
  ).render();

describe("metrics", () => {
  it("every configured connection is there, up or not, with or without a failure", async () => {
    const text = await page([down, failed]);
    expect(text).toContain('culvert_connection_configured{connection="hq-branch"} 1\n');
    expect(text).toContain('culvert_connection_up{connection="hq-branch"} 0\n');
    expect(text).toContain('culvert_connection_state_seconds{connection="hq-branch"} 6\n');
    expect(text).toContain('culvert_connection_last_failure{connection="hq-branch",code="none"} 1\n');
    expect(text).toContain('culvert_rekeys_total{connection="hq-branch",sa="child"} 9\n');
    expect(text).toContain('culvert_handshakes_total{connection="hq-branch",role="initiator"} 3\n');
    expect(text).toContain(
      'culvert_connection_bytes_total{connection="hq-branch",direction="outbound"} 4500000000\n',
    );
    expect(text).toContain('culvert_ike_dropped_datagrams_total{reason="malformed"} 7\n');
    expect(text).toContain('culvert_dropped_packets_total{reason="replayed"} 0\n');
  });

  it("says how weak a connection is and which version of IKE its tunnels speak", async () => {
    const tunnel = {
      customerGateway: "branch",
      ike: { version: 1 },
      children: [],
    } as unknown as TunnelStatus;
    const text = await page([{ ...down, weak: ["ikev1: deprecated", "md5: broken"], tunnels: [tunnel] }]);
    expect(text).toContain('culvert_connection_weak{connection="hq-branch"} 2\n');
    expect(text).toContain('culvert_tunnel_ike_version{connection="hq-branch",tunnel="branch"} 1\n');
  });

  it("escapes what a label may hold, and counts failures by code", async () => {
    const text = await page([failed]);
    expect(text).toContain('culvert_connection_up{connection="a\\"b\\\\c\\nd"} 1\n');
    expect(text).toContain(
      'culvert_tunnel_failures_total{connection="a\\"b\\\\c\\nd",code="DPD_TIMEOUT"} 1\n',
    );
    expect(text).toContain(
      'culvert_connection_last_failure{connection="a\\"b\\\\c\\nd",code="PEER_DELETED"} 1\n',
    );
  });

  it("every metric has its HELP and TYPE, also with no connections at all", async () => {
    const text = await page([]);
    for (const { name, type } of metricRows) {
      expect(text).toContain(`# HELP ${name} `);
      expect(text).toContain(`# TYPE ${name} ${type}\n`);
    }
  });

  it("gives way after each metric, and is rendered once for all who ask meanwhile", async () => {
    let reads = 0;
    let turns = 0;
    const shared = new MetricsPage(
      () => {
        reads++;
        return input([down]);
      },
      async () => {
        turns++;
      },
    );
    const [one, other] = await Promise.all([shared.render(), shared.render()]);
    expect(one).toBe(other);
    expect([reads, turns]).toEqual([1, metricRows.length]);
    await shared.render();
    expect(reads).toBe(2);
  });
});

describe("GET /metrics", () => {
  let listener: MetricsListener | undefined;
  afterEach(() => listener?.close());
  const listen = { address: IpAddress.parse("127.0.0.1"), port: 0 };

  const ask = (port: number, path: string, method = "GET") =>
    new Promise<{ status: number | undefined; type: string | undefined; text: string }>((resolve, reject) => {
      const request = get({ host: "127.0.0.1", port, path, method, agent: false }, (response) => {
        let text = "";
        response.on("data", (chunk) => {
          text += chunk;
        });
        response.on("end", () =>
          resolve({ status: response.statusCode, type: response.headers["content-type"], text }),
        );
      });
      request.on("error", reject);
    });

  it("answers with Prometheus' content type, and nothing else but that", async () => {
    listener = await openMetricsListener({
      listen,
      render: async () => "culvert_info 1\n",
      onError: () => {},
    });
    const { port } = listener;
    const found = await ask(port, "/metrics?x=1");
    expect(found).toMatchObject({ status: 200, text: "culvert_info 1\n" });
    expect(found.type).toMatch(/^text\/plain; version=0\.0\.4/);
    expect((await ask(port, "/")).status).toBe(404);
    expect((await ask(port, "/metrics", "POST")).status).toBe(405);
    expect(await ask(port, "/metrics", "HEAD")).toMatchObject({ status: 200, text: "" });
  });

  it("a failure is the reader's 500 and the daemon's to hear of", async () => {
    const errors: unknown[] = [];
    const render = () => Promise.reject(new Error("no status"));
    listener = await openMetricsListener({ listen, render, onError: (error) => errors.push(error) });
    expect((await ask(listener.port, "/metrics")).status).toBe(500);
    expect(errors).toHaveLength(1);
  });

  it("rubbish on the port, and a reader that hangs up, end nothing", async () => {
    listener = await openMetricsListener({ listen, render: async () => "fine\n", onError: () => {} });
    const { port } = listener;
    await new Promise<void>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => socket.write("\x16\x03\x01 no HTTP\r\n\r\n"));
      socket.on("error", () => {});
      socket.on("close", () => resolve());
      socket.resume();
    });
    expect((await ask(port, "/metrics")).text).toBe("fine\n");
  });

  it("a port that is taken is a start that cannot go on", async () => {
    listener = await openMetricsListener({ listen, render: async () => "", onError: () => {} });
    const taken = { ...listen, port: listener.port };
    const second = openMetricsListener({ listen: taken, render: async () => "", onError: () => {} });
    await expect(second).rejects.toBeInstanceOf(StartError);
    await expect(second).rejects.toThrow(/gateway\.metrics\.listen 127\.0\.0\.1:\d+: .*EADDRINUSE/);
  });
});
