/**
 * The one schema of what an operator can say, in the file's keys; the management API validates with the same. Here:
 * types, ranges and defaults of single values. What concerns several values together is in `rules.ts`, what this build
 * cannot do yet in `unsupported.ts`. Defaults are written as an operator would write them.
 */
import { z } from "zod";
import { espDefaults, ikeDefaults } from "./defaults.ts";
import { accept, anyText, autoOr, flag, integer, leaf, list, number, oneOf, text } from "./leaf.ts";
import { ppkRule } from "./psk.ts";
import {
  ppkIdRule,
  readAsn,
  readGatewayAddress,
  readIdentity,
  readInterfaceName,
  readIp,
  readKeyId,
  readLinkCidr,
  readLoopbackListen,
  readName,
  readPeer,
  readPpkId,
  readPrefix,
  readProposal,
  readSecretPath,
} from "./values.ts";

export const nameRule = "a name of 1 to 100 letters, digits, dots, underscores and hyphens";
const name = (rule = nameRule) => text({ type: "name", rule }, readName);
const ip = () => text({ type: "address", rule: "an IPv4 or IPv6 address" }, readIp);
const prefix = () =>
  text({ type: "prefix", rule: "an IPv4 or IPv6 prefix, such as 10.1.0.0/16" }, readPrefix);
// RFC 7296 §3.13: one octet counts the selectors of a payload.
const subnets = () => list("list of prefixes", prefix(), 0, 255).prefault([]);
const asn = () =>
  text({ type: "AS number", rule: "1 to 4294967295, also as two 16-bit numbers such as 123.456" }, readAsn);
const identity = () =>
  leaf(
    { type: "identity", rule: "an address, an FQDN, user@fqdn or {keyId: …}" },
    z.union([anyText(""), z.strictObject({ keyId: anyText("") })], {
      error: "an address, an FQDN, user@fqdn or {keyId: …}",
    }),
    (raw) => (typeof raw === "object" ? readKeyId(String(raw.keyId)) : readIdentity(String(raw))),
  );
/** Left out, they are the defaults of the version (`ikev1.ts`). */
const proposals = (use: "ike" | "esp", example: readonly string[]) => {
  const rule = `algorithm keywords joined by hyphens, such as ${example[0]!.split("-ecp384")[0]}`;
  const proposal = text({ type: "proposal", rule }, readProposal(use));
  return list("list of proposals", proposal, 1, 32).optional();
};

/** Seconds that 0 stands for in either lifetime: one cloud API sends 0 for "the default". */
export const defaultLifetimeSeconds = 86_400;
const lifetimeSeconds = () => integer([0, 0], [60, 604_800]).prefault(defaultLifetimeSeconds);
/** So that the bytes are an exact number. */
const maxKilobytes = Math.floor(Number.MAX_SAFE_INTEGER / 1024);

const weight = () => number("0 (standby) or 100 (active)", (n) => n === 0 || n === 100).prefault(100);

export const gatewaySchema = z.strictObject({
  name: name().prefault("culvert"),
  addresses: list(
    "list of addresses",
    text({ type: "address", rule: "an IPv4 or IPv6 address of this host" }, readGatewayAddress),
    1,
    64,
  ),
  tun: z
    .strictObject({
      name: text(
        { type: "name", rule: "an interface name of 1 to 15 letters, digits, dots, underscores and hyphens" },
        readInterfaceName,
      ).prefault("culvert0"),
      // 576: what every IPv4 host must take (RFC 791). IPv6 inside needs 1280.
      mtu: autoOr(576, 65_535).prefault("auto"),
    })
    .prefault({}),
  workers: autoOr(1, 256).prefault("auto"),
  busyPollMicroseconds: integer([0, 10_000]).prefault(0),
  replayWindow: integer([64, 65_536]).prefault(4096),
  metrics: z
    .strictObject({
      listen: text(
        {
          type: "address and port",
          rule: "a loopback address and a port, such as 127.0.0.1:9540 or [::1]:9540",
        },
        readLoopbackListen,
      ).optional(),
    })
    .prefault({}),
});

export const customerGatewaySchema = z.strictObject({
  address: text({ type: "address, DNS name or any", rule: "an address, a DNS name or any" }, readPeer),
  asn: asn().optional(),
  allowSharedAddressSpace: flag().prefault(false),
});

export const connectionSchema = z.strictObject({
  customerGateway: name("the name of a customer gateway").optional(),
  tunnels: list("list of names", name("the name of a customer gateway"), 1, 2).optional(),
  routing: oneOf("destination", "protected-data-flows").prefault("destination"),
  localSubnets: subnets(),
  remoteSubnets: subnets(),
  start: oneOf("immediately", "on-traffic", "passive").optional(),
  psk: z
    .strictObject({
      file: text({ type: "path", rule: "the path of a file" }, readSecretPath).optional(),
      value: text({ type: "text", rule: "1 to 100 printable characters" }, accept).optional(),
    })
    .optional(),
  ike: z
    .strictObject({
      version: oneOf("ikev1", "ikev2", "auto").prefault("ikev2"),
      mode: oneOf("main", "aggressive").prefault("main"),
      proposals: proposals("ike", ikeDefaults),
      lifetimeSeconds: lifetimeSeconds(),
      reauthenticate: flag().prefault(false),
      childless: oneOf("allow", "force", "never").prefault("allow"),
      mobike: flag().prefault(true),
      localId: identity().optional(),
      remoteId: identity().optional(),
      ppk: z
        .strictObject({
          id: text({ type: "text", rule: ppkIdRule }, readPpkId),
          file: text({ type: "path", rule: "the path of a file" }, readSecretPath).optional(),
          value: text({ type: "text", rule: ppkRule }, accept).optional(),
          required: flag().prefault(true),
        })
        .optional(),
    })
    .prefault({}),
  ipsec: z
    .strictObject({
      proposals: proposals("esp", espDefaults),
      lifetimeSeconds: lifetimeSeconds(),
      lifetimeKilobytes: number(
        "0 or at least 2560",
        (n) => n === 0 || (n >= 2560 && n <= maxKilobytes),
      ).prefault(0),
      lifetimePackets: integer([0, Number.MAX_SAFE_INTEGER]).prefault(0),
      rehearseRekey: flag().prefault(true),
      perSubnetPair: pairing().prefault("auto"),
      // From what every IPv4 host must take (RFC 791) to Ethernet's usual jumbo frames.
      pathMtu: autoOr(576, 9216).prefault("auto"),
      dontFragment: oneOf("copy", "set", "clear").prefault("clear"),
    })
    .prefault({}),
  dpd: z
    .strictObject({
      enabled: flag().prefault(true),
      intervalSeconds: integer([1, 3600]).prefault(10),
      timeoutSeconds: integer([5, 600]).prefault(30),
      action: oneOf("restart", "clear").prefault("restart"),
    })
    .prefault({}),
  natTraversal: z
    .strictObject({
      enabled: flag().prefault(true),
      forceEncapsulation: flag().prefault(false),
      keepaliveSeconds: integer([1, 3600]).prefault(20),
    })
    .prefault({}),
  healthCheck: z
    .strictObject({
      enabled: flag().prefault(false),
      source: ip().optional(),
      destination: ip().optional(),
      intervalSeconds: integer([1, 3600]).prefault(3),
      retries: integer([1, 100]).prefault(3),
      switchRoute: flag().prefault(true),
    })
    .prefault({}),
  bgp: z
    .strictObject({
      enabled: flag().prefault(false),
      tunnelCidr: text({ type: "prefix", rule: "a /30 inside 169.254.0.0/16" }, readLinkCidr).optional(),
      localAddress: ip().optional(),
      localAsn: asn().optional(),
    })
    .prefault({}),
});

export const routesSchema = z.strictObject({
  destination: list(
    "list of destination routes",
    z.strictObject({
      destination: prefix(),
      connection: name("the name of a connection"),
      weight: weight(),
      publish: flag().prefault(true),
    }),
    0,
    65_536,
  ).prefault([]),
  policy: list(
    "list of policy routes",
    z.strictObject({
      source: prefix(),
      destination: prefix(),
      connection: name("the name of a connection"),
      weight: weight(),
      priority: integer([1, 100]).prefault(10),
    }),
    0,
    65_536,
  ).prefault([]),
});

export const configSchema = z.strictObject({
  gateway: gatewaySchema,
  customerGateways: z.record(name(), customerGatewaySchema).prefault({}),
  connections: z.record(name(), connectionSchema).prefault({}),
  routes: routesSchema.prefault({}),
});

/** The file after single values are read and defaults are in. */
export type FileConfig = z.output<typeof configSchema>;
export type FileConnection = FileConfig["connections"][string];

function pairing() {
  return leaf(
    { type: "auto or true or false", rule: "auto, true or false" },
    z.union([z.boolean(), z.literal("auto")], { error: "auto, true or false" }),
    accept,
  );
}
