import { describe, expect, it } from "vitest";
import { IpAddress } from "../../../src/core/address.ts";
import { AddressWatch, hostAddresses } from "../../../src/daemon/address-watch.ts";

const addresses = (...texts: string[]) => texts.map((text) => IpAddress.parse(text));

describe("the watch over outer addresses", () => {
  it("tells of those that are there when they change, and of no others", () => {
    const told: string[] = [];
    let here = addresses("192.0.2.1", "2001:db8::1", "10.0.0.1");
    const watch = new AddressWatch(
      addresses("192.0.2.1", "2001:db8::1"),
      (present) => told.push(present.join(" ")),
      () => here,
    );
    watch.poll();
    expect(told).toEqual([]);
    here = addresses("192.0.2.1");
    watch.poll();
    watch.poll();
    here = [];
    watch.poll();
    here = addresses("2001:db8::1", "192.0.2.1", "10.0.0.2");
    watch.poll();
    expect(told).toEqual(["192.0.2.1", "", "192.0.2.1 2001:db8::1"]);
  });

  it("reads the host's own, the loopback among them", () => {
    expect(hostAddresses().map(String)).toContain("127.0.0.1");
  });
});
