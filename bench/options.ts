/** The benchmarks' command line. */
import { parseArgs } from "node:util";

export interface BenchOptions {
  readonly what: "path" | "native" | "ike";
  readonly json: boolean;
  /** Seconds of each TCP measurement; of each group in `ike`. */
  readonly seconds: number;
  /** How often the whole table is measured; the medians are shown. */
  readonly runs: number;
  /** Cases or groups whose name contains this; all when absent. */
  readonly only: string | undefined;
  /** Store the table in bench/RESULTS.md. */
  readonly write: boolean;
  /** Leaves the UDP search out. */
  readonly udp: boolean;
  /** Tunnels of `ike`'s part `scale`. */
  readonly tunnels: number;
  /** As it was typed, for the record. */
  readonly command: string;
}

export const usage = `npm run bench -- path|native|ike [options]

  path     throughput through two gateways, beside plain forwarding and other VPNs
  native   clocks per packet of encap and decap without I/O
  ike      CPU time per handshake beside strongSwan, many tunnels at once, handshakes per second

  --seconds N   of each measurement (path 3, ike 3)
  --runs N      repeat everything and show medians (path 3, ike 3)
  --quick       one run of one second without the UDP search
  --no-udp      path without the UDP search
  --only NAME   only the cases whose name contains NAME; of ike a group, or responder, scale or rate
  --tunnels N   of ike's part scale (10000)
  --json        print JSON instead of the table
  --write       store the table in bench/RESULTS.md
`;

/** Throws an Error with one line for a person. */
export function parseOptions(args: readonly string[]): BenchOptions | "help" {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      seconds: { type: "string" },
      tunnels: { type: "string" },
      runs: { type: "string" },
      only: { type: "string" },
      quick: { type: "boolean", default: false },
      "no-udp": { type: "boolean", default: false },
      write: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return "help";
  const what = positionals[0];
  if ((what !== "path" && what !== "native" && what !== "ike") || positionals.length > 1) {
    throw new Error(`which benchmark: path, native or ike?\n\n${usage}`);
  }
  return {
    what,
    json: values.json,
    seconds: wholeNumber("--seconds", values.seconds ?? (values.quick ? "1" : "3")),
    runs: wholeNumber("--runs", values.runs ?? (values.quick ? "1" : "3")),
    only: values.only,
    tunnels: wholeNumber("--tunnels", values.tunnels ?? "10000", 60_000),
    write: values.write,
    udp: !values.quick && !values["no-udp"],
    command: ["npm run bench --", ...args].join(" "),
  };
}

function wholeNumber(flag: string, text: string, most = 3600): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > most) throw new Error(`${flag} ${text}: 1 to ${most}`);
  return value;
}
