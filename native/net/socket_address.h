// Thread: any. An IP address with a port as the socket calls want it.
#pragma once
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <string>

#include "base/ip_address.h"

namespace culvert::net {

/** The other end, or ours, of a UDP exchange; `port` in host order. */
struct Endpoint {
  IpAddress address;
  uint16_t port = 0;

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

/** A sockaddr of either family; equal when address and port are. */
class SocketAddress {
 public:
  SocketAddress() { std::memset(&storage_, 0, sizeof storage_); }
  explicit SocketAddress(const Endpoint& endpoint) : SocketAddress() {
    if (endpoint.address.family == Family::ipv4) {
      storage_.v4.sin_family = AF_INET;
      store_be16(&storage_.v4.sin_port, endpoint.port);
      endpoint.address.store(&storage_.v4.sin_addr);
    } else {
      storage_.v6.sin6_family = AF_INET6;
      store_be16(&storage_.v6.sin6_port, endpoint.port);
      endpoint.address.store(&storage_.v6.sin6_addr);
    }
  }

  Endpoint endpoint() const {
    if (is_ipv4()) return {IpAddress::load_ipv4(&storage_.v4.sin_addr), load_be16(&storage_.v4.sin_port)};
    return {IpAddress::load_ipv6(&storage_.v6.sin6_addr), load_be16(&storage_.v6.sin6_port)};
  }

  bool is_ipv4() const { return storage_.v4.sin_family == AF_INET; }
  sockaddr* get() { return &storage_.any; }
  const sockaddr* get() const { return &storage_.any; }
  socklen_t size() const { return is_ipv4() ? sizeof storage_.v4 : sizeof storage_.v6; }
  static constexpr socklen_t capacity() { return sizeof(sockaddr_in6); }

  friend bool operator==(const SocketAddress& a, const SocketAddress& b) {
    if (a.storage_.v4.sin_family != b.storage_.v4.sin_family || a.storage_.v4.sin_port != b.storage_.v4.sin_port)
      return false;
    if (a.is_ipv4()) return a.storage_.v4.sin_addr.s_addr == b.storage_.v4.sin_addr.s_addr;
    return std::memcmp(&a.storage_.v6.sin6_addr, &b.storage_.v6.sin6_addr, 16) == 0;
  }

 private:
  union Storage {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
  };
  Storage storage_;
};

/** For error messages: "192.0.2.1" or "2001:db8::1". */
std::string to_text(const IpAddress& address);

}  // namespace culvert::net
