// Thread: control. The kernel's links, routes and policy rules through rtnetlink (rtnetlink(7)), by way of libmnl.
//
// Every call is one request and waits for the kernel's answer, which the kernel gives synchronously. Nothing here is
// on the packet path.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

struct mnl_socket;

namespace culvert::net {

// 0, or the errno that the kernel answered with.
using KernelStatus = int;

struct KernelRoute {
  uint8_t family;  // AF_INET or AF_INET6
  std::array<uint8_t, 16> destination;
  uint8_t prefix_length;
  uint32_t interface_index;
  uint32_t table;
  uint8_t protocol;  // rtm_protocol: who installed it
  uint32_t metric;   // 0: the kernel's default
  bool throws;       // RTN_THROW: the lookup goes on with the next rule; needs no interface
};

struct KernelRule {
  uint8_t family;
  uint32_t priority;
  uint32_t fwmark;
  uint32_t fwmask;
  bool invert;  // "not fwmark …"
  uint32_t table;
  uint8_t protocol;
};

class Rtnetlink {
 public:
  // Null when the kernel refuses the socket; `error` then holds errno.
  static std::unique_ptr<Rtnetlink> open(KernelStatus* error);
  ~Rtnetlink();
  Rtnetlink(const Rtnetlink&) = delete;
  Rtnetlink& operator=(const Rtnetlink&) = delete;

  // `mtu`: bytes, 0 leaves it as it is.
  KernelStatus set_link(uint32_t index, uint32_t mtu, bool up);

  // No IPv6 address of the kernel's own making on this link, and so no router solicitation from it.
  KernelStatus set_no_link_local(uint32_t index);

  KernelStatus replace_route(const KernelRoute& route);
  KernelStatus delete_route(const KernelRoute& route);
  KernelStatus list_routes(uint8_t family, uint32_t table, std::vector<KernelRoute>* into);

  KernelStatus add_rule(const KernelRule& rule);
  KernelStatus delete_rule(const KernelRule& rule);
  KernelStatus list_rules(uint8_t family, std::vector<KernelRule>* into);

 private:
  explicit Rtnetlink(mnl_socket* socket);
  KernelStatus transact(void* request, int (*on_message)(const void* message, void* context), void* context);

  mnl_socket* socket_;  // owned: closed by the destructor
  uint32_t port_id_;
  uint32_t sequence_;
};

}  // namespace culvert::net
