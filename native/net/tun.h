// Thread: opened by control; each TunQueue belongs to one worker.
//
// The TUN device with virtio-net headers: one read brings a superpacket of up to 64 KB that the kernel never cut, one
// write hands it one that we put together.
#pragma once
#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/drop.h"
#include "base/result.h"
#include "net/fd.h"
#include "net/vnet_header.h"

namespace culvert::net {

/** What the kernel's TUN driver agreed to. */
struct TunOffloads {
  bool checksum = false;
  bool tcp = false;  // TSO for IPv4 and IPv6, with ECN
  bool udp = false;  // USO, Linux 6.2 and newer
};

/** One queue of the device. */
class TunQueue {
 public:
  explicit TunQueue(Fd fd) : fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }

  /** In front of the place that `read` fills. One piece is a tenth less to read than two (bench/RESULTS.md). */
  static constexpr size_t kHeadroomBytes = sizeof(VnetHeader);

  /**
   * Reads one packet into `packet`, which must have kHeadroomBytes of its own in front of it. Its length in bytes; 0
   * when there is none now; negative errno otherwise (ENETDOWN and EBADFD come and go with the link's state).
   */
  ssize_t read(VnetHeader& header, std::span<uint8_t> packet);

  /**
   * Writes one packet. `pieces[0]` must be left free by the caller: the header goes there.
   * Drop::tun_write_failed when the kernel refuses.
   */
  Drop write(const VnetHeader& header, std::span<iovec> pieces);

 private:
  Fd fd_;
};

struct TunDevice {
  std::string name;  // as the kernel gave it
  uint32_t index = 0;
  TunOffloads offloads;
  std::vector<TunQueue> queues;

  struct Options {
    std::string name;  // 1 to 15 characters; may hold a "%d"
    uint32_t mtu = 1400;
    unsigned queues = 1;
  };

  /** Creates the device, or attaches to a persistent one, sets its MTU and brings it up. */
  static Result<TunDevice> open(const Options& options);
};

}  // namespace culvert::net
