#include "test/esp/harness.h"

#include <algorithm>
#include <cstring>

#include "base/byte_order.h"
#include "base/ip.h"
#include "crypto/algorithms.h"
#include "test/check.h"

namespace culvert::esp::test_harness {

std::string Suite::name() const {
  return std::string(row->name) + "-" + std::string(integrity->name) +
         (backend == crypto::Backend::portable ? " portable" : " ipsec_mb") + (esn ? " esn" : "");
}

std::vector<Suite> all_suites() {
  const bool has_ipsec_mb = crypto::backend_available(crypto::Backend::ipsec_mb);
  std::vector<Suite> suites;
  for (const crypto::CipherRow& row : crypto::cipher_rows()) {
    for (const crypto::IntegrityRow& integrity : crypto::integrity_rows()) {
      const bool has_integrity = integrity.hash != crypto::Hash::none;
      const bool is_null = row.mode == crypto::CipherMode::null && !has_integrity;
      if (has_integrity != row.wants_integrity && !is_null) continue;
      for (const bool esn : {false, true}) {
        suites.push_back({&row, &integrity, crypto::Backend::portable, esn});
        if (has_ipsec_mb && !is_null) suites.push_back({&row, &integrity, crypto::Backend::ipsec_mb, esn});
      }
    }
  }
  return suites;
}

std::vector<Suite> protected_suites() {
  std::vector<Suite> suites = all_suites();
  std::erase_if(suites,
                [](const Suite& suite) { return suite.backend != crypto::default_backend() || !suite.is_protected(); });
  return suites;
}

Suite suite(uint16_t encr, uint16_t key_bits, uint16_t integ, bool esn) {
  return {crypto::find_cipher(encr, key_bits), crypto::find_integrity(integ), crypto::default_backend(), esn};
}

Suite gcm128(bool esn) { return suite(20, 128, 0, esn); }

TrafficSelector any_ipv4() { return {{0, 0, Family::ipv4}, {0, 0xffffffff, Family::ipv4}}; }
TrafficSelector any_ipv6() { return {{0, 0, Family::ipv6}, {~uint64_t{0}, ~uint64_t{0}, Family::ipv6}}; }

Config::Config(const Suite& of)
    : suite(of),
      key(test::Random(77).bytes(of.row->key_material_bytes())),
      integrity_key(test::Random(78).bytes(of.integrity->key_bits / 8u)),
      local{any_ipv4(), any_ipv6()},
      remote{any_ipv4(), any_ipv6()} {}

SaParams Config::params() const {
  SaParams params;
  params.spi = kSpi;
  params.connection = 7;
  params.encr = suite.row->encr;
  params.encr_key_bits = suite.row->key_bits;
  params.encr_key = key;
  params.integ = suite.integrity->integ;
  params.integ_key = integrity_key;
  params.esn = suite.esn;
  params.limits = limits;
  params.local_selectors = local;
  params.remote_selectors = remote;
  params.backend = suite.backend;
  params.allow_unprotected_for_benchmark = !suite.is_protected();
  return params;
}

std::unique_ptr<OutboundSa> Config::outbound(uint64_t last_sequence) const {
  auto sa = OutboundSa::create({params(), last_sequence});
  CHECK_EQ(sa.error(), "");
  return std::move(sa).value();
}

std::unique_ptr<InboundSa> Config::inbound(uint32_t replay_window, uint64_t last_sequence) const {
  auto sa = InboundSa::create({params(), replay_window, last_sequence});
  CHECK_EQ(sa.error(), "");
  return std::move(sa).value();
}

namespace {

void fill_udp(Bytes& packet, size_t header_bytes) {
  for (size_t i = header_bytes; i < packet.size(); i++) packet[i] = static_cast<uint8_t>(i);
  if (packet.size() < header_bytes + kUdpHeaderBytes) return;
  store_be16(&packet[header_bytes], 5000);
  store_be16(&packet[header_bytes + 2], 53);
}

}  // namespace

Bytes ipv4_packet(size_t total_length) {
  Bytes packet(total_length);
  packet[0] = 0x45;
  store_be16(&packet[2], static_cast<uint16_t>(total_length));
  packet[8] = 64;
  packet[9] = kProtocolUdp;
  store_be32(&packet[12], 0x0a020001);
  store_be32(&packet[16], 0x0a010001);
  fill_udp(packet, kIpv4HeaderBytes);
  return packet;
}

Bytes ipv6_packet(size_t total_length) {
  Bytes packet(total_length);
  packet[0] = 0x60;
  store_be16(&packet[4], static_cast<uint16_t>(total_length - kIpv6HeaderBytes));
  packet[6] = kProtocolUdp;
  packet[7] = 64;
  store_be64(&packet[8], 0x20010db800020000);
  store_be64(&packet[16], 1);
  store_be64(&packet[24], 0x20010db800010000);
  store_be64(&packet[32], 1);
  fill_udp(packet, kIpv6HeaderBytes);
  return packet;
}

OutboundPacket::OutboundPacket(const Bytes& inner, uint8_t next_header)
    : inner_length_(static_cast<uint32_t>(inner.size())),
      next_header_(next_header),
      memory_(new uint8_t[kMaxHeadroom + inner.size() + kMaxTailroom]) {
  std::copy(inner.begin(), inner.end(), memory_.get() + kMaxHeadroom);
}

EncapItem OutboundPacket::item() const {
  return {memory_.get() + kMaxHeadroom, inner_length_, next_header_, Drop::none, nullptr, 0};
}

InboundPacket::InboundPacket(const Bytes& datagram)
    : length_(static_cast<uint32_t>(datagram.size())), memory_(new uint8_t[datagram.size()]) {
  std::copy(datagram.begin(), datagram.end(), memory_.get());
}

DecapItem InboundPacket::item() const { return {memory_.get(), length_, Drop::none, 0, nullptr, 0}; }

Bytes seal_one(OutboundSa& sa, const Bytes& inner, uint8_t next_header) {
  const OutboundPacket packet(inner, next_header);
  EncapItem item = packet.item();
  encap_run(sa, {&item, 1});
  return item.drop == Drop::none ? OutboundPacket::sealed(item) : Bytes{};
}

Opened open_one(InboundSa& sa, const Bytes& datagram) {
  const InboundPacket packet(datagram);
  DecapItem item = packet.item();
  decap_run(sa, {&item, 1});
  if (item.drop != Drop::none) return {item.drop};
  return {item.drop, item.next_header, InboundPacket::opened(item)};
}

Bytes with_trailer(const Bytes& payload, uint8_t next_header, size_t extra_padding, size_t align) {
  Bytes plaintext = payload;
  size_t pad = extra_padding;
  while ((payload.size() + pad + kEspTrailerBytes) % align != 0) pad++;
  for (size_t i = 1; i <= pad; i++) plaintext.push_back(static_cast<uint8_t>(i));
  plaintext.push_back(static_cast<uint8_t>(pad));
  plaintext.push_back(next_header);
  return plaintext;
}

crypto::CipherOp make_op(const Config& config, Bytes& datagram, uint64_t sequence) {
  const Suite& suite = config.suite;
  crypto::CipherOp op{};
  op.text = datagram.data() + suite.header_bytes();
  op.text_bytes = static_cast<uint32_t>(datagram.size() - suite.header_bytes() - suite.icv_bytes());
  op.icv = op.text + op.text_bytes;
  std::copy_n(config.key.end() - suite.row->salt_bytes, suite.row->salt_bytes, op.nonce);
  std::copy_n(datagram.begin() + kEspHeaderBytes, suite.row->iv_bytes, op.nonce + suite.row->salt_bytes);
  if (suite.row->mode == crypto::CipherMode::ctr) op.nonce[15] = 1;
  if (suite.row->mode == crypto::CipherMode::aead) {
    std::copy_n(datagram.begin(), 4, op.additional);
    if (suite.esn) {
      store_be64(op.additional + 4, sequence);
    } else {
      store_be32(op.additional + 4, static_cast<uint32_t>(sequence));
    }
    op.additional_bytes = suite.esn ? 12 : 8;
  } else {
    store_be32(op.additional, static_cast<uint32_t>(sequence >> 32));
    op.additional_bytes = suite.esn ? 4 : 0;
    op.header_bytes = static_cast<uint8_t>(suite.header_bytes());
  }
  return op;
}

Bytes craft(const Config& config, uint64_t sequence, const Bytes& plaintext, uint32_t spi) {
  const Suite& suite = config.suite;
  Bytes datagram(8);
  store_be32(&datagram[0], spi);
  store_be32(&datagram[4], static_cast<uint32_t>(sequence));
  // Any unique value is a legal IV (RFC 4106 §3.1); CBC's has to be random, but a receiver cannot know.
  const Bytes iv = test::Random(sequence * 3 + 1).bytes(suite.row->iv_bytes);
  datagram.insert(datagram.end(), iv.begin(), iv.end());
  datagram.insert(datagram.end(), plaintext.begin(), plaintext.end());
  datagram.resize(datagram.size() + suite.icv_bytes());
  crypto::CipherOp op = make_op(config, datagram, sequence);
  auto cipher = crypto::Cipher::create({.cipher = suite.row,
                                        .integrity = suite.integrity,
                                        .key = config.key,
                                        .integrity_key = config.integrity_key,
                                        .backend = crypto::Backend::portable});
  CHECK_EQ(cipher.error(), "");
  cipher.value().seal({&op, 1});
  return datagram;
}

}  // namespace culvert::esp::test_harness
