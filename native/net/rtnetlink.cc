#include "net/rtnetlink.h"

#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace culvert::net {
namespace {

// libmnl asks for MNL_SOCKET_BUFFER_SIZE, which is at most 8 KiB; a dump answers in chunks of that size.
constexpr size_t kBufferBytes = 16384;

size_t address_bytes(uint8_t family) { return family == AF_INET ? 4 : 16; }

// One request under construction: header, family message and attributes in a fixed buffer.
struct Request {
  alignas(nlmsghdr) char bytes[512] = {};
  nlmsghdr* header = mnl_nlmsg_put_header(bytes);

  Request(uint16_t type, uint16_t flags) {
    header->nlmsg_type = type;
    header->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  }

  template <typename Body>
  Body* body() {
    return static_cast<Body*>(mnl_nlmsg_put_extra_header(header, sizeof(Body)));
  }
};

void put_route(Request* request, const KernelRoute& route) {
  auto* message = request->body<rtmsg>();
  message->rtm_family = route.family;
  message->rtm_dst_len = route.prefix_length;
  message->rtm_table = RT_TABLE_UNSPEC;  // RTA_TABLE carries it: table numbers above 255 do not fit here
  message->rtm_protocol = route.protocol;
  message->rtm_scope = route.throws ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  message->rtm_type = route.throws ? RTN_THROW : RTN_UNICAST;
  mnl_attr_put(request->header, RTA_DST, address_bytes(route.family), route.destination.data());
  if (!route.throws) mnl_attr_put_u32(request->header, RTA_OIF, route.interface_index);
  mnl_attr_put_u32(request->header, RTA_TABLE, route.table);
  if (route.metric != 0) mnl_attr_put_u32(request->header, RTA_PRIORITY, route.metric);
}

void put_rule(Request* request, const KernelRule& rule) {
  auto* message = request->body<fib_rule_hdr>();
  message->family = rule.family;
  message->action = FR_ACT_TO_TBL;
  message->table = RT_TABLE_UNSPEC;
  message->flags = rule.invert ? FIB_RULE_INVERT : 0;
  mnl_attr_put_u32(request->header, FRA_PRIORITY, rule.priority);
  mnl_attr_put_u32(request->header, FRA_FWMARK, rule.fwmark);
  mnl_attr_put_u32(request->header, FRA_FWMASK, rule.fwmask);
  mnl_attr_put_u32(request->header, FRA_TABLE, rule.table);
  mnl_attr_put_u8(request->header, FRA_PROTOCOL, rule.protocol);
}

// What a dump's callback fills.
struct RouteDump {
  uint32_t table;
  std::vector<KernelRoute>* into;
};

// Calls `visit(attribute)` for every attribute behind a family message of `Body`'s size.
template <typename Body, typename Visit>
void for_each_attribute(const nlmsghdr* header, Visit visit) {
  mnl_attr_parse(
      header, sizeof(Body),
      [](const nlattr* attribute, void* context) {
        (*static_cast<Visit*>(context))(attribute);
        return MNL_CB_OK;
      },
      &visit);
}

uint32_t attribute_u32(const nlattr* attribute) {
  return mnl_attr_validate(attribute, MNL_TYPE_U32) < 0 ? 0 : mnl_attr_get_u32(attribute);
}

int on_route(const nlmsghdr* header, void* context) {
  auto* dump = static_cast<RouteDump*>(context);
  const auto* message = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(header));
  KernelRoute route{};
  route.throws = message->rtm_type == RTN_THROW;
  route.family = message->rtm_family;
  route.prefix_length = message->rtm_dst_len;
  route.table = message->rtm_table;
  route.protocol = message->rtm_protocol;
  for_each_attribute<rtmsg>(header, [&route](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case RTA_DST:
        if (mnl_attr_get_payload_len(attribute) == address_bytes(route.family)) {
          std::memcpy(route.destination.data(), mnl_attr_get_payload(attribute), address_bytes(route.family));
        }
        break;
      case RTA_OIF:
        route.interface_index = attribute_u32(attribute);
        break;
      case RTA_TABLE:
        route.table = attribute_u32(attribute);
        break;
      case RTA_PRIORITY:
        route.metric = attribute_u32(attribute);
        break;
      default:
        break;
    }
  });
  if (route.table == dump->table) dump->into->push_back(route);
  return MNL_CB_OK;
}

int on_rule(const nlmsghdr* header, void* context) {
  auto* into = static_cast<std::vector<KernelRule>*>(context);
  const auto* message = static_cast<const fib_rule_hdr*>(mnl_nlmsg_get_payload(header));
  if (message->action != FR_ACT_TO_TBL) return MNL_CB_OK;
  KernelRule rule{};
  rule.family = message->family;
  rule.table = message->table;
  rule.invert = (message->flags & FIB_RULE_INVERT) != 0;
  for_each_attribute<fib_rule_hdr>(header, [&rule](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case FRA_PRIORITY:
        rule.priority = attribute_u32(attribute);
        break;
      case FRA_FWMARK:
        rule.fwmark = attribute_u32(attribute);
        break;
      case FRA_FWMASK:
        rule.fwmask = attribute_u32(attribute);
        break;
      case FRA_TABLE:
        rule.table = attribute_u32(attribute);
        break;
      case FRA_PROTOCOL:
        if (mnl_attr_validate(attribute, MNL_TYPE_U8) >= 0) rule.protocol = mnl_attr_get_u8(attribute);
        break;
      default:
        break;
    }
  });
  into->push_back(rule);
  return MNL_CB_OK;
}

}  // namespace

std::unique_ptr<Rtnetlink> Rtnetlink::open(KernelStatus* error) {
  mnl_socket* socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (socket == nullptr || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
    *error = errno;
    if (socket != nullptr) mnl_socket_close(socket);
    return nullptr;
  }
  return std::unique_ptr<Rtnetlink>(new Rtnetlink(socket));
}

Rtnetlink::Rtnetlink(mnl_socket* socket) : socket_(socket), port_id_(mnl_socket_get_portid(socket)), sequence_(0) {}

Rtnetlink::~Rtnetlink() { mnl_socket_close(socket_); }

KernelStatus Rtnetlink::set_link(uint32_t index, uint32_t mtu, bool up) {
  Request request(RTM_NEWLINK, NLM_F_ACK);
  auto* message = request.body<ifinfomsg>();
  message->ifi_family = AF_UNSPEC;
  message->ifi_index = static_cast<int>(index);
  message->ifi_change = IFF_UP;
  message->ifi_flags = up ? IFF_UP : 0;
  if (mtu != 0) mnl_attr_put_u32(request.header, IFLA_MTU, mtu);
  return transact(request.header, nullptr, nullptr);
}

KernelStatus Rtnetlink::set_no_link_local(uint32_t index) {
  Request request(RTM_NEWLINK, NLM_F_ACK);
  auto* message = request.body<ifinfomsg>();
  message->ifi_family = AF_UNSPEC;
  message->ifi_index = static_cast<int>(index);
  nlattr* const families = mnl_attr_nest_start(request.header, IFLA_AF_SPEC);
  nlattr* const ipv6 = mnl_attr_nest_start(request.header, AF_INET6);
  mnl_attr_put_u8(request.header, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  mnl_attr_nest_end(request.header, ipv6);
  mnl_attr_nest_end(request.header, families);
  return transact(request.header, nullptr, nullptr);
}

KernelStatus Rtnetlink::replace_route(const KernelRoute& route) {
  Request request(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE);
  put_route(&request, route);
  return transact(request.header, nullptr, nullptr);
}

KernelStatus Rtnetlink::delete_route(const KernelRoute& route) {
  Request request(RTM_DELROUTE, NLM_F_ACK);
  put_route(&request, route);
  return transact(request.header, nullptr, nullptr);
}

KernelStatus Rtnetlink::list_routes(uint8_t family, uint32_t table, std::vector<KernelRoute>* into) {
  Request request(RTM_GETROUTE, NLM_F_DUMP);
  request.body<rtmsg>()->rtm_family = family;
  RouteDump dump{table, into};
  return transact(
      request.header,
      [](const void* message, void* context) { return on_route(static_cast<const nlmsghdr*>(message), context); },
      &dump);
}

KernelStatus Rtnetlink::add_rule(const KernelRule& rule) {
  Request request(RTM_NEWRULE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
  put_rule(&request, rule);
  return transact(request.header, nullptr, nullptr);
}

KernelStatus Rtnetlink::delete_rule(const KernelRule& rule) {
  Request request(RTM_DELRULE, NLM_F_ACK);
  put_rule(&request, rule);
  return transact(request.header, nullptr, nullptr);
}

KernelStatus Rtnetlink::list_rules(uint8_t family, std::vector<KernelRule>* into) {
  Request request(RTM_GETRULE, NLM_F_DUMP);
  request.body<fib_rule_hdr>()->family = family;
  return transact(
      request.header,
      [](const void* message, void* context) { return on_rule(static_cast<const nlmsghdr*>(message), context); }, into);
}

KernelStatus Rtnetlink::transact(void* request, int (*on_message)(const void* message, void* context), void* context) {
  auto* header = static_cast<nlmsghdr*>(request);
  header->nlmsg_seq = ++sequence_;
  if (mnl_socket_sendto(socket_, header, header->nlmsg_len) < 0) return errno;

  struct Handler {
    int (*on_message)(const void*, void*);
    void* context;
  } handler{on_message, context};
  auto dispatch = [](const nlmsghdr* message, void* data) {
    auto* h = static_cast<Handler*>(data);
    return h->on_message == nullptr ? MNL_CB_OK : h->on_message(message, h->context);
  };

  alignas(nlmsghdr) char buffer[kBufferBytes];
  for (;;) {
    const ssize_t received = mnl_socket_recvfrom(socket_, buffer, sizeof(buffer));
    if (received < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    const int verdict =
        mnl_cb_run(buffer, static_cast<size_t>(received), header->nlmsg_seq, port_id_, dispatch, &handler);
    if (verdict < 0) {
      // EPROTO is libmnl's word for an answer to another request: one that an earlier, failed call left unread.
      if (errno == EPROTO) continue;
      return errno;
    }
    if (verdict == MNL_CB_STOP) return 0;
  }
}

}  // namespace culvert::net
