#include "net/packet_send.h"

#include <poll.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/byte_order.h"
#include "base/checksum.h"
#include "net/setup_error.h"
#include "net/sockets.h"

namespace culvert::net {
namespace {

constexpr uint8_t kHops = 64;
constexpr uint16_t kDontFragment = 0x4000;
constexpr size_t kFragmentHeaderBytes = 8;
constexpr uint16_t kMoreFragments = 1;
constexpr uint32_t kLeastIpv6Mtu = 1280;  // RFC 8200 §5

// Waits once for room, as long as Sender does; false when there is none, or the error is another one.
bool sent(int fd, const msghdr& message) {
  for (bool waited = false;;) {
    if (::sendmsg(fd, &message, 0) >= 0) return true;
    if (errno == EINTR) continue;
    if (errno != EAGAIN || waited) return false;
    pollfd wait{fd, POLLOUT, 0};
    ::poll(&wait, 1, kSendPatienceMs);
    waited = true;
  }
}

// One datagram on its way in pieces: the UDP header, if any, is the first bytes of what is cut.
class Ipv6Datagram {
 public:
  Ipv6Datagram(const PacketSender::Fragmentation& how, const Outgoing& run, std::span<const uint8_t> esp)
      : esp_(esp), to_({run.to->endpoint().address, 0}), udp_bytes_(how.udp ? kUdpHeaderBytes : 0) {
    store_be32(ip_, uint32_t{6} << 28 | uint32_t{run.traffic_class} << 20);
    ip_[6] = how.udp ? kProtocolUdp : kProtocolEsp;
    ip_[7] = kHops;
    how.local.address.store(ip_ + 8);
    const Endpoint remote = run.to->endpoint();
    remote.address.store(ip_ + 24);
    if (!how.udp) return;
    store_be16(udp_, how.local.port);
    store_be16(udp_ + 2, remote.port);
    store_be16(udp_ + 4, static_cast<uint16_t>(bytes()));
    store_be16(udp_ + 6, 0);
    uint64_t sum =
        pseudo_header_checksum(how.local.address, remote.address, kProtocolUdp, static_cast<uint32_t>(bytes()));
    sum = checksum_partial(udp_, sizeof udp_, sum);
    uint16_t checksum = checksum_finish(checksum_partial(esp.data(), esp.size(), sum));
    if (checksum == 0) checksum = 0xffff;  // RFC 768: zero says that there is none
    std::memcpy(udp_ + 6, &checksum, sizeof checksum);
  }

  /** Without the IP header. */
  size_t bytes() const { return udp_bytes_ + esp_.size(); }

  bool send(int fd, uint32_t mtu) {
    if (bytes() > 65535) {
      errno = EMSGSIZE;
      return false;
    }
    if (kIpv6HeaderBytes + bytes() <= mtu) return send_piece(fd, 0, bytes(), {});
    // RFC 7739: nobody should foresee the number. Two packets with one would be put together wrongly, and die of it.
    uint32_t identification = 0;
    if (::getrandom(&identification, sizeof identification, 0) < 0) return false;
    const size_t room = (mtu - kIpv6HeaderBytes - kFragmentHeaderBytes) / 8 * 8;
    for (size_t at = 0; at < bytes(); at += room) {
      const size_t length = std::min(room, bytes() - at);
      uint8_t header[kFragmentHeaderBytes] = {ip_[6]};
      store_be16(header + 2, static_cast<uint16_t>(at | (at + length < bytes() ? kMoreFragments : 0)));
      store_be32(header + 4, identification);
      if (!send_piece(fd, at, length, header)) return false;
    }
    return true;
  }

 private:
  bool send_piece(int fd, size_t at, size_t length, std::span<uint8_t> fragment_header) {
    uint8_t ip[kIpv6HeaderBytes];
    std::memcpy(ip, ip_, sizeof ip);
    store_be16(ip + 4, static_cast<uint16_t>(fragment_header.size() + length));
    if (!fragment_header.empty()) ip[6] = kProtocolFragment;
    // Room in a piece is much more than a UDP header, so that the first piece has all of it.
    const size_t udp = at == 0 ? udp_bytes_ : 0;
    iovec pieces[] = {{ip, sizeof ip},
                      {fragment_header.data(), fragment_header.size()},
                      {udp_, udp},
                      {const_cast<uint8_t*>(esp_.data()) + (at == 0 ? 0 : at - udp_bytes_), length - udp}};
    msghdr message{};
    message.msg_name = to_.get();
    message.msg_namelen = to_.size();
    message.msg_iov = pieces;
    message.msg_iovlen = std::size(pieces);
    return sent(fd, message);
  }

  std::span<const uint8_t> esp_;
  SocketAddress to_;  // over IPv6 the port of a raw socket's destination is a protocol, and 0 is none
  size_t udp_bytes_;
  uint8_t ip_[kIpv6HeaderBytes] = {};
  uint8_t udp_[kUdpHeaderBytes] = {};
};

}  // namespace

Result<Fd> open_packet_socket(const IpAddress& address, uint32_t mark) {
  const bool v4 = address.family == Family::ipv4;
  const std::string what = "raw socket for whole packets";
  Fd fd(::socket(v4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW));
  if (!fd.valid()) return setup_error(errno, what, errno == EPERM ? "run with CAP_NET_RAW" : "");
  const SocketAddress local({address, 0});
  if (::bind(fd.get(), local.get(), local.size()) < 0) return setup_error(errno, what + " on " + to_text(address));
  if (mark != 0 && ::setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) < 0)
    return setup_error(errno, "socket mark", "run with CAP_NET_ADMIN");
  // What ICMP said to the kernel of a path, anybody could have said.
  const int disregard = v4 ? IP_PMTUDISC_PROBE : IPV6_PMTUDISC_PROBE;
  if (::setsockopt(fd.get(), v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, &disregard,
                   sizeof disregard) < 0)
    return setup_error(errno, what);
  set_buffers(fd.get());
  return fd;
}

SendReport PacketSender::send_unfragmented(int fd, const IpAddress& local, std::span<Outgoing> batch) {
  SendReport report;
  count_ = 0;
  for (Outgoing& run : batch) {
    const IpAddress remote = run.to->endpoint().address;
    for (uint32_t at = 0; at < run.length; at += run.segment) {
      if (count_ == kBatch) flush(fd, report);
      const unsigned i = count_++;
      // The kernel fills in length, identification and checksum (raw(7)).
      uint8_t* const ip = ip_[i];
      std::memset(ip, 0, kIpv4HeaderBytes);
      ip[0] = 0x45;
      ip[1] = run.traffic_class;
      store_be16(ip + 6, kDontFragment);
      ip[8] = kHops;
      ip[9] = kProtocolEsp;
      local.store(ip + 12);
      remote.store(ip + 16);
      pieces_[i][0] = {ip, kIpv4HeaderBytes};
      pieces_[i][1] = {const_cast<uint8_t*>(run.data + at), std::min(run.segment, run.length - at)};
      runs_[i] = &run;
      msghdr& header = headers_[i].msg_hdr;
      header = {};
      header.msg_name = const_cast<sockaddr*>(run.to->get());
      header.msg_namelen = run.to->size();
      header.msg_iov = pieces_[i].data();
      header.msg_iovlen = 2;
    }
  }
  flush(fd, report);
  return report;
}

void PacketSender::flush(int fd, SendReport& report) {
  for (unsigned done = 0; done < count_;) {
    const int n = ::sendmmsg(fd, &headers_[done], count_ - done, 0);
    if (n > 0) {
      report.sent += static_cast<uint32_t>(n);
      done += static_cast<unsigned>(n);
    } else if (errno == EAGAIN && sent(fd, headers_[done].msg_hdr)) {
      report.sent++;
      done++;
    } else if (errno != EINTR) {
      if (errno == EMSGSIZE) report.too_big = runs_[done]->to;
      report.failed++;
      runs_[done]->failed++;
      done++;
    }
  }
  count_ = 0;
}

SendReport PacketSender::send_fragments(int fd, const Fragmentation& how, std::span<Outgoing> batch) {
  SendReport report;
  for (Outgoing& run : batch) {
    for (uint32_t at = 0; at < run.length; at += run.segment) {
      Ipv6Datagram datagram(how, run, {run.data + at, std::min(run.segment, run.length - at)});
      if (datagram.send(fd, how.path_mtu) || (errno == EMSGSIZE && datagram.send(fd, kLeastIpv6Mtu))) {
        report.sent++;
      } else {
        report.failed++;
        run.failed++;
      }
    }
  }
  return report;
}

}  // namespace culvert::net
