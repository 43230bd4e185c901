#include "soak/site.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iterator>
#include <sstream>
#include <vector>

#include "net/setup_error.h"

namespace culvert::soak {
namespace {

// Runs in the calling thread's namespace.
bool ip_batch(const std::string& lines) {
  FILE* ip = ::popen("ip -batch -", "w");
  if (ip == nullptr) return false;
  std::fputs(lines.c_str(), ip);
  return ::pclose(ip) == 0;
}

net::Fd open_proc(const char* name) {
  return net::Fd(::open((std::string("/proc/thread-self/net/") + name).c_str(), O_RDONLY | O_CLOEXEC));
}

std::string read_all(const net::Fd& fd) {
  std::string text;
  char buffer[4096];
  ::lseek(fd.get(), 0, SEEK_SET);
  for (ssize_t n; (n = ::read(fd.get(), buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(n));
  return text;
}

// The last column of every line of /proc/net/udp and its like, of local ports (the second column) from `first` to
// `last`.
uint64_t socket_drops(const net::Fd& fd, uint64_t first, uint64_t last) {
  std::istringstream lines(read_all(fd));
  uint64_t total = 0;
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string slot;
    std::string local;
    words >> slot >> local;
    const uint64_t port = std::strtoull(local.c_str() + local.find(':') + 1, nullptr, 16);
    const size_t end = line.find_last_not_of(' ');
    if (end == std::string::npos || port < first || port > last) continue;
    total += std::strtoull(line.c_str() + line.find_last_of(' ', end) + 1, nullptr, 10);
  }
  return total;
}

// Transmit drops: the twelfth number behind the device's name.
uint64_t device_drops(const std::string& dev, const std::string& name) {
  const size_t at = dev.find(name + ":");
  if (at == std::string::npos) return 0;
  std::istringstream numbers(dev.substr(at + name.size() + 1));
  uint64_t value = 0;
  for (int i = 0; i < 12; i++) numbers >> value;
  return value;
}

// /proc/net/snmp: a line of names and a line of numbers for each protocol.
uint64_t snmp_value(const std::string& snmp, const std::string& protocol, const std::string& name) {
  std::istringstream lines(snmp);
  std::string names;
  std::string numbers;
  while (std::getline(lines, names) && std::getline(lines, numbers)) {
    if (!names.starts_with(protocol + ":")) continue;
    std::istringstream name_words(names);
    std::istringstream number_words(numbers);
    std::string word;
    std::string number;
    while (name_words >> word && number_words >> number) {
      if (word == name) return std::strtoull(number.c_str(), nullptr, 10);
    }
  }
  return 0;
}

// /proc/net/snmp6: a name and a number in each line.
uint64_t snmp6_value(const std::string& snmp6, const std::string& name) {
  std::istringstream words(snmp6);
  std::string word;
  std::string number;
  while (words >> word >> number) {
    if (word == name) return std::strtoull(number.c_str(), nullptr, 10);
  }
  return 0;
}

// The kernel makes an IPv6 address one of this host's in its own time, from a work queue: a busy machine takes a while,
// and until then packets for it are routed elsewhere, and dropped. /proc/net/ipv6_route: address, length, ..., flags,
// device.
bool await_local_ipv6(size_t addresses) {
  constexpr uint64_t kLocalRoute = 0x8000'0000;  // RTF_LOCAL
  constexpr timespec kPause{0, 10'000'000};
  constexpr int kTurns = 1000;
  const net::Fd routes = open_proc("ipv6_route");
  for (int turn = 0; turn < kTurns; turn++) {
    std::istringstream lines(read_all(routes));
    size_t local = 0;
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      const std::vector<std::string> row{std::istream_iterator<std::string>(words), {}};
      if (row.size() != 10 || row[9] == "lo" || row[0].starts_with("fe80")) continue;
      if ((std::strtoull(row[8].c_str(), nullptr, 16) & kLocalRoute) != 0) local++;
    }
    if (local >= addresses) return true;
    ::nanosleep(&kPause, nullptr);
  }
  return false;
}

}  // namespace

IpAddress outer_address(unsigned end, Family family) {
  if (family == Family::ipv4) return {0, 0xc0000200u + end, Family::ipv4};  // 192.0.2.x
  return {0x20010db8'00000000, end, Family::ipv6};                          // 2001:db8::x
}

IpAddress inner_address(unsigned end, unsigned connection, Family family) {
  if (family == Family::ipv4) return {0, 0x0a000001u + (end << 16) + (connection << 8), Family::ipv4};  // 10.e.c.1
  return {0xfd00'0000'0000'0000 + (uint64_t{end} << 16) + connection, 1, Family::ipv6};                 // fd00:0:e:c::1
}

Result<std::unique_ptr<Site>> Site::open(unsigned end, unsigned workers, engine::Notify notify) {
  std::unique_ptr<Site> site(new Site());
  site->end_ = end;
  if (::unshare(CLONE_NEWNET) != 0) return net::setup_error(errno, "network namespace", "run as root");
  site->netns_ = net::Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  auto wire = net::TunDevice::open({.name = "wire", .mtu = kPathMtu, .queues = 1});
  if (!wire) return Error{wire.error()};
  site->wire_ = std::move(wire).value();

  const unsigned far = 3 - end;
  const std::string own_digit = std::to_string(end);
  const std::string far_digit = std::to_string(far);
  // The relay's queue holds what both senders may have on the way, and more: loss is the weather's business.
  const std::string outside = "link set lo up\nlink set wire txqueuelen 10000\naddress add 192.0.2." + own_digit +
                              "/24 dev wire\naddress add 2001:db8::" + own_digit + "/64 dev wire nodad\n";
  if (!ip_batch(outside)) return net::setup_error(EINVAL, "addresses of the outer device", "install iproute2");
  engine::EngineOptions options;
  options.workers = workers;
  options.addresses = {outer_address(end, Family::ipv4), outer_address(end, Family::ipv6)};
  options.path_mtu = kPathMtu;
  auto engine = engine::Engine::open(options, notify);
  if (!engine) return Error{engine.error()};
  site->engine_ = std::move(engine).value();

  std::string inside;
  for (unsigned c = 0; c < kConnections; c++) {
    const std::string digit = std::to_string(c);
    inside += "address add 10." + own_digit + "." + digit + ".1/32 dev culvert0\n";
    inside += "address add fd00:0:" + own_digit + ":" + digit + "::1/128 dev culvert0 nodad\n";
  }
  inside +=
      "route add 10." + far_digit + ".0.0/16 dev culvert0\nroute add fd00:0:" + far_digit + "::/48 dev culvert0\n";
  if (!ip_batch(inside)) return net::setup_error(EINVAL, "addresses of the tunnel's device");
  if (!await_local_ipv6(1 + kConnections)) return net::setup_error(ETIMEDOUT, "IPv6 addresses of a site");
  site->proc_ = {open_proc("dev"),  open_proc("udp"),  open_proc("udp6"), open_proc("raw"),
                 open_proc("raw6"), open_proc("snmp"), open_proc("snmp6")};
  return site;
}

bool Site::enter() const { return ::setns(netns_.get(), CLONE_NEWNET) == 0; }

KernelDrops Site::kernel_drops() const {
  const std::string dev = read_all(proc_.dev);
  const std::string snmp = read_all(proc_.snmp);
  const std::string snmp6 = read_all(proc_.snmp6);
  return {.outer_device = device_drops(dev, "wire"),
          .tunnel_device = device_drops(dev, "culvert0"),
          .outer_sockets = socket_drops(proc_.udp, 0, 4500) + socket_drops(proc_.udp6, 0, 4500) +
                           socket_drops(proc_.raw, 0, 65535) + socket_drops(proc_.raw6, 0, 65535),
          .host_sockets = socket_drops(proc_.udp, 4501, 65535) + socket_drops(proc_.udp6, 4501, 65535),
          .bad_checksums = snmp_value(snmp, "Udp", "InCsumErrors") + snmp6_value(snmp6, "Udp6InCsumErrors") +
                           snmp_value(snmp, "Tcp", "InCsumErrors")};
}

std::string Site::kernel_text() const {
  return read_all(proc_.dev) + read_all(proc_.udp) + read_all(proc_.udp6) + read_all(proc_.raw) + read_all(proc_.raw6) +
         read_all(proc_.snmp);
}

}  // namespace culvert::soak
