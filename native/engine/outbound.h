// Thread: owning worker. TUN → ESP: reads superpackets, finds their SA, cuts them, seals them, sends them.
//
//   TUN read → route → cut into the arena → [run full or nothing more to read] → encap_run → one UDP_SEGMENT send
//
// A run is what one send takes: datagrams of one SA, one traffic class and one size (the last may be shorter), back to
// back in the arena, which is where they are encrypted. Runs may be filled by more than one read.
#pragma once
#include <array>
#include <memory>

#include "engine/error_limit.h"
#include "engine/fragments.h"
#include "engine/reporter.h"
#include "engine/shared.h"
#include "esp/esp.h"
#include "net/huge_buffer.h"
#include "net/packet_send.h"
#include "net/segment.h"
#include "net/send.h"

namespace culvert::engine {

class Outbound {
  static constexpr size_t kTunHeadroom = 64;  // keeps what follows on a cache line of its own
  static constexpr size_t kTunBytes = 65536 + 1024;
  static constexpr size_t kArenaBytes = 192 * 1024;
  static constexpr size_t kScratchBytes = 65536;  // a packet that is cut before it is sealed

 public:
  Outbound(Shared& shared, unsigned worker, Reporter& reporter, net::HugeBuffer memory);

  /** Memory that the constructor wants. */
  static constexpr size_t memory_bytes() {
    return kTunHeadroom + kTunBytes + kArenaBytes + esp::kMaxTailroom + kScratchBytes;
  }

  struct Budget {
    uint64_t reads;
    uint64_t bytes;
  };

  /** Reads packets and superpackets until `budget` is used up, and sends everything. True when there may be more. */
  bool run(const Snapshot& snapshot, const Budget& budget);
  /** Fragments that other workers read and that this one judges. */
  bool run_handed(const Snapshot& snapshot);
  /** True while fragments wait for the first one of their packet: `expire_fragments` wants to be called. */
  bool holds_fragments() const { return fragments_.holds(); }
  void expire_fragments();

 private:
  /** What may happen to a datagram on its way. */
  enum class Emission : uint8_t {
    fragmentable,  // over IPv4 without DF
    unfragmented,  // over IPv4 with DF
    in_fragments,  // over IPv6, and larger than the path: cut here
  };

  struct Run {
    const OutboundPath* path;
    uint32_t offset;  // of the first ESP header in the arena
    uint32_t stride;  // ESP bytes of every datagram but the last
    uint32_t length;  // ESP bytes of all
    uint32_t first_item;
    uint32_t count;
    uint8_t traffic_class;
    Emission emission;
    bool closed;  // its last datagram is shorter: nothing may follow
  };

  static constexpr size_t kMaxItems = 256;
  static constexpr size_t kMaxRuns = 64;

  void take(const net::VnetHeader& header, std::span<uint8_t> packet, const Snapshot& snapshot);
  void send_by(const OutboundPath* path, const net::Segmenter& segmenter, const IpPacket& ip, const Snapshot& snapshot);
  bool take_fragment(std::span<uint8_t> packet, const IpPacket& ip, const Snapshot& snapshot);
  void judge_fragment(std::span<uint8_t> packet, const IpPacket& ip, const Fragment& fragment, const FragmentKey& key,
                      const Snapshot& snapshot);
  void judge_later(std::span<uint8_t> packet, const IpPacket& ip, const Fragment& fragment, const FragmentKey& key,
                   const Snapshot& snapshot);
  void forward(std::span<uint8_t> packet, const IpPacket& ip, const OutboundPath* path, const Snapshot& snapshot);
  const OutboundPath* find_path(const IpPacket& ip, const Snapshot& snapshot);
  static Emission emission_of(const OutboundPath& path, const IpPacket& ip);
  void send_oversized(const net::Segmenter& segmenter, const OutboundPath& path, const IpPacket& ip);
  void fragment_inside(const net::Segmenter& segmenter, const OutboundPath& path, uint32_t mtu);
  void refuse_too_big(const net::Segmenter& segmenter, const OutboundPath& path, uint32_t mtu);
  void append(const net::Segmenter& segmenter, const OutboundPath& path, const IpPacket& ip, Emission emission);
  Run& run_for(const OutboundPath& path, uint8_t traffic_class, Emission emission, uint32_t esp_length, bool may_end);
  void clamp(const IpPacket& ip, const OutboundPath& path, uint8_t* packet);
  void flush();
  void seal(size_t first_run, size_t last_run);
  void send();
  bool may_share_call(const Run& a, const Run& b) const;
  void send_on(const OutboundPath& path, Emission emission, std::span<net::Outgoing> batch);

  Shared& shared_;
  WorkerCounters& counters_;
  Reporter& reporter_;
  net::TunQueue& tun_;
  const unsigned worker_;
  net::Sender sender_;
  net::PacketSender packet_sender_;

  // The last flow's path: a lookup saved for every packet of a run that the kernel did not join.
  struct FlowCache {
    uint64_t generation = 0;
    IpAddress source;
    IpAddress destination;
    uint32_t ports = 0;
    uint8_t protocol = 0;
    const OutboundPath* path = nullptr;
  };
  FlowCache cache_;
  FragmentTable fragments_;
  ErrorLimit errors_;

  net::HugeBuffer memory_;
  uint8_t* const tun_buffer_;
  uint8_t* const arena_;
  uint8_t* const scratch_;
  uint32_t arena_used_ = 0;
  uint32_t item_count_ = 0;
  uint32_t run_count_ = 0;
  std::array<esp::EncapItem, kMaxItems> items_;
  std::array<Run, kMaxRuns> runs_;
  std::array<net::Outgoing, kMaxItems> outgoing_;
  std::array<esp::OutboundSa*, kMaxItems> senders_;  // whose packets they are
};

}  // namespace culvert::engine
