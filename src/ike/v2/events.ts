import type * as common from "../common/events.ts";
import type { ChildSa } from "./child-sa.ts";
import type { IkeSa } from "./ike-sa.ts";

/** What an IKEv2 endpoint tells its owner, in order. */
export type IkeOutput = common.IkeOutput<IkeSa, ChildSa>;
