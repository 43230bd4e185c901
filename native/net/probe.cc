#include "net/probe.h"

#include <linux/filter.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <iterator>

#include "base/byte_order.h"
#include "base/checksum.h"
#include "base/ip.h"
#include "net/setup_error.h"

namespace culvert::net {
namespace {

constexpr uint8_t kFragmentationNeeded = 4;  // code of "destination unreachable"
constexpr size_t kIcmpHeaderBytes = 8;
constexpr uint8_t kHops = 64;
constexpr uint8_t kDontFragment = 0x40;  // in the high byte of flags and fragment offset
constexpr size_t kMaxHeaderBytes = kIpv6HeaderBytes + kUdpHeaderBytes + 4;

int family_of(const IpAddress& address) { return address.family == Family::ipv4 ? AF_INET : AF_INET6; }

Result<Fd> open_raw(const IpAddress& address, int protocol, const char* what) {
  Fd fd(::socket(family_of(address), SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
  if (!fd.valid()) return setup_error(errno, what, errno == EPERM ? "run with CAP_NET_RAW" : "");
  const SocketAddress local({address, 0});
  if (::bind(fd.get(), local.get(), local.size()) < 0)
    return setup_error(errno, std::string(what) + " on " + to_text(address));
  return fd;
}

// IP and UDP headers for `payload_bytes`, but for the UDP checksum. How many bytes they are.
size_t build_headers(const Endpoint& local, const Endpoint& remote, size_t payload_bytes, uint8_t* to) {
  const size_t udp_bytes = kUdpHeaderBytes + payload_bytes;
  const bool v4 = local.address.family == Family::ipv4;
  const size_t ip_bytes = v4 ? kIpv4HeaderBytes : kIpv6HeaderBytes;
  std::memset(to, 0, ip_bytes + kUdpHeaderBytes);
  if (v4) {
    // The kernel fills in the header's checksum (raw(7)).
    to[0] = 0x45;
    store_be16(to + 2, static_cast<uint16_t>(ip_bytes + udp_bytes));
    to[6] = kDontFragment;
    to[8] = kHops;
    to[9] = kProtocolUdp;
    local.address.store(to + 12);
    remote.address.store(to + 16);
  } else {
    to[0] = 0x60;
    store_be16(to + 4, static_cast<uint16_t>(udp_bytes));
    to[6] = kProtocolUdp;
    to[7] = kHops;
    local.address.store(to + 8);
    remote.address.store(to + 24);
  }
  store_be16(to + ip_bytes, local.port);
  store_be16(to + ip_bytes + 2, remote.port);
  store_be16(to + ip_bytes + 4, static_cast<uint16_t>(udp_bytes));
  return ip_bytes + kUdpHeaderBytes;
}

}  // namespace

int send_unfragmented(int fd, const Endpoint& local, const Endpoint& remote, std::span<const uint8_t> marker,
                      std::span<const uint8_t> message) {
  std::array<uint8_t, kMaxHeaderBytes> headers;
  const size_t payload_bytes = marker.size() + message.size();
  if (payload_bytes > 65535 - kMaxHeaderBytes || marker.size() > 4) return EMSGSIZE;
  const size_t header_bytes = build_headers(local, remote, payload_bytes, headers.data());
  uint8_t* const udp = headers.data() + header_bytes - kUdpHeaderBytes;
  std::copy(marker.begin(), marker.end(), headers.data() + header_bytes);
  uint64_t sum = pseudo_header_checksum(local.address, remote.address, kProtocolUdp,
                                        static_cast<uint32_t>(kUdpHeaderBytes + payload_bytes));
  sum = checksum_partial(udp, kUdpHeaderBytes + marker.size(), sum);
  uint16_t checksum = checksum_finish(checksum_partial(message.data(), message.size(), sum));
  if (checksum == 0) checksum = 0xffff;  // RFC 768: zero says that there is none
  std::memcpy(udp + 6, &checksum, sizeof checksum);

  iovec pieces[] = {{headers.data(), header_bytes + marker.size()},
                    {const_cast<uint8_t*>(message.data()), message.size()}};
  // Over IPv6 the port of a raw socket's destination is a protocol, and 0 is none.
  SocketAddress to({remote.address, 0});
  msghdr header{};
  header.msg_name = to.get();
  header.msg_namelen = to.size();
  header.msg_iov = pieces;
  header.msg_iovlen = std::size(pieces);
  return ::sendmsg(fd, &header, 0) < 0 ? errno : 0;
}

Result<Fd> open_too_big_socket(const IpAddress& address) {
  const bool v4 = address.family == Family::ipv4;
  auto opened = open_raw(address, v4 ? kProtocolIcmp : kProtocolIcmpv6, "raw socket for ICMP");
  if (!opened) return opened;
  const int fd = opened.value().get();
  if (v4) {
    // IP header in front; one code of one type.
    sock_filter filter[] = {
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ICMP_DEST_UNREACH << 8 | kFragmentationNeeded, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    const sock_fprog program{static_cast<unsigned short>(std::size(filter)), filter};
    if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0)
      return setup_error(errno, "filter on the raw socket for ICMP");
  } else {
    icmp6_filter filter;
    ICMP6_FILTER_SETBLOCKALL(&filter);
    ICMP6_FILTER_SETPASS(ICMP6_PACKET_TOO_BIG, &filter);
    if (::setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter) < 0)
      return setup_error(errno, "filter on the raw socket for ICMPv6");
  }
  return opened;
}

std::optional<TooBig> read_too_big(std::span<const uint8_t> packet, const IpAddress& local, uint16_t nat_port) {
  const bool v4 = local.family == Family::ipv4;
  if (v4) {
    if (packet.size() < kIpv4HeaderBytes) return std::nullopt;
    const size_t header = static_cast<size_t>(packet[0] & 0x0f) * 4;
    if ((packet[0] >> 4) != 4 || header < kIpv4HeaderBytes || packet.size() < header) return std::nullopt;
    packet = packet.subspan(header);
  }
  if (packet.size() < kIcmpHeaderBytes) return std::nullopt;
  const bool too_big = v4 ? packet[0] == ICMP_DEST_UNREACH && packet[1] == kFragmentationNeeded
                          : packet[0] == ICMP6_PACKET_TOO_BIG && packet[1] == 0;
  if (!too_big) return std::nullopt;
  const uint32_t mtu = v4 ? load_be16(packet.data() + 6) : load_be32(packet.data() + 4);

  const std::span<const uint8_t> quoted = packet.subspan(kIcmpHeaderBytes);
  const size_t shortest = v4 ? kIpv4HeaderBytes : kIpv6HeaderBytes;
  if (quoted.size() < shortest || (quoted[0] >> 4) != (v4 ? 4 : 6)) return std::nullopt;
  const size_t header = v4 ? static_cast<size_t>(quoted[0] & 0x0f) * 4 : kIpv6HeaderBytes;
  if (header < shortest || quoted.size() < header + 2) return std::nullopt;
  const uint8_t* const from = quoted.data() + (v4 ? 12 : 8);
  const uint8_t* const to = quoted.data() + (v4 ? 16 : 24);
  const auto load = [v4](const uint8_t* at) { return v4 ? IpAddress::load_ipv4(at) : IpAddress::load_ipv6(at); };
  const uint8_t protocol = v4 ? quoted[9] : quoted[6];
  const bool ours =
      protocol == kProtocolEsp || (protocol == kProtocolUdp && load_be16(quoted.data() + header) == nat_port);
  if (!ours || !(load(from) == local)) return std::nullopt;
  return TooBig{load(to), mtu};
}

}  // namespace culvert::net
