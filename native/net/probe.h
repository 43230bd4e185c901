// Thread: opened by control; `send_unfragmented` is control's, the hints are read by one worker.
//
// What path-MTU discovery needs of the kernel: UDP datagrams that no router may fragment, from the very ports that IKE
// and ESP use, and the ICMP errors that claim that something was too big. Neither touches the sockets that carry ESP: a
// packet costs nothing more, and an ICMP error that somebody forged breaks no send.
#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"
#include "net/fd.h"
#include "net/socket_address.h"

namespace culvert::net {

/**
 * Sends, on a socket of `open_packet_socket`, `marker` and then `message` as one UDP datagram from `local` to `remote`,
 * with DF set, whatever the kernel believes of the path. An errno's value; 0 when it is on its way. EMSGSIZE: more than
 * the interface's own MTU.
 */
int send_unfragmented(int fd, const Endpoint& local, const Endpoint& remote, std::span<const uint8_t> marker,
                      std::span<const uint8_t> message);

/** A raw socket that receives the "too big" errors (RFC 1191 §4, RFC 4443 §3.2) sent to `address`, and nothing else. */
Result<Fd> open_too_big_socket(const IpAddress& address);

/** What an error claims. Nothing proves it: whoever guesses two addresses can send it. */
struct TooBig {
  IpAddress remote;  // where our packet was going
  uint32_t mtu;      // bytes; 0 from routers older than RFC 1191
};

/**
 * Reads what `open_too_big_socket` received: over IPv4 with the IP header, over IPv6 without. Nothing when it does not
 * quote an ESP packet of `local`, or a UDP one from `nat_port`.
 */
std::optional<TooBig> read_too_big(std::span<const uint8_t> packet, const IpAddress& local, uint16_t nat_port);

}  // namespace culvert::net
