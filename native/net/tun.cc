#include "net/tun.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "net/rtnetlink.h"
#include "net/setup_error.h"

// Newer than the system headers of Debian 12; the values are kernel ABI.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

namespace culvert::net {
namespace {

constexpr const char* kTunPath = "/dev/net/tun";

// Packets that may wait for a worker; a superpacket counts as one. 400,000 small packets a second fill this in 12 ms,
// which is how long a worker may wait for its turn on a host that computes; 1000, as Ethernet devices have, lost
// packets at half that rate (bench/RESULTS.md). TCP is bounded by its windows, not by this.
constexpr int kTxQueueLength = 5000;

TunOffloads set_offloads(int fd) {
  struct Attempt {
    unsigned flags;
    TunOffloads offloads;
  };
  constexpr unsigned kTcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  const Attempt attempts[] = {
      {kTcp | TUN_F_USO4 | TUN_F_USO6, {.checksum = true, .tcp = true, .udp = true}},
      {kTcp, {.checksum = true, .tcp = true, .udp = false}},
      {TUN_F_CSUM, {.checksum = true, .tcp = false, .udp = false}},
  };
  for (const Attempt& attempt : attempts) {
    if (::ioctl(fd, TUNSETOFFLOAD, static_cast<unsigned long>(attempt.flags)) == 0) return attempt.offloads;
  }
  return {};
}

Result<Fd> open_queue(ifreq& request) {
  Fd fd(::open(kTunPath, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) {
    if (errno == ENOENT || errno == ENODEV)
      return setup_error(errno, kTunPath, "load the driver (modprobe tun), or give the container access to the device");
    return setup_error(errno, kTunPath, "give the process access to the device");
  }
  if (::ioctl(fd.get(), TUNSETIFF, &request) < 0) {
    const std::string what = std::string("TUN device ") + request.ifr_name;
    if (errno == EPERM) return setup_error(errno, what, "run with CAP_NET_ADMIN");
    if (errno == EBUSY) return setup_error(errno, what, "another process holds it: choose another name or stop it");
    if (errno == EINVAL) return setup_error(errno, what, "a device of another kind has this name");
    return setup_error(errno, what);
  }
  int header_bytes = sizeof(VnetHeader);
  if (::ioctl(fd.get(), TUNSETVNETHDRSZ, &header_bytes) < 0)
    return setup_error(errno, std::string("virtio headers on ") + request.ifr_name);
  return fd;
}

// The first queue decides who owns the device. One that exists belongs to somebody, unless it was made to stay (ip
// tuntap add): joining a running gateway's device would take a share of its packets.
Result<Fd> open_first_queue(ifreq& request) {
  const short flags = request.ifr_flags;
  request.ifr_flags = static_cast<short>(flags | IFF_TUN_EXCL);
  auto created = open_queue(request);
  if (created || ::if_nametoindex(request.ifr_name) == 0) return created;
  request.ifr_flags = flags;
  auto joined = open_queue(request);
  if (!joined) return joined;
  ifreq actual{};
  if (::ioctl(joined.value().get(), TUNGETIFF, &actual) == 0 && (actual.ifr_flags & IFF_PERSIST) != 0) return joined;
  return created;
}

}  // namespace

Result<TunDevice> TunDevice::open(const Options& options) {
  ifreq request{};
  if (options.name.empty() || options.name.size() >= IFNAMSIZ)
    return setup_error(EINVAL, "TUN device name '" + options.name + "'", "use 1 to 15 characters");
  std::memcpy(request.ifr_name, options.name.data(), options.name.size());

  TunDevice device;
  for (unsigned i = 0; i < options.queues; i++) {
    const unsigned flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | (options.queues > 1 ? IFF_MULTI_QUEUE : 0u);
    request.ifr_flags = static_cast<short>(flags);
    auto queue = i == 0 ? open_first_queue(request) : open_queue(request);
    if (!queue) return Error{queue.error()};
    if (i == 0) device.offloads = set_offloads(queue.value().get());
    device.queues.emplace_back(std::move(queue).value());
  }
  device.name = request.ifr_name;
  device.index = ::if_nametoindex(request.ifr_name);

  Fd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  request.ifr_mtu = static_cast<int>(options.mtu);
  if (::ioctl(control.get(), SIOCSIFMTU, &request) < 0)
    return setup_error(errno, "MTU " + std::to_string(options.mtu) + " on " + device.name);
  request.ifr_qlen = kTxQueueLength;
  if (::ioctl(control.get(), SIOCSIFTXQLEN, &request) < 0) return setup_error(errno, "queue length of " + device.name);
  // Nobody answers router solicitations behind a tunnel: each would be a packet without a route, and counted. Only a
  // wish: a kernel without IPv6 has no such setting.
  KernelStatus unavailable = 0;
  if (auto rtnetlink = Rtnetlink::open(&unavailable)) rtnetlink->set_no_link_local(device.index);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (::ioctl(control.get(), SIOCSIFFLAGS, &request) < 0) return setup_error(errno, "bringing up " + device.name);
  return device;
}

ssize_t TunQueue::read(VnetHeader& header, std::span<uint8_t> packet) {
  static_assert(kHeadroomBytes == sizeof header);
  uint8_t* const start = packet.data() - kHeadroomBytes;
  const ssize_t n = ::read(fd_.get(), start, kHeadroomBytes + packet.size());
  if (n < 0) return errno == EAGAIN || errno == EINTR ? 0 : -errno;
  if (n < static_cast<ssize_t>(kHeadroomBytes)) return 0;
  std::memcpy(&header, start, sizeof header);
  return n - static_cast<ssize_t>(kHeadroomBytes);
}

Drop TunQueue::write(const VnetHeader& header, std::span<iovec> pieces) {
  VnetHeader copy = header;
  pieces[0] = {&copy, sizeof copy};
  const ssize_t n = ::writev(fd_.get(), pieces.data(), static_cast<int>(pieces.size()));
  return n < 0 ? Drop::tun_write_failed : Drop::none;
}

}  // namespace culvert::net
