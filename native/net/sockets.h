// Thread: opened by control; receiving belongs to one worker, sending to any thread.
//
// The sockets of one outer address: UDP for IKE and UDP-encapsulated ESP (RFC 3948), raw sockets for protocol 50.
#pragma once
#include <bit>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "net/fd.h"
#include "net/socket_address.h"

namespace culvert::net {

struct SocketOptions {
  IpAddress address;
  uint16_t port = 0;         // UDP only
  uint32_t mark = 0;         // SO_MARK on everything sent; 0: none
  bool reuse_port = false;   // one of a group, one socket for each worker
  bool receive_runs = true;  // UDP_GRO
  // IPv4: DF on everything sent, and nothing is ever received, although the port may be that of a group.
  bool dont_fragment = false;
};

/** A UDP socket bound to one address, and what the kernel granted it. */
struct UdpSocket {
  Fd fd;
  bool receives_runs = false;  // UDP_GRO is on
  bool sends_runs = false;     // UDP_SEGMENT is known; a device may still refuse it

  static Result<UdpSocket> open(const SocketOptions& options);

  /**
   * Takes over a bound UDP socket that someone else opened (systemd socket activation); it may be bound to a wildcard
   * address, so each datagram brings its local address along.
   */
  static Result<UdpSocket> inherit(int fd, uint32_t mark);
};

/** Room for what waits while a worker is not scheduled, as much as the kernel grants. */
void set_buffers(int fd);

/** Whether something listens on the port already: a reuseport group would share it silently. */
Result<Unit> check_port_is_free(const IpAddress& address, uint16_t port);

/**
 * A raw socket for ESP. Every raw socket of the address gets a copy of every packet: the filter lets through those
 * whose SPI belongs to `worker` of `workers`. IPv4 packets come with their IP header, IPv6 ones without.
 */
Result<Fd> open_esp_socket(const SocketOptions& options, unsigned worker, unsigned workers);

/**
 * Lets the kernel choose the worker for each datagram of a reuseport group whose sockets were bound in the order of
 * the workers, before any that only send: IKE (a zero word in front, RFC 3948 §2.2) and runts to worker 0, ESP to the
 * worker of its SPI.
 */
Result<Unit> steer_by_spi(int fd, unsigned workers);

/** SPI bits that name a worker: those of the next power of two. The control plane's SPI allocator knows the rule. */
inline uint32_t worker_mask(unsigned workers) { return std::bit_ceil(workers) - 1; }

/** The worker that owns an inbound SA: the SPI's low bits; numbers that no worker has wrap around. */
inline unsigned worker_of_spi(uint32_t spi, unsigned workers) { return (spi & worker_mask(workers)) % workers; }

/** The kernel's path MTU to `to`, or 0 when it does not say. Opens a socket: for rare events only. */
uint32_t path_mtu(const Endpoint& from, const Endpoint& to, uint32_t mark);

}  // namespace culvert::net
