/** What two strongSwans said to each other in IKEv1, and the keys that they had (test/vectors/ikev1). */
import { readFileSync } from "node:fs";
import { hex } from "./wycheproof.ts";

export interface RecordedMessage {
  readonly from: "initiator" | "responder";
  readonly datagram: Uint8Array;
}

export interface Recording {
  readonly name: string;
  /** Proposals in the words of swanctl. */
  readonly ike: string;
  readonly esp: string;
  readonly messages: readonly RecordedMessage[];
  /** CKY-I | CKY-R | IP | Port, and its hash. */
  readonly natD: readonly (readonly [covered: string, hash: string])[];
  /** In hexadecimal. Of the first quick mode: `qmGxy` when there was PFS, and the keys of both directions. */
  readonly keys: Readonly<Record<string, string>>;
}

interface File {
  readonly psk: string;
  readonly recordings: readonly (Omit<Recording, "messages"> & {
    readonly messages: readonly { readonly from: "initiator" | "responder"; readonly hex: string }[];
  })[];
}

const file = JSON.parse(
  readFileSync(new URL("../../vectors/ikev1/strongswan.json", import.meta.url), "utf8"),
) as File;

export const recordedPsk = file.psk;

export const recordings: readonly Recording[] = file.recordings.map((recording) => ({
  ...recording,
  messages: recording.messages.map((message) => ({ from: message.from, datagram: hex(message.hex) })),
}));
