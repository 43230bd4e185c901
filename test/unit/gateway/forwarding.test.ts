import { describe, expect, it } from "vitest";
import type { Config } from "../../../src/config/model.ts";
import { IpAddress, Prefix } from "../../../src/core/address.ts";
import type { GatewayOutput } from "../../../src/gateway/contract.ts";
import { Forwarding } from "../../../src/gateway/forwarding.ts";
import type { IkeSaView } from "../../../src/ike/common/views.ts";

const remote = IpAddress.parse("198.51.100.1");

describe("forwarding", () => {
  it("publishes once for all changes of one input, and nothing when nothing differs", () => {
    const { forwarding, sas, taken } = gateway(2);
    forwarding.start();
    expect(taken()).toEqual(["plan 0: 1:", "1 routes"]);
    sas.set("c0/0", [7, 8]);
    sas.set("c1/0", [9]);
    forwarding.change(0);
    forwarding.change(1);
    forwarding.change(0);
    forwarding.flush(0);
    expect(taken()).toEqual(["plan 0:8,7 1:9"]);
    forwarding.change(1);
    forwarding.flush(0);
    expect([taken(), forwarding.deadline]).toEqual([[], undefined]);
  });

  it("stops naming an SA before the SA is removed", () => {
    const { forwarding, sas, taken } = gateway(1);
    sas.set("c0/0", [7]);
    forwarding.change(0);
    forwarding.flush(0);
    taken();
    sas.delete("c0/0");
    forwarding.change(0);
    forwarding.remove({ kind: "removeSa", direction: "inbound", spi: 70, remote });
    forwarding.remove({ kind: "removeSa", direction: "outbound", spi: 7, remote });
    forwarding.flush(0);
    expect(taken()).toEqual(["inbound 70 goes", "plan 0:", "outbound 7 goes"]);
  });

  it("collects the changes of 1,000 connections for 16 ms, with the removals that wait for them", () => {
    const { forwarding, sas, taken } = gateway(1000);
    sas.set("c0/0", [7]);
    forwarding.change(0);
    forwarding.flush(100);
    expect(taken().length).toBe(1);

    sas.delete("c0/0");
    forwarding.change(0);
    forwarding.remove({ kind: "removeSa", direction: "outbound", spi: 7, remote });
    forwarding.flush(115);
    expect([taken(), forwarding.deadline]).toEqual([[], 116]);
    forwarding.flush(116);
    expect(taken().map((output) => output.split(" ")[0])).toEqual(["plan", "outbound"]);

    sas.set("c1/0", [9]);
    forwarding.change(1);
    forwarding.flush(117, true);
    expect(taken().length).toBe(1);
  });

  it("gives a contested route to whoever is usable", () => {
    const { forwarding, sas, routesTo } = gateway(2, true);
    forwarding.start();
    expect(routesTo()).toEqual([0]);
    sas.set("c1/0", [9]);
    forwarding.change(1);
    forwarding.flush(0);
    expect(routesTo()).toEqual([1]);
  });
});

/** `connections` named c0, c1 …; a route to c0, and with `contested` another to c1 with the same destination. */
function gateway(connections: number, contested = false) {
  const sas = new Map<string, number[]>();
  const outputs: GatewayOutput[] = [];
  const destination = Prefix.parse("10.2.0.0/16");
  const routes = (contested ? ["c0", "c1"] : ["c0"]).map((connection, i) => {
    return { destination, connection, weight: i === 0 ? 100 : 0, publish: true };
  });
  const config = {
    connections: Array.from({ length: connections }, (_, index) => {
      const name = `c${index}`;
      return { index, name, tunnels: [{}], routing: "destination", localSubnets: [], remoteSubnets: [] };
    }),
    routes: { destination: routes, policy: [] },
  } as unknown as Config;
  const forwarding = new Forwarding({
    config,
    sasOf: (peer) => {
      const newestFirst = (sas.get(peer) ?? []).toReversed().map((spiOut) => ({ spiOut, remote }));
      return [{ outbound: () => newestFirst } as unknown as IkeSaView];
    },
    emit: (output) => outputs.push(output),
  });
  const routesTo = () => {
    const plan = outputs.findLast((output) => output.kind === "publish")!.plan;
    return plan.destinationRoutes.map(({ connection }) => connection);
  };
  const taken = () => outputs.splice(0).map((output) => textOf(output));
  return { forwarding, sas, taken, routesTo };
}

function textOf(output: GatewayOutput): string {
  if (output.kind === "removeSa") return `${output.direction} ${output.spi} goes`;
  if (output.kind === "kernelRoutes") return `${output.destinations.length} routes`;
  if (output.kind !== "publish") return output.kind;
  const rows = output.plan.connections.map(
    ({ connection, outbound }) => `${connection}:${outbound.map(({ spi }) => spi).join()}`,
  );
  return `plan ${rows.join(" ")}`;
}
