#!/usr/bin/env node
// One tunnel with manual keys between two data planes, no IKE: what the packet path alone can do.
//
//   hA ── gA ══ gB ── hB        four namespaces, veth pairs; TCP by iperf3 from hA to hB
//
// usage: node bench/path/manual-keys.mjs [--seconds 5] [--streams 1] [--encap udp|esp] [--cipher aes128gcm16|null]
//                                        [--df clear|copy|set]
//                                        [--workers 1] [--busy-poll microseconds] [--reverse] [--udp bytes --rate 1G]
//                                        [--plain] [--perf file] [--hold] [--ping]
// Prints one line of JSON. --ping: round trips in place of TCP, the median of 200 echoes, one each 5 ms, and the mean of
// 5000, each straight after the answer to the one before. PIN=0011 in the environment pins iperf3's client, gA, gB and iperf3's server to these CPUs.
// Needs root, iperf3 and a built addon.
import { execFileSync, spawn } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const self = fileURLToPath(import.meta.url);
const tag = `cvm${process.pid % 10000}`;
const names = { hA: `${tag}hA`, gA: `${tag}gA`, gB: `${tag}gB`, hB: `${tag}hB` };

if (process.argv[2] === "gateway") gateway(JSON.parse(process.argv[3]));
else await main();

async function main() {
  const { values: options } = parseArgs({
    options: {
      seconds: { type: "string", default: "5" },
      streams: { type: "string", default: "1" },
      encap: { type: "string", default: "udp" },
      cipher: { type: "string", default: "aes128gcm16" },
      df: { type: "string", default: "clear" },
      workers: { type: "string", default: "1" },
      reverse: { type: "boolean", default: false },
      udp: { type: "string" },
      rate: { type: "string", default: "1G" },
      "busy-poll": { type: "string", default: "0" },
      plain: { type: "boolean", default: false },
      perf: { type: "string" },
      hold: { type: "boolean", default: false },
      ping: { type: "boolean", default: false },
    },
  });
  const children = [];
  try {
    buildTopology(options.plain);
    if (!options.plain) {
      for (const side of ["A", "B"]) children.push(await startGateway(side, options));
    }
    ip("netns", "exec", names.hA, "ping", "-c", "2", "-i", "0.2", "-W", "2", "10.2.0.2");
    if (options.ping) {
      console.log(JSON.stringify({ p50us: await medianEcho(), floodMeanUs: await meanOfFlood() }));
      return;
    }
    const server = spawn("ip", ["netns", "exec", names.hB, ...pinned(3), "iperf3", "-s", "-1"], {
      stdio: "ignore",
    });
    children.push(server);
    await new Promise((resolve) => setTimeout(resolve, 300));
    if (options.hold) {
      console.error(`namespaces ${Object.values(names).join(" ")}; Ctrl-C ends`);
      await new Promise((resolve) => process.once("SIGINT", resolve));
      return;
    }
    const perf =
      options.perf &&
      spawn("perf", ["record", "-e", "cpu-clock", "-F", "2000", "-a", "-g", "-o", options.perf], {
        stdio: "ignore",
      });
    const before = await Promise.all(children.slice(0, 2).map((child) => child.ask?.()));
    const cpu = cpuTimes();
    const args = [
      "netns",
      "exec",
      names.hA,
      ...pinned(0),
      "iperf3",
      "-c",
      "10.2.0.2",
      "-J",
      "-t",
      options.seconds,
      "-P",
      options.streams,
    ];
    if (options.reverse) args.push("-R");
    if (options.udp) args.push("-u", "-l", options.udp, "-b", options.rate);
    const report = JSON.parse(await run("ip", args));
    const idle = cpuTimes();
    const after = await Promise.all(children.slice(0, 2).map((child) => child.ask?.()));
    if (perf) {
      perf.kill("SIGINT");
      await new Promise((resolve) => perf.once("exit", resolve));
    }
    const sum = report.end.sum_received ?? report.end.sum;
    console.log(
      JSON.stringify({
        gbps: Number((sum.bits_per_second / 1e9).toFixed(2)),
        ...(options.udp
          ? { lostPercent: report.end.sum.lost_percent, packets: report.end.sum.packets }
          : { retransmits: report.end.sum_sent.retransmits }),
        idlePercent: Math.round((100 * (idle.idle - cpu.idle)) / (idle.total - cpu.total)),
        gateways: options.plain ? [] : after.map((counters, i) => difference(counters, before[i])),
      }),
    );
  } finally {
    for (const child of children) child.kill("SIGTERM");
    for (const name of Object.values(names)) tryIp("netns", "delete", name);
  }
}

async function medianEcho() {
  const output = await ping("-c", "200", "-i", "0.005");
  const times = [...output.matchAll(/ time=([\d.]+) ms/g)].map((found) => Number(found[1]));
  times.sort((a, b) => a - b);
  return Math.round(1000 * times[times.length >> 1]);
}

async function meanOfFlood() {
  const output = await ping("-f", "-q", "-c", "5000");
  return Math.round(1000 * Number(/ = [\d.]+\/([\d.]+)\//.exec(output)[1]));
}

function ping(...args) {
  return run("ip", ["netns", "exec", names.hA, "ping", "-W", "2", ...args, "10.2.0.2"]);
}

function buildTopology(plain) {
  for (const name of Object.values(names)) ip("netns", "add", name);
  for (const name of Object.values(names)) {
    inside(name, "ip", "link", "set", "lo", "up");
    inside(name, "sysctl", "-qw", "net.ipv4.ip_forward=1");
  }
  link("hA", "10.1.0.2/24", "gA", "10.1.0.1/24");
  link("gA", "192.0.2.1/24", "gB", "192.0.2.2/24");
  link("gB", "10.2.0.1/24", "hB", "10.2.0.2/24");
  inside(names.hA, "ip", "route", "add", "default", "via", "10.1.0.1");
  inside(names.hB, "ip", "route", "add", "default", "via", "10.2.0.1");
  if (plain) {
    inside(names.gA, "ip", "route", "add", "10.2.0.0/24", "via", "192.0.2.2");
    inside(names.gB, "ip", "route", "add", "10.1.0.0/24", "via", "192.0.2.1");
  }
}

function link(a, addressA, b, addressB) {
  ip(
    "link",
    "add",
    `${a}${b}`,
    "netns",
    names[a],
    "type",
    "veth",
    "peer",
    "name",
    `${b}${a}`,
    "netns",
    names[b],
  );
  for (const [name, device, address] of [
    [names[a], `${a}${b}`, addressA],
    [names[b], `${b}${a}`, addressB],
  ]) {
    inside(name, "ip", "address", "add", address, "dev", device);
    inside(name, "ip", "link", "set", device, "up");
  }
}

async function startGateway(side, options) {
  const other = side === "A" ? "B" : "A";
  const address = { A: "192.0.2.1", B: "192.0.2.2" };
  const spi = { A: 0x1000, B: 0x2000 };
  const child = spawn(
    "ip",
    [
      "netns",
      "exec",
      names[`g${side}`],
      ...pinned(side === "A" ? 1 : 2),
      process.execPath,
      self,
      "gateway",
      JSON.stringify({
        tun: "cvt0",
        workers: Number(options.workers),
        local: address[side],
        remote: address[other],
        spiIn: spi[side],
        spiOut: spi[other],
        encap: options.encap,
        cipher: options.cipher,
        busyPoll: Number(options["busy-poll"]),
        df: options.df,
        route: side === "A" ? "10.2.0.0" : "10.1.0.0",
      }),
    ],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  let waiting;
  child.stdout.on("data", (data) => waiting?.(data.toString()));
  child.ask = () =>
    new Promise((resolve) => {
      let text = "";
      waiting = (piece) => {
        text += piece;
        if (text.endsWith("\n")) resolve(JSON.parse(text));
      };
      child.stdin.write("?\n");
    });
  await new Promise((resolve, reject) => {
    waiting = resolve;
    child.once("exit", () => reject(new Error(`gateway ${side} ended`)));
  });
  inside(
    names[`g${side}`],
    "ip",
    "route",
    "add",
    side === "A" ? "10.2.0.0/24" : "10.1.0.0/24",
    "dev",
    "cvt0",
  );
  return child;
}

// --- in the gateway's namespace ---

function gateway(o) {
  const root = join(dirname(self), "..", "..");
  const addon = createRequire(import.meta.url)(join(root, "build/addon/Release/culvert.node"));
  const bytes = (text) => Uint8Array.from(text.split(".").map(Number));
  const plane = new addon.DataPlane(
    {
      tunName: o.tun,
      tunMtu: 1422,
      workers: o.workers,
      addresses: [bytes(o.local)],
      ikePort: 500,
      natPort: 4500,
      mark: 0,
      pathMtu: 1500,
      ikeSockets: [],
      backend: "auto",
      busyPollMicroseconds: o.busyPoll,
      pinWorkers: false,
      allowBenchNull: true,
    },
    () => {},
  );
  const any = [
    {
      protocol: 0,
      startPort: 0,
      endPort: 65535,
      startAddress: bytes("0.0.0.0"),
      endAddress: bytes("255.255.255.255"),
    },
  ];
  const sa = (direction, spi) => ({
    direction,
    spi,
    connection: 0,
    local: bytes(o.local),
    remote: bytes(o.remote),
    udp: o.encap === "udp",
    localPort: o.encap === "udp" ? 4500 : 0,
    remotePort: o.encap === "udp" ? 4500 : 0,
    encr: o.cipher === "null" ? 11 : 20,
    encrKeyBits: o.cipher === "null" ? 0 : 128,
    integ: 0,
    encrKey: new Uint8Array(o.cipher === "null" ? 0 : 20).fill(spi & 0xff),
    integKey: new Uint8Array(0),
    esn: false,
    replayWindow: 4096,
    localSelectors: any,
    remoteSelectors: any,
    nonFirstFragments: false,
    dontFragment: o.df,
    pathMtu: 0,
    softBytes: 0,
    hardBytes: 0,
    softPackets: 0,
    hardPackets: 0,
  });
  plane.installSa(sa("inbound", o.spiIn));
  plane.installSa(sa("outbound", o.spiOut));
  plane.publish({
    policyRoutes: [],
    destinationRoutes: [{ destination: bytes(o.route), destinationLength: 24, connection: 0 }],
    connections: [{ connection: 0, outbound: [{ spi: o.spiOut, remote: bytes(o.remote) }] }],
  });
  const names = [
    ...addon.tables.counters.map((row) => row.name),
    ...addon.tables.drops.map((row) => `drop ${row.name}`),
  ];
  process.stdin.on("data", () => {
    const numbers = new BigUint64Array(names.length * o.workers);
    plane.readCounters(numbers);
    const sums = {};
    for (const [i, n] of numbers.entries())
      sums[names[i % names.length]] = (sums[names[i % names.length]] ?? 0) + Number(n);
    console.log(JSON.stringify(sums));
  });
  process.on("SIGTERM", () => {
    plane.close();
    process.exit(0);
  });
  console.log(JSON.stringify(plane.describe()));
}

// --- helpers ---

/** PIN=0011: the CPUs of client, gA, gB and server; an x leaves one to the scheduler. Where packets cross between cores is half of what they cost. */
function pinned(which) {
  const cpu = (process.env.PIN ?? "xxxx")[which];
  return cpu === "x" ? [] : ["taskset", "-c", cpu];
}

function ip(...args) {
  return execFileSync("ip", args, { stdio: ["ignore", "pipe", "inherit"] }).toString();
}
function tryIp(...args) {
  try {
    execFileSync("ip", args, { stdio: "ignore" });
  } catch {
    // Gone already.
  }
}
function inside(name, ...command) {
  return ip("netns", "exec", name, ...command);
}
function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    child.stdout.on("data", (data) => {
      text += data;
    });
    child.once("exit", (code) =>
      code === 0 ? resolve(text) : reject(new Error(`${command} ${args.join(" ")}: ${text}`)),
    );
  });
}
function cpuTimes() {
  const fields = execFileSync("head", ["-1", "/proc/stat"])
    .toString()
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return { idle: fields[3] + fields[4], total: fields.slice(0, 8).reduce((a, b) => a + b, 0) };
}
function difference(after, before) {
  const entries = Object.entries(after).map(([name, n]) => [name, n - before[name]]);
  return Object.fromEntries(entries.filter(([, n]) => n !== 0));
}
