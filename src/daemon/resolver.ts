/** DNS names of peers through the host's resolver (nsswitch, /etc/hosts included), off the JavaScript thread. */
import { lookup } from "node:dns";
import { IpAddress } from "../core/address.ts";

/** Calls `done` with every address of `name`, preferred first; with none when it does not resolve. */
export type Resolver = (
  name: string,
  done: (addresses: IpAddress[], error: string | undefined) => void,
) => void;

export const systemResolver: Resolver = (name, done) => {
  lookup(name, { all: true, verbatim: true }, (error, found) => {
    if (error) return done([], error.code ?? error.message);
    // A scoped address (fe80::1%eth0) has no place in a configuration and does not parse.
    const addresses = found.map(({ address }) => IpAddress.tryParse(address)).filter((a) => a !== undefined);
    done(addresses, undefined);
  });
};
