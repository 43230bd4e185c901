// Thread: one for each direction; numbers are readable by any.
//
// The bad path between two gateways. It is the far end of a TUN device in either namespace: what the kernel of one
// hands over is cut into datagrams, each meets its fate, and what is left is joined into trains again, whatever their
// SPIs, as a receiving kernel's UDP_GRO would.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/counter.h"
#include "net/tun.h"
#include "soak/payload.h"

namespace culvert::soak {

/** How often, in parts of a million datagrams. */
struct Weather {
  uint32_t drop = 0;
  uint32_t twice = 0;
  uint32_t flip = 0;         // 1 to 8 bits of ESP
  uint32_t resize = 0;       // ESP cut short, or longer by rubbish
  uint32_t flip_header = 0;  // one bit of the IP or UDP header
  uint32_t delay = 0;        // overtaken by up to kMaxDelay others
  bool joins_spis = true;    // trains may hold packets of several SAs
};

struct RelayCounts {
  Counter taken;           // UDP datagrams and ESP packets that came
  Counter dropped;         // on purpose
  Counter doubled;         // copies made
  Counter flipped;         // left, with a wrong bit in ESP
  Counter resized;         // left, with another length
  Counter header_flipped;  // left, with a wrong bit in front of ESP
  Counter delayed;
  Counter refused;  // by the kernel: no IP packet any more
  Counter left;     // handed to the other side, whole or not
  Counter trains;
  Counter others;  // passed on as they are: ICMP
};

class Relay {
 public:
  static constexpr uint32_t kMaxDelay = 200;  // datagrams; less than any replay window here

  Relay(net::TunQueue& from, net::TunQueue& to, const Weather& weather, uint64_t seed);

  /** Until `stop`; then what is held back goes out. */
  void run(const std::atomic<bool>& stop);

  const RelayCounts& counts() const { return counts_; }
  /** Datagrams that are held back now. */
  uint64_t held() const { return held_count_.read(); }
  /** Nothing is held back from now on. Thread: any. */
  void calm() { calm_.store(true, std::memory_order_relaxed); }

 private:
  struct Datagram {
    std::vector<uint8_t> bytes;
    size_t header_bytes;
    bool may_join;
  };
  struct Held {
    Datagram datagram;
    uint64_t due;
  };

  void take(const net::VnetHeader& header, std::span<uint8_t> packet);
  void decide(Datagram datagram);
  void release(bool all);
  void leave(const Datagram& datagram);
  void send(const net::VnetHeader& header, std::span<const uint8_t> packet, uint32_t datagrams);
  void flush();

  net::TunQueue& from_;
  net::TunQueue& to_;
  const Weather weather_;
  Random random_;
  RelayCounts counts_;
  std::atomic<bool> calm_{false};
  Counter held_count_;
  std::vector<Held> held_;
  uint64_t clock_ = 0;  // datagrams that came
  std::unique_ptr<uint8_t[]> buffer_;
  // The train that is being put together.
  std::vector<uint8_t> train_;
  size_t train_header_ = 0;
  size_t train_payload_ = 0;
  uint32_t train_count_ = 0;
  uint32_t train_spi_ = 0;
  bool train_closed_ = false;
};

}  // namespace culvert::soak
