/** The demo's command line. */
import { parseArgs } from "node:util";

export interface DemoOptions {
  /** What stands on site B. */
  readonly peer: "culvert" | "strongswan";
  readonly initiator: "culvert" | "peer";
  readonly encapsulation: "udp" | "esp";
  /** Seconds of TCP in each direction, 1 to 600. */
  readonly seconds: number;
  readonly json: boolean;
}

export const usage = `npm run demo [-- options]

  --peer culvert|strongswan   what runs on site B (culvert)
  --initiator culvert|peer    who starts the handshake (culvert)
  --encap udp|esp             ESP in UDP, or raw ESP between two culverts (udp)
  --seconds N                 seconds of TCP in each direction (4)
  --json                      print one line of JSON instead of the screen
`;

/** Throws an Error with one line for a person when the arguments make no sense. */
export function parseOptions(args: readonly string[]): DemoOptions | "help" {
  const { values } = parseArgs({
    args: [...args],
    options: {
      peer: { type: "string", default: "culvert" },
      initiator: { type: "string", default: "culvert" },
      encap: { type: "string", default: "udp" },
      seconds: { type: "string", default: "4" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return "help";
  const peer = oneOf("--peer", values.peer, ["culvert", "strongswan"]);
  const initiator = oneOf("--initiator", values.initiator, ["culvert", "peer"]);
  const encapsulation = oneOf("--encap", values.encap, ["udp", "esp"]);
  const seconds = Number(values.seconds);
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > 600) {
    throw new Error(`--seconds ${values.seconds}: a whole number from 1 to 600`);
  }
  if (peer === "strongswan" && encapsulation === "esp") {
    throw new Error("--encap esp needs two culverts: strongSwan's kernel-libipsec knows ESP in UDP only");
  }
  return { peer, initiator, encapsulation, seconds, json: values.json };
}

function oneOf<T extends string>(flag: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((each) => each === value);
  if (found === undefined) throw new Error(`${flag} ${value}: one of ${allowed.join(", ")}`);
  return found;
}
