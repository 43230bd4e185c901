#include "net/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/udp.h>

#include <cerrno>
#include <iterator>

#include "base/ip.h"
#include "net/setup_error.h"

namespace culvert::net {
namespace {

// What may wait while the worker is not scheduled: at 10 Gb/s and 4 ms that is 5 MB, and the kernel counts its own
// overhead as well.
constexpr int kReceiveBufferBytes = 8 << 20;
constexpr int kSendBufferBytes = 4 << 20;

bool set(int fd, int level, int option, int value) {
  return ::setsockopt(fd, level, option, &value, sizeof value) == 0;
}

int family_of(const IpAddress& address) { return address.family == Family::ipv4 ? AF_INET : AF_INET6; }

Result<Unit> set_common(int fd, int family, uint32_t mark) {
  set_buffers(fd);
  if (mark != 0 && !set(fd, SOL_SOCKET, SO_MARK, static_cast<int>(mark)))
    return setup_error(errno, "socket mark", "run with CAP_NET_ADMIN");
  if (family == AF_INET) {
    // DF is clear: a path narrower than we know then fragments instead of losing everything. The tunnel's MTU is what
    // keeps packets whole, and our own probes find it: what ICMP says to the kernel of a path, anybody could have said,
    // and is not heard here.
    set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT);
    set(fd, IPPROTO_IP, IP_RECVTOS, 1);
  } else {
    set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_OMIT);
    set(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
  }
  return Unit{};
}

Error bind_error(int error_number, const IpAddress& address, uint16_t port) {
  const std::string what = "UDP port " + std::to_string(port) + " on " + to_text(address);
  if (error_number == EADDRINUSE)
    return setup_error(error_number, what, "is strongSwan or another IKE daemon running? Stop it, or use another port");
  if (error_number == EADDRNOTAVAIL)
    return setup_error(error_number, what, "the address is not on this host: add it to an interface or correct it");
  if (error_number == EACCES || error_number == EPERM)
    return setup_error(error_number, what, "run with CAP_NET_BIND_SERVICE, or pass the socket in (systemd does)");
  return setup_error(error_number, what);
}

}  // namespace

void set_buffers(int fd) {
  // FORCE needs CAP_NET_ADMIN and passes net.core.*mem_max; without it the kernel grants what it allows.
  if (!set(fd, SOL_SOCKET, SO_RCVBUFFORCE, kReceiveBufferBytes)) set(fd, SOL_SOCKET, SO_RCVBUF, kReceiveBufferBytes);
  if (!set(fd, SOL_SOCKET, SO_SNDBUFFORCE, kSendBufferBytes)) set(fd, SOL_SOCKET, SO_SNDBUF, kSendBufferBytes);
}

std::string to_text(const IpAddress& address) {
  char text[INET6_ADDRSTRLEN] = {};
  uint8_t bytes[16];
  address.store(bytes);
  ::inet_ntop(family_of(address), bytes, text, sizeof text);
  return text;
}

Result<UdpSocket> UdpSocket::open(const SocketOptions& options) {
  const int family = family_of(options.address);
  UdpSocket socket;
  socket.fd = Fd(::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int fd = socket.fd.get();
  if (fd < 0) return setup_error(errno, "UDP socket");
  if (family == AF_INET6) set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (options.reuse_port && !set(fd, SOL_SOCKET, SO_REUSEPORT, 1)) return setup_error(errno, "SO_REUSEPORT");
  if (auto common = set_common(fd, family, options.mark); !common) return Error{common.error()};
  if (options.dont_fragment) {
    if (!set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)) return setup_error(errno, "IP_PMTUDISC_PROBE");
    sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    const sock_fprog program{std::size(nothing), nothing};
    if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0)
      return setup_error(errno, "filter on a UDP socket");
  }
  const SocketAddress local({options.address, options.port});
  if (::bind(fd, local.get(), local.size()) < 0) return bind_error(errno, options.address, options.port);
  // DEVIATION: RFC 3948 §2.1 has the UDP checksum of IPv4 sent as zero; UDP_SEGMENT refuses sockets that do so, and
  // every device that takes runs computes checksums itself. Received zeroes are fine, over IPv6 as well (RFC 6935).
  if (family == AF_INET6) set(fd, IPPROTO_UDP, UDP_NO_CHECK6_RX, 1);
  socket.receives_runs = options.receive_runs && set(fd, IPPROTO_UDP, UDP_GRO, 1);
  int segment = 0;
  socklen_t size = sizeof segment;
  socket.sends_runs = ::getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, &size) == 0;
  return socket;
}

Result<UdpSocket> UdpSocket::inherit(int fd, uint32_t mark) {
  int type = 0;
  int family = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_DGRAM)
    return setup_error(errno == 0 ? EINVAL : errno, "inherited socket " + std::to_string(fd),
                       "pass a bound UDP socket (ListenDatagram= in the socket unit)");
  size = sizeof family;
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0 || (family != AF_INET && family != AF_INET6))
    return setup_error(errno == 0 ? EAFNOSUPPORT : errno, "inherited socket " + std::to_string(fd),
                       "pass an IPv4 or IPv6 socket");
  UdpSocket socket;
  // A descriptor of our own: the caller keeps theirs.
  socket.fd = Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!socket.fd.valid()) return setup_error(errno, "inherited socket " + std::to_string(fd));
  const int own = socket.fd.get();
  ::fcntl(own, F_SETFL, ::fcntl(own, F_GETFL) | O_NONBLOCK);
  if (auto common = set_common(own, family, mark); !common) return Error{common.error()};
  // A predecessor may have left the kernel's ESP-in-UDP decapsulation on; it would take what is ours.
  set(own, IPPROTO_UDP, UDP_ENCAP, 0);
  set(own, IPPROTO_IP, IP_PKTINFO, 1);
  if (family == AF_INET6) set(own, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  return socket;
}

Result<Unit> check_port_is_free(const IpAddress& address, uint16_t port) {
  const int family = family_of(address);
  Fd fd(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return setup_error(errno, "UDP socket");
  if (family == AF_INET6) set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  const SocketAddress local({address, port});
  if (::bind(fd.get(), local.get(), local.size()) < 0) return bind_error(errno, address, port);
  return Unit{};
}

Result<Fd> open_esp_socket(const SocketOptions& options, unsigned worker, unsigned workers) {
  const int family = family_of(options.address);
  Fd fd(::socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ESP));
  if (!fd.valid()) return setup_error(errno, "raw socket for ESP", errno == EPERM ? "run with CAP_NET_RAW" : "");
  if (auto common = set_common(fd.get(), family, options.mark); !common) return Error{common.error()};

  // IPv4 packets stand in front of the filter with their header, IPv6 ones without; the SPI is ESP's first word.
  sock_filter filter[] = {
      BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),  // X = 4 * (byte 0 & 15): the IPv4 header's length
      BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0),   // A = SPI; a packet without one is dropped here
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, worker_mask(workers)),
      BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, workers),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, worker, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  if (family == AF_INET6) filter[0] = BPF_STMT(BPF_LDX | BPF_IMM, 0);
  const sock_fprog program{static_cast<unsigned short>(std::size(filter)), filter};
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0)
    return setup_error(errno, "SPI filter on the raw socket");

  const SocketAddress local({options.address, 0});
  if (::bind(fd.get(), local.get(), local.size()) < 0) {
    const std::string what = "ESP on " + to_text(options.address);
    if (errno == EADDRNOTAVAIL)
      return setup_error(errno, what, "the address is not on this host: add it to an interface or correct it");
    return setup_error(errno, what);
  }
  return fd;
}

Result<Unit> steer_by_spi(int fd, unsigned workers) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),  // behind the UDP header; a shorter datagram ends here with 0
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 2, 0), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, worker_mask(workers)),
      BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, workers), BPF_STMT(BPF_RET | BPF_A, 0),
  };
  const sock_fprog program{static_cast<unsigned short>(std::size(filter)), filter};
  if (::setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) < 0)
    return setup_error(errno, "SPI steering of the UDP sockets");
  return Unit{};
}

uint32_t path_mtu(const Endpoint& from, const Endpoint& to, uint32_t mark) {
  const int family = family_of(to.address);
  Fd fd(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return 0;
  if (mark != 0) set(fd.get(), SOL_SOCKET, SO_MARK, static_cast<int>(mark));
  const SocketAddress local({from.address, 0});
  const SocketAddress remote(to);
  if (::bind(fd.get(), local.get(), local.size()) < 0 || ::connect(fd.get(), remote.get(), remote.size()) < 0) return 0;
  int mtu = 0;
  socklen_t size = sizeof mtu;
  const bool v4 = family == AF_INET;
  if (::getsockopt(fd.get(), v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU : IPV6_MTU, &mtu, &size) < 0) return 0;
  return mtu > 0 ? static_cast<uint32_t>(mtu) : 0;
}

}  // namespace culvert::net
