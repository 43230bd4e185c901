import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { must } from "../../testbed/exec.ts";
import { describeWithKernel, network, openPlane, Plane } from "./support.ts";

const options = (address: string) => ({
  tunName: "culvert0",
  tunMtu: 1400,
  workers: 1,
  addresses: [address],
});

describeWithKernel("a data plane that cannot start says what to do", {}, () => {
  it("names the port and the likely holder when it is taken", async () => {
    const { bed, a } = await network();
    await openPlane(bed, a.gateway, "first", { addresses: [a.outerAddress] });
    for (const workers of [1, 2]) {
      const second = Plane.start(bed, a.gateway, "second");
      await expect(
        second.call("open", { ...options(a.outerAddress), tunName: "culvert1", workers }),
      ).rejects.toMatchObject({
        code: "EADDRINUSE",
        message: expect.stringMatching(/UDP port 4500 on 192\.0\.2\.1.*strongSwan/),
      });
      await second.stop();
    }
    const third = Plane.start(bed, a.gateway, "third");
    await expect(
      third.call("open", { ...options(a.outerAddress), tunName: "culvert1", natPort: 4501 }),
    ).rejects.toMatchObject({ code: "EADDRINUSE", message: expect.stringContaining("UDP port 500") });
    await expect(
      third.call("open", { ...options(a.outerAddress), natPort: 4501, ikePort: 501 }),
    ).rejects.toMatchObject({ code: "EBUSY", message: expect.stringContaining("culvert0") });
  });

  it("names the address that is not on this host", async () => {
    const { bed, a } = await network();
    const plane = Plane.start(bed, a.gateway, "plane");
    await expect(plane.call("open", options("192.0.2.77"))).rejects.toMatchObject({
      code: "EADDRNOTAVAIL",
      message: expect.stringMatching(/192\.0\.2\.77.*not on this host/),
    });
    // What was opened before is closed again: the right address works in the same process.
    expect((await plane.call("open", options(a.outerAddress)))["tunName"]).toBe("culvert0");
  });

  it("names the capability that is missing", async () => {
    const { bed, a } = await network();
    const without = async (capabilities: string) => {
      const plane = Plane.start(bed, a.gateway, "bare", ["setpriv", "--bounding-set", capabilities]);
      return plane.call("open", options(a.outerAddress)).then(
        () => "opened",
        (error) => `${error.code} ${error.message}`,
      );
    };
    expect(await without("-net_admin")).toMatch(/^EPERM .*CAP_NET_ADMIN/);
    expect(await without("-net_raw")).toMatch(/^EPERM .*CAP_NET_RAW/);
    expect(await without("-net_bind_service")).toMatch(/^EACCES .*CAP_NET_BIND_SERVICE/);
  });

  it("names the device file that is missing", async () => {
    const { bed, a } = await network();
    const hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$0" "$@"'];
    const plane = Plane.start(bed, a.gateway, "no device", hidden);
    await expect(plane.call("open", options(a.outerAddress))).rejects.toMatchObject({
      code: "ENOENT",
      message: expect.stringMatching(/\/dev\/net\/tun.*modprobe tun/),
    });
  });

  it("takes sockets for the IKE port that someone else has bound", async () => {
    const { bed, a, b } = await network();
    const script = `import os, socket, sys
v4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); v4.bind(("0.0.0.0", 500))
v6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1); v6.bind(("::", 500))
os.dup2(v4.fileno(), 10); os.dup2(v6.fileno(), 11)
os.set_inheritable(10, True); os.set_inheritable(11, True)
os.execvp("setpriv", ["setpriv", "--bounding-set", "-net_bind_service", *sys.argv[1:]])`;
    const left = Plane.start(bed, a.gateway, "left", ["/usr/bin/python3", "-c", script]);
    await left.call("open", {
      ...options(a.outerAddress),
      addresses: [a.outerAddress, a.outerAddress6],
      ikeSockets: [10, 11],
    });
    const right = await openPlane(bed, b.gateway, "right", {
      addresses: [b.outerAddress, b.outerAddress6],
    });
    const message = "0102030405060708000000000000000021202208000000000000001c";
    for (const [own, other] of [
      [a.outerAddress, b.outerAddress],
      [a.outerAddress6, b.outerAddress6],
    ]) {
      await left.call("sendIke", `${own}|500`, `${other}|500`, message);
      expect(await right.events("ike")).toMatchObject([{ remote: `${own}|500`, datagram: message }]);
      await right.call("sendIke", `${other}|500`, `${own}|500`, message);
      expect(await left.events("ike")).toMatchObject([{ local: `${own}|500`, remote: `${other}|500` }]);
    }
  });

  it("ends with its process when that exits without a word, in the middle of a flood of events", async () => {
    const { bed, a, b } = await network();
    const sender = await openPlane(bed, b.gateway, "sender", { addresses: [b.outerAddress] });
    const message = `0102030405060708${"00".repeat(1000)}`;
    for (let i = 0; i < 5; i++) {
      const plane = Plane.start(bed, a.gateway, "plane");
      await plane.call("open", { ...options(a.outerAddress), workers: 2 });
      await sender.call("flood", `${b.outerAddress}|4500`, `${a.outerAddress}|4500`, message, 400);
      await plane.events("ike");
      await sender.call("flood", `${b.outerAddress}|4500`, `${a.outerAddress}|4500`, message, 400);
      expect(await plane.exit()).toBe(0);
      expect(await must(["ip", "-n", a.gateway, "link"])).not.toContain("culvert0");
    }
  });

  it("ends with a thread of Node that opened it", async () => {
    const { bed, a } = await network();
    const script = `
      const { Worker, isMainThread } = require("node:worker_threads");
      const addon = require(process.argv[2] ?? process.env.ADDON);
      if (isMainThread) {
        process.env.ADDON = process.argv[2];
        const worker = new Worker(__filename, { env: { ...process.env, ADDON: process.argv[2] } });
        worker.on("message", () => worker.terminate().then((code) => console.log("ended", code)));
      } else {
        new addon.DataPlane({ tunName: "culvert0", tunMtu: 1400, workers: 2, addresses: [new Uint8Array([192, 0, 2, 1])],
          ikePort: 500, natPort: 4500, mark: 0, pathMtu: 1500, ikeSockets: [], backend: "auto", busyPollMicroseconds: 0, pinWorkers: true, allowBenchNull: false },
          () => {});
        require("node:worker_threads").parentPort.postMessage("open");
        setInterval(() => {}, 1000);
      }`;
    const file = bed.file("worker.cjs", script);
    const path = join(process.cwd(), "build/addon/Release/culvert.node");
    expect(await must([process.execPath, file, path], { netns: a.gateway })).toBe("ended 1\n");
  });
});

describe("the addon's own checks", () => {
  it("reject values of the wrong kind with a TypeError that names them", async () => {
    const { addon } = await import("../../src/dataplane/native.ts");
    const { DataPlane } = addon();
    const Loose = DataPlane as unknown as new (...args: unknown[]) => unknown;
    const good = {
      tunName: "culvert9",
      tunMtu: 1400,
      workers: 1,
      addresses: [new Uint8Array([192, 0, 2, 1])],
      ikePort: 500,
      natPort: 4500,
      mark: 0,
      pathMtu: 1500,
      ikeSockets: [],
      backend: "auto",
      busyPollMicroseconds: 0,
      pinWorkers: false,
      allowBenchNull: false,
    };
    const refuses = (change: Record<string, unknown>, name: string) =>
      expect(() => new Loose({ ...good, ...change }, () => {}), name).toThrow(name);
    refuses({ tunName: 7 }, "options.tunName is not a string");
    refuses({ workers: 0 }, "options.workers is not an integer from 1 to 256");
    refuses(
      { busyPollMicroseconds: 10_001 },
      "options.busyPollMicroseconds is not an integer from 0 to 10000",
    );
    refuses({ workers: 1.5 }, "options.workers");
    refuses({ workers: Number.NaN }, "options.workers");
    refuses({ addresses: ["192.0.2.1"] }, "addresses is not a Uint8Array");
    refuses({ addresses: [new Uint8Array(5)] }, "addresses is not an address");
    refuses({ backend: "magic" }, "options.backend");
    expect(() => new Loose(good)).toThrow("onEvents is not a function");
    expect(() => new Loose()).toThrow("options is not an object");
  });
});
