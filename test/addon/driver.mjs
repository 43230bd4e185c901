// A data plane in a namespace of its own, driven by lines of JSON: {"call": name, "args": [...]} in, {"value"} or
// {"error", "code"} out, in order. Addresses are text, bytes are hexadecimal. `events` hands out what has happened.
import { createInterface } from "node:readline";
import { IpAddress, Prefix } from "../../dist/src/core/address.js";
import { Secret } from "../../dist/src/core/secret.js";
import { selectorFromPrefix } from "../../dist/src/core/traffic-selector.js";
import { openDataPlane } from "../../dist/src/dataplane/index.js";

let plane;
const events = [];
const address = (text) => IpAddress.parse(text);
const endpoint = (text) => {
  const [host, port] = text.split("|");
  return { address: address(host), port: Number(port) };
};
/** `10.0.0.0/8`, or with a protocol and ports `10.0.0.0/8[17/5000-5010]`. */
const selector = (text) => {
  const [, prefix, protocol, start, end] = /^([^[]+)(?:\[(\d+)(?:\/(\d+)-(\d+))?\])?$/.exec(text);
  const any = selectorFromPrefix(Prefix.parse(prefix));
  return {
    ...any,
    protocol: Number(protocol ?? 0),
    startPort: Number(start ?? any.startPort),
    endPort: Number(end ?? any.endPort),
  };
};
const fromHex = (text) => Uint8Array.from(Buffer.from(text, "hex"));

const calls = {
  open(options) {
    plane = openDataPlane({
      ...options,
      addresses: options.addresses.map(address),
      onEvents: (batch) => events.push(...batch),
    });
    return plane.describe();
  },
  installSa(sa) {
    plane.installSa({
      ...sa,
      local: address(sa.local),
      remote: address(sa.remote),
      encrKey: new Secret(fromHex(sa.encrKey)),
      integKey: new Secret(fromHex(sa.integKey)),
      localSelectors: sa.localSelectors.map(selector),
      remoteSelectors: sa.remoteSelectors.map(selector),
    });
  },
  publish(plan) {
    plane.publish({
      policyRoutes: plan.policyRoutes.map((route) => ({
        source: Prefix.parse(route.source),
        destination: Prefix.parse(route.destination),
        connection: route.connection,
      })),
      destinationRoutes: plan.destinationRoutes.map((route) => ({
        destination: Prefix.parse(route.destination),
        connection: route.connection,
      })),
      connections: plan.connections.map((row) => ({
        connection: row.connection,
        outbound: row.outbound.map((sa) => ({ spi: sa.spi, remote: address(sa.remote) })),
      })),
    });
  },
  removeSa: (direction, spi, remote) => plane.removeSa(direction, spi, address(remote)),
  saTotals: (direction, spi, remote) => plane.saTotals(direction, spi, address(remote)),
  sendIke: (local, remote, bytes, unfragmented) =>
    plane.sendIke(endpoint(local), endpoint(remote), fromHex(bytes), unfragmented),
  sendKeepalive: (local, remote) => plane.sendKeepalive(endpoint(local), endpoint(remote)),
  sendProbe: (connection, source, destination, id, sequence) =>
    plane.sendProbe(connection, address(source), address(destination), id, sequence),
  updateSa: (direction, spi, remote, path) =>
    plane.updateSa(direction, spi, address(remote), {
      local: address(path.local),
      remote: address(path.remote),
      encapsulation: path.encapsulation,
      pathMtu: path.pathMtu,
    }),
  traffic: () => plane.traffic(),
  counters: () => plane.counters(),
  drops: () => Object.fromEntries(plane.drops().map((row) => [row.reason, row.packets])),
  dump: () => plane.dump(),
  flood(local, remote, bytes, count) {
    for (let i = 0; i < count; i++) plane.sendIke(endpoint(local), endpoint(remote), fromHex(bytes));
  },
  events: () => events.splice(0),
  close: () => plane.close(),
  monotonicMs: () => Number(process.hrtime.bigint() / 1_000_000n),
  exit: () => process.exit(0),
};

// Bytes print as hexadecimal, endpoints as in the arguments.
const plain = (_key, value) => {
  if (value instanceof Uint8Array) return Buffer.from(value).toString("hex");
  if (value?.address !== undefined && value.port !== undefined) return `${value.address}|${value.port}`;
  return value;
};

for await (const line of createInterface({ input: process.stdin })) {
  const { call, args } = JSON.parse(line);
  let answer;
  try {
    answer = { value: calls[call](...args) ?? null };
  } catch (error) {
    answer = { error: error.message, code: error.code };
  }
  process.stdout.write(`${JSON.stringify(answer, plain)}\n`);
}
plane?.close();
