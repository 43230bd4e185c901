/** Events as the addon hands them over, to the control plane's vocabulary. */
import { type Endpoint, IpAddress } from "../core/address.ts";
import type { DataPlaneEvent } from "../core/dataplane.ts";
import type { NativeEvent } from "./native.ts";

/** Throws RangeError on a kind that this version does not know: addon and TypeScript are of one build. */
export function decodeEvent(event: NativeEvent): DataPlaneEvent {
  switch (event.kind) {
    case "ike":
      return { kind: "ike", local: local(event), remote: remote(event), datagram: event.data };
    case "acquire":
      return {
        kind: "acquire",
        connection: event.connection,
        source: IpAddress.fromBytes(event.local),
        destination: IpAddress.fromBytes(event.remote),
        protocol: event.protocol,
        sourcePort: event.localPort,
        destinationPort: event.remotePort,
      };
    case "soft_lifetime":
    case "hard_lifetime":
      return {
        kind: event.kind === "soft_lifetime" ? "softLifetime" : "hardLifetime",
        spi: event.spi,
        direction: event.direction,
        remote: IpAddress.fromBytes(event.remote),
      };
    case "sa_in_use":
      return { kind: "saInUse", spi: event.spi };
    case "peer_moved":
      return { kind: "peerMoved", spi: event.spi, remote: remote(event) };
    case "probe_reply":
      return {
        kind: "probeReply",
        connection: event.connection,
        id: event.id,
        sequence: event.sequence,
        roundTripMs: event.roundTripMs,
      };
    case "path_mtu":
      return { kind: "pathMtu", remote: IpAddress.fromBytes(event.remote), mtu: event.mtu };
    default:
      throw new RangeError(`the addon reports an event that is unknown here: ${event.kind}`);
  }
}

const local = (event: NativeEvent): Endpoint => ({
  address: IpAddress.fromBytes(event.local),
  port: event.localPort,
});
const remote = (event: NativeEvent): Endpoint => ({
  address: IpAddress.fromBytes(event.remote),
  port: event.remotePort,
});
