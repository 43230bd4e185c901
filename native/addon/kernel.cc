#include "addon/kernel.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>

#include "net/rtnetlink.h"

namespace culvert::addon {
namespace {

using net::KernelRoute;
using net::KernelRule;
using net::KernelStatus;
using net::Rtnetlink;

constexpr uint8_t kFamilies[] = {AF_INET, AF_INET6};

// A JavaScript Error with `code` (the errno's name is what an operator searches for) is pending when this returns.
void fail(Napi::Env env, const std::string& what, KernelStatus status) {
  Napi::Error error = Napi::Error::New(env, what + ": " + std::strerror(status));
  error.Set("errno", Napi::Number::New(env, status));
  error.Set("code", Napi::String::New(env, strerrorname_np(status) == nullptr ? "EUNKNOWN" : strerrorname_np(status)));
  error.ThrowAsJavaScriptException();
}

std::unique_ptr<Rtnetlink> open_or_fail(Napi::Env env) {
  KernelStatus status = 0;
  auto rtnetlink = Rtnetlink::open(&status);
  if (rtnetlink == nullptr) fail(env, "rtnetlink socket", status);
  return rtnetlink;
}

uint32_t u32(const Napi::Object& object, const char* key) { return object.Get(key).ToNumber().Uint32Value(); }

bool parse_prefix(const std::string& text, KernelRoute* route) {
  const size_t slash = text.find('/');
  if (slash == std::string::npos || slash + 1 >= text.size() || text.size() - slash > 4) return false;
  const std::string address = text.substr(0, slash);
  route->family = address.find(':') == std::string::npos ? AF_INET : AF_INET6;
  uint32_t length = 0;
  for (const char c : text.substr(slash + 1)) {
    if (c < '0' || c > '9') return false;
    length = length * 10 + static_cast<uint32_t>(c - '0');
  }
  if (length > (route->family == AF_INET ? 32u : 128u)) return false;
  route->prefix_length = static_cast<uint8_t>(length);
  return inet_pton(route->family, address.c_str(), route->destination.data()) == 1;
}

std::string format_prefix(const KernelRoute& route) {
  char text[INET6_ADDRSTRLEN];
  inet_ntop(route.family, route.destination.data(), text, sizeof(text));
  return std::string(text) + "/" + std::to_string(route.prefix_length);
}

// {prefix, device, table, protocol, throws?} → KernelRoute; false with a pending exception when it is not one.
bool read_route(Napi::Env env, const Napi::Value& value, KernelRoute* route) {
  const Napi::Object object = value.ToObject();
  const std::string prefix = object.Get("prefix").ToString().Utf8Value();
  const std::string device = object.Get("device").ToString().Utf8Value();
  *route = KernelRoute{};
  if (!parse_prefix(prefix, route)) {
    fail(env, "route " + prefix, EINVAL);
    return false;
  }
  route->throws = object.Get("throws").ToBoolean().Value();
  if (!route->throws) route->interface_index = if_nametoindex(device.c_str());
  if (!route->throws && route->interface_index == 0) {
    fail(env, "device " + device, errno);
    return false;
  }
  route->table = u32(object, "table");
  route->protocol = static_cast<uint8_t>(u32(object, "protocol"));
  return true;
}

KernelRule read_rule(const Napi::Value& value) {
  const Napi::Object object = value.ToObject();
  return KernelRule{.family = static_cast<uint8_t>(u32(object, "family") == 6 ? AF_INET6 : AF_INET),
                    .priority = u32(object, "priority"),
                    .fwmark = u32(object, "fwmark"),
                    .fwmask = u32(object, "fwmask"),
                    .invert = object.Get("invert").ToBoolean().Value(),
                    .table = u32(object, "table"),
                    .protocol = static_cast<uint8_t>(u32(object, "protocol"))};
}

Napi::Value link_index(const Napi::CallbackInfo& info) {
  const std::string name = info[0].ToString().Utf8Value();
  const unsigned index = if_nametoindex(name.c_str());
  return index == 0 ? info.Env().Undefined() : Napi::Number::New(info.Env(), index);
}

// setLink(name, {mtu?, up})
Napi::Value set_link(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string name = info[0].ToString().Utf8Value();
  const Napi::Object options = info[1].ToObject();
  const unsigned index = if_nametoindex(name.c_str());
  if (index == 0) {
    fail(env, "device " + name, errno);
    return env.Undefined();
  }
  auto rtnetlink = open_or_fail(env);
  if (rtnetlink == nullptr) return env.Undefined();
  const uint32_t mtu = options.Has("mtu") ? u32(options, "mtu") : 0;
  const KernelStatus status = rtnetlink->set_link(index, mtu, options.Get("up").ToBoolean().Value());
  if (status != 0) fail(env, "set link " + name, status);
  return env.Undefined();
}

using RouteCall = KernelStatus (Rtnetlink::*)(const KernelRoute&);

template <RouteCall call>
Napi::Value change_route(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  KernelRoute route;
  if (!read_route(env, info[0], &route)) return env.Undefined();
  auto rtnetlink = open_or_fail(env);
  if (rtnetlink == nullptr) return env.Undefined();
  const KernelStatus status = (rtnetlink.get()->*call)(route);
  if (status != 0) fail(env, "route " + format_prefix(route), status);
  return env.Undefined();
}

using RuleCall = KernelStatus (Rtnetlink::*)(const KernelRule&);

template <RuleCall call>
Napi::Value change_rule(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const KernelRule rule = read_rule(info[0]);
  auto rtnetlink = open_or_fail(env);
  if (rtnetlink == nullptr) return env.Undefined();
  const KernelStatus status = (rtnetlink.get()->*call)(rule);
  if (status != 0) fail(env, "rule " + std::to_string(rule.priority), status);
  return env.Undefined();
}

// listRoutes(table) → [{prefix, device, table, protocol, throws?}]
Napi::Value list_routes(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto rtnetlink = open_or_fail(env);
  if (rtnetlink == nullptr) return env.Undefined();
  std::vector<KernelRoute> routes;
  for (const uint8_t family : kFamilies) {
    const KernelStatus status = rtnetlink->list_routes(family, info[0].ToNumber().Uint32Value(), &routes);
    if (status != 0) {
      fail(env, "list routes", status);
      return env.Undefined();
    }
  }
  Napi::Array array = Napi::Array::New(env, routes.size());
  for (uint32_t i = 0; i < routes.size(); i++) {
    char name[IF_NAMESIZE] = "";
    if_indextoname(routes[i].interface_index, name);
    Napi::Object object = Napi::Object::New(env);
    object.Set("prefix", format_prefix(routes[i]));
    object.Set("device", std::string(name));
    object.Set("table", routes[i].table);
    object.Set("protocol", routes[i].protocol);
    if (routes[i].throws) object.Set("throws", true);
    array.Set(i, object);
  }
  return array;
}

// listRules() → [{family, priority, fwmark, fwmask, invert, table, protocol}]
Napi::Value list_rules(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto rtnetlink = open_or_fail(env);
  if (rtnetlink == nullptr) return env.Undefined();
  std::vector<KernelRule> rules;
  for (const uint8_t family : kFamilies) {
    const KernelStatus status = rtnetlink->list_rules(family, &rules);
    if (status != 0) {
      fail(env, "list rules", status);
      return env.Undefined();
    }
  }
  Napi::Array array = Napi::Array::New(env, rules.size());
  for (uint32_t i = 0; i < rules.size(); i++) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("family", rules[i].family == AF_INET6 ? 6 : 4);
    object.Set("priority", rules[i].priority);
    object.Set("fwmark", rules[i].fwmark);
    object.Set("fwmask", rules[i].fwmask);
    object.Set("invert", rules[i].invert);
    object.Set("table", rules[i].table);
    object.Set("protocol", rules[i].protocol);
    array.Set(i, object);
  }
  return array;
}

// notifySystemd(socketPath, text): one datagram as sd_notify(3) describes. False when there is nobody to tell.
Napi::Value notify_systemd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = info[0].ToString().Utf8Value();
  const std::string text = info[1].ToString().Utf8Value();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() < 2 || path.size() >= sizeof(address.sun_path)) return Napi::Boolean::New(env, false);
  std::memcpy(address.sun_path, path.data(), path.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';  // an abstract socket, as sd_notify writes it
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Napi::Boolean::New(env, false);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  const ssize_t sent =
      sendto(fd, text.data(), text.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), length);
  close(fd);
  return Napi::Boolean::New(env, sent == static_cast<ssize_t>(text.size()));
}

}  // namespace

void init_kernel(Napi::Env env, Napi::Object exports) {
  Napi::Object kernel = Napi::Object::New(env);
  const auto add = [&](const char* name, Napi::Value (*call)(const Napi::CallbackInfo&)) {
    kernel.Set(name, Napi::Function::New(env, call, name));
  };
  add("linkIndex", link_index);
  add("setLink", set_link);
  add("replaceRoute", change_route<&Rtnetlink::replace_route>);
  add("deleteRoute", change_route<&Rtnetlink::delete_route>);
  add("listRoutes", list_routes);
  add("addRule", change_rule<&Rtnetlink::add_rule>);
  add("deleteRule", change_rule<&Rtnetlink::delete_rule>);
  add("listRules", list_rules);
  add("notifySystemd", notify_systemd);
  exports.Set("kernel", kernel);
}

}  // namespace culvert::addon
