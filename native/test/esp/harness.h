// Thread: the test's. Pairs of SAs, packets in buffers of exactly the promised size, and ESP made without OutboundSa.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/traffic_selector.h"
#include "esp/esp.h"
#include "esp/inbound_sa.h"
#include "esp/outbound_sa.h"

namespace culvert::esp::test_harness {

using Bytes = std::vector<uint8_t>;

inline constexpr uint32_t kSpi = 0xc0de0001;

/** A suite, as the table names it. */
struct Suite {
  const crypto::CipherRow* row;
  const crypto::IntegrityRow* integrity;  // the `none` row for combined modes
  crypto::Backend backend;
  bool esn;
  std::string name() const;
  bool is_protected() const { return icv_bytes() != 0; }
  size_t icv_bytes() const { return size_t{row->icv_bytes} + integrity->icv_bytes; }
  size_t header_bytes() const { return kEspHeaderBytes + row->iv_bytes; }
  size_t align() const { return row->block_bytes > 4 ? row->block_bytes : 4; }
};

/** Every cipher, integrity, backend and ESN setting that this machine can run; ENCR_NULL without integrity once. */
std::vector<Suite> all_suites();
/** Those of all_suites() with the default backend: one for each cipher, integrity and ESN setting, all protected. */
std::vector<Suite> protected_suites();
Suite gcm128(bool esn = false);
/** IANA ids; the default backend. */
Suite suite(uint16_t encr, uint16_t key_bits, uint16_t integ, bool esn = false);

/** Parameters that own what they point at. */
struct Config {
  explicit Config(const Suite& suite);

  std::unique_ptr<OutboundSa> outbound(uint64_t last_sequence = 0) const;
  std::unique_ptr<InboundSa> inbound(uint32_t replay_window = 64, uint64_t last_sequence = 0) const;
  SaParams params() const;

  Suite suite;
  Bytes key;
  Bytes integrity_key;
  SaLimits limits;
  std::vector<TrafficSelector> local;
  std::vector<TrafficSelector> remote;
};

TrafficSelector any_ipv4();
TrafficSelector any_ipv6();

/** IPv4 UDP from 10.2.0.1 to 10.1.0.1, or IPv6 from 2001:db8:2::1 to 2001:db8:1::1; the payload counts up. */
Bytes ipv4_packet(size_t total_length);
Bytes ipv6_packet(size_t total_length);

/** An inner packet with headroom and tailroom that are not one byte larger than the contract's. */
class OutboundPacket {
 public:
  explicit OutboundPacket(const Bytes& inner, uint8_t next_header = 4);
  EncapItem item() const;
  /** The datagram that the item says is there. */
  static Bytes sealed(const EncapItem& item) { return {item.esp, item.esp + item.esp_length}; }

 private:
  uint32_t inner_length_;
  uint8_t next_header_;
  std::unique_ptr<uint8_t[]> memory_;
};

/** A datagram in an allocation of exactly its size. */
class InboundPacket {
 public:
  explicit InboundPacket(const Bytes& datagram);
  DecapItem item() const;
  static Bytes opened(const DecapItem& item) { return {item.inner, item.inner + item.inner_length}; }

 private:
  uint32_t length_;
  std::unique_ptr<uint8_t[]> memory_;
};

/** Seals one packet with the SA; empty when it was dropped. */
Bytes seal_one(OutboundSa& sa, const Bytes& inner, uint8_t next_header = 4);

struct Opened {
  Drop drop;
  uint8_t next_header = 0;
  Bytes inner = {};
};
Opened open_one(InboundSa& sa, const Bytes& datagram);

/** Plaintext with correct padding: payload, 1, 2, …, pad length, next header. */
Bytes with_trailer(const Bytes& payload, uint8_t next_header, size_t extra_padding = 0, size_t align = 4);

/** What Cipher::open has to be told about a datagram of the suite. */
crypto::CipherOp make_op(const Config& config, Bytes& datagram, uint64_t sequence);

/** An ESP datagram around any plaintext, however wrong, correctly encrypted by the portable backend. */
Bytes craft(const Config& config, uint64_t sequence, const Bytes& plaintext, uint32_t spi = kSpi);

}  // namespace culvert::esp::test_harness
