/**
 * What an operator gets to hear: log lines, the event stream, the histories of connections, and, when asked for, keys.
 * Nothing is decided here.
 */

import { formatEndpoint, type IpAddress } from "../core/address.ts";
import type { FailureRecord } from "../core/failure.ts";
import type { Instant } from "../core/time.ts";
import type { IkeOutput } from "../ike/common/events.ts";
import { failureOf } from "../ike/common/failures.ts";
import type { IkeSaView } from "../ike/common/views.ts";
import { formatSuite } from "../registry/index.ts";
import { formatEspSpi } from "../wire/index.ts";
import type { InstalledSa, MissingSa } from "./audit.ts";
import type { GatewayOutput } from "./contract.ts";
import { childSaEvent, type GatewayEvent, ikeSaEvent, pathMtuEvent } from "./gateway-events.ts";
import type { ConnectionHistory } from "./history.ts";
import { espKeyLine, ikeKeyLine, isakmpKeyLine } from "./keylog-lines.ts";
import { about, aboutChild, aboutEstablished, suiteOf } from "./log-fields.ts";
import type { Tunnel, TunnelState } from "./tunnel.ts";

export interface ReportsDeps {
  emit(output: GatewayOutput): void;
  /** Whether somebody reads records of level `debug`. */
  readonly debugLog: boolean;
  historyOf(connection: string): ConnectionHistory | undefined;
}

type Reported<Kind extends IkeOutput["kind"]> = Extract<IkeOutput, { kind: Kind }>;

export class Reports {
  readonly #deps: ReportsDeps;

  constructor(deps: ReportsDeps) {
    this.#deps = deps;
  }

  log(level: "debug" | "info" | "error", message: string, fields: Readonly<Record<string, unknown>>): void {
    this.#deps.emit({ kind: "log", level, message, fields });
  }

  /** Whatever IKE reports: some of it is for nobody's eyes. */
  onIke(now: Instant, output: IkeOutput): void {
    switch (output.kind) {
      case "state":
        this.#onState(output);
        break;
      case "established":
        this.#onEstablished(output);
        break;
      case "rekeyed":
        this.#onRekeyed(output);
        break;
      case "moved":
        this.#onMoved(output);
        break;
      case "pathMtu":
        this.#onPathMtu(output);
        break;
      case "ended":
        this.#onEnded(output);
        break;
      case "childUp":
        this.#onChildUp(output);
        break;
      case "childDown":
        this.#onChildDown(output);
        break;
      case "failure":
        this.onFailure(now, output.record, output.sa);
        break;
      case "ikeKeys":
        this.#onIkeKeys(output);
        break;
      case "isakmpKeys":
        this.#onIsakmpKeys(output);
        break;
      case "espKeys":
        this.#onEspKeys(output);
        break;
    }
  }

  // ── Tunnels ──────────────────────────────────────────────────────────────────────────────────────────────────

  onTunnelState(tunnel: Tunnel, from: TunnelState["name"], why: string): void {
    const to = tunnel.state.name;
    const { connection, customerGateway } = tunnel;
    const fields = { connection: connection.name, customerGateway: customerGateway.name, from, to, why };
    if (to === "UP" || from === "UP") this.log("info", "tunnel state", fields);
    else if (this.#deps.debugLog) this.log("debug", "tunnel state", fields);
    this.#tell({ type: "tunnel", ...fields });
  }

  // ── Failures ─────────────────────────────────────────────────────────────────────────────────────────────────

  /** `sa`: the IKE SA that the failure belongs to, if it got that far. */
  onFailure(now: Instant, record: FailureRecord, sa?: IkeSaView): void {
    this.#deps.historyOf(record.connection ?? "")?.onFailure(now, record, sa);
    this.#deps.emit({ kind: "failure", record });
    this.#tell({ type: "failure", failure: record });
  }

  /** The name of the peer gives no address that one of `ours` could reach. */
  onUnresolved(tunnel: Tunnel, now: Instant, ours: readonly IpAddress[]): void {
    const { address } = tunnel.customerGateway;
    const name = address.kind === "dns" ? address.name : "";
    const subject = { peer: tunnel.peer, candidates: [], remote: { address: ours[0]!, port: 500 } };
    const details = { ours: [name], difference: `${name} has no address that we can reach` };
    this.onFailure(now, { ...failureOf(subject, "PEER_NAME_UNRESOLVED", details), peer: name });
  }

  /** None of `ours` is of the family of `remote`. */
  onNoLocalAddress(tunnel: Tunnel, now: Instant, remote: IpAddress, ours: readonly IpAddress[]): void {
    const details = {
      ours: ours.map(String),
      theirs: [`${remote}`],
      difference: `the peer lives at ${remote}, and gateway.addresses has no IPv${remote.family} address`,
    };
    const subject = { peer: tunnel.peer, candidates: [], remote: { address: remote, port: 500 } };
    this.onFailure(now, failureOf(subject, "NO_LOCAL_ADDRESS", details));
  }

  // ── The data plane ───────────────────────────────────────────────────────────────────────────────────────────

  onStray({ direction, spi, remote }: InstalledSa): void {
    const fields = { direction, spi: formatEspSpi(spi), peer: `${remote}` };
    this.log("error", "data plane differs: removing an SA of nobody", fields);
  }

  onMissing({ sa, child, direction }: MissingSa): void {
    const fields = aboutChild(sa, child, "direction", direction);
    this.log("error", "data plane differs: replacing a CHILD_SA that is not installed", fields);
  }

  onPlanDiffers(): void {
    this.log("error", "data plane differs: its forwarding plan was not the current one", {});
  }

  // ── IKE SAs and CHILD_SAs ────────────────────────────────────────────────────────────────────────────────────

  #onState({ sa, from, to, why }: Reported<"state">): void {
    if (this.#deps.debugLog) this.log("debug", "IKE SA state", { ...about(sa), from, to, why });
  }

  #onEstablished({ sa }: Reported<"established">): void {
    this.log("info", "IKE SA up", aboutEstablished(sa));
    this.#tell(ikeSaEvent(sa, "up"));
    this.#historyOf(sa)?.onEstablished(sa.role);
  }

  #onRekeyed({ sa, successor }: Reported<"rekeyed">): void {
    this.log("info", "IKE SA rekeyed", { ...about(successor), ...suiteOf(successor) });
    this.#tell(ikeSaEvent(successor, "rekeyed"));
    this.#historyOf(sa)?.onIkeRekeyed();
  }

  #onMoved({ sa, why }: Reported<"moved">): void {
    const [local, remote] = [formatEndpoint(sa.local), formatEndpoint(sa.remote)];
    this.log("info", "IKE SA moved", { ...about(sa), local, remote, why });
  }

  #onPathMtu({ sa, before }: Reported<"pathMtu">): void {
    this.log("info", "path MTU changed", { ...about(sa), before, ...sa.path });
    this.#tell(pathMtuEvent(sa, before));
  }

  #onEnded({ sa, why }: Reported<"ended">): void {
    // An initiator that never got through has its failure record; a rekeyed IKE SA lives on in its successor.
    const level = why === "rekeyed" || sa.handshakeMs === 0 ? "debug" : "info";
    if (level === "info" || this.#deps.debugLog) this.log(level, "IKE SA down", { ...about(sa), why });
    if (level === "info") this.#tell(ikeSaEvent(sa, "down", why));
  }

  #onChildUp({ sa, child, rekeyOf }: Reported<"childUp">): void {
    const message = rekeyOf === undefined ? "CHILD_SA up" : "CHILD_SA rekeyed";
    this.log("info", message, aboutChild(sa, child, "suite", formatSuite(child.suite)));
    this.#tell(childSaEvent(sa, child, rekeyOf === undefined ? "up" : "rekeyed"));
    if (rekeyOf !== undefined) this.#historyOf(sa)?.onChildRekeyed(sa.peer!.id);
  }

  #onChildDown({ sa, child, why }: Reported<"childDown">): void {
    const level = why === "rekeyed" ? "debug" : "info";
    if (level === "info" || this.#deps.debugLog)
      this.log(level, "CHILD_SA down", aboutChild(sa, child, "why", why));
    if (why !== "rekeyed") this.#tell(childSaEvent(sa, child, "down", why));
  }

  #onIkeKeys({ keys }: Reported<"ikeKeys">): void {
    this.#deps.emit({ kind: "keylog", table: "ikev2_decryption_table", line: ikeKeyLine(keys) });
  }

  #onIsakmpKeys({ keys }: Reported<"isakmpKeys">): void {
    this.#deps.emit({ kind: "keylog", table: "ikev1_decryption_table", line: isakmpKeyLine(keys) });
  }

  #onEspKeys({ keys }: Reported<"espKeys">): void {
    this.#deps.emit({ kind: "keylog", table: "esp_sa", line: espKeyLine(keys) });
  }

  #historyOf(sa: IkeSaView): ConnectionHistory | undefined {
    return this.#deps.historyOf(sa.peer?.connection ?? "");
  }

  #tell(event: GatewayEvent): void {
    this.#deps.emit({ kind: "event", event });
  }
}
