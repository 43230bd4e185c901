#include "soak/relay.h"

#include <poll.h>

#include <algorithm>
#include <cstring>

#include "base/byte_order.h"
#include "base/checksum.h"
#include "base/ip.h"

namespace culvert::soak {
namespace {

constexpr size_t kBufferBytes = 70'000;
constexpr size_t kMaxTrainBytes = 60'000;
constexpr uint32_t kMaxTrainDatagrams = 64;
constexpr size_t kMostExtraBytes = 64;
constexpr int kPollMs = 5;

bool is_ipv4(const uint8_t* packet) { return packet[0] >> 4 == 4; }
size_t ip_bytes(const uint8_t* packet) { return is_ipv4(packet) ? (packet[0] & 0x0fu) * 4u : kIpv6HeaderBytes; }
uint8_t protocol_of(const uint8_t* packet) { return is_ipv4(packet) ? packet[9] : packet[6]; }

void finish_ipv4(uint8_t* packet) {
  std::memset(packet + 10, 0, 2);
  const uint16_t sum = checksum_finish(checksum_partial(packet, ip_bytes(packet)));
  std::memcpy(packet + 10, &sum, sizeof sum);
}

// Lengths and the IPv4 checksum for what the packet measures now.
void set_lengths(std::span<uint8_t> packet) {
  uint8_t* const ip = packet.data();
  const size_t header = ip_bytes(ip);
  if (protocol_of(ip) == kProtocolUdp) store_be16(ip + header + 4, static_cast<uint16_t>(packet.size() - header));
  if (is_ipv4(ip)) {
    store_be16(ip + 2, static_cast<uint16_t>(packet.size()));
    finish_ipv4(ip);
  } else {
    store_be16(ip + 4, static_cast<uint16_t>(packet.size() - header));
  }
}

// The kernel completes and trusts it: what is wrong inside must be found by ESP, not by UDP.
net::VnetHeader udp_header(std::span<uint8_t> packet) {
  uint8_t* const ip = packet.data();
  const size_t header = ip_bytes(ip);
  const bool v4 = is_ipv4(ip);
  const IpAddress source = v4 ? IpAddress::load_ipv4(ip + 12) : IpAddress::load_ipv6(ip + 8);
  const IpAddress destination = v4 ? IpAddress::load_ipv4(ip + 16) : IpAddress::load_ipv6(ip + 24);
  const auto length = static_cast<uint32_t>(packet.size() - header);
  const uint16_t pseudo = checksum_fold(pseudo_header_checksum(source, destination, kProtocolUdp, length));
  std::memcpy(ip + header + 6, &pseudo, sizeof pseudo);
  net::VnetHeader vnet;
  vnet.flags = net::VnetHeader::kNeedsChecksum;
  vnet.header_length = static_cast<uint16_t>(header + kUdpHeaderBytes);
  vnet.checksum_start = static_cast<uint16_t>(header);
  vnet.checksum_offset = 6;
  return vnet;
}

// UDP would find the damage before ESP can: none is legal on both families here (RFC 768, RFC 6935).
void clear_udp_checksum(std::span<uint8_t> packet, size_t front) { std::memset(packet.data() + front - 2, 0, 2); }

}  // namespace

Relay::Relay(net::TunQueue& from, net::TunQueue& to, const Weather& weather, uint64_t seed)
    : from_(from),
      to_(to),
      weather_(weather),
      random_(seed),
      buffer_(new uint8_t[net::TunQueue::kHeadroomBytes + kBufferBytes]) {}

void Relay::run(const std::atomic<bool>& stop) {
  while (!stop.load(std::memory_order_relaxed)) {
    net::VnetHeader header;
    uint8_t* const place = buffer_.get() + net::TunQueue::kHeadroomBytes;
    const ssize_t n = from_.read(header, {place, kBufferBytes});
    if (n > 0) {
      take(header, {place, static_cast<size_t>(n)});
      continue;
    }
    if (calm_.load(std::memory_order_relaxed)) release(true);
    flush();
    pollfd waiting{from_.fd(), POLLIN, 0};
    ::poll(&waiting, 1, kPollMs);
  }
  release(true);
  flush();
}

void Relay::take(const net::VnetHeader& header, std::span<uint8_t> packet) {
  const size_t ip = ip_bytes(packet.data());
  const bool udp = protocol_of(packet.data()) == kProtocolUdp && packet.size() > ip + kUdpHeaderBytes;
  if (!udp) {
    Datagram datagram{{packet.begin(), packet.end()}, ip, false};
    if (protocol_of(packet.data()) != kProtocolEsp) {
      iovec pieces[2] = {{}, {packet.data(), packet.size()}};
      counts_.others.add(to_.write(header, pieces) == Drop::none ? 1 : 0);
      return;
    }
    counts_.taken.add(1);
    return decide(std::move(datagram));
  }
  const size_t front = ip + kUdpHeaderBytes;
  const size_t payload = header.gso_type == net::VnetHeader::kGsoNone ? packet.size() - front : header.gso_size;
  for (size_t at = front; at < packet.size(); at += payload) {
    const size_t length = std::min(payload, packet.size() - at);
    Datagram datagram{{}, front, true};
    datagram.bytes.reserve(front + length + kMostExtraBytes);
    datagram.bytes.insert(datagram.bytes.end(), packet.begin(), packet.begin() + static_cast<ptrdiff_t>(front));
    datagram.bytes.insert(datagram.bytes.end(), packet.begin() + static_cast<ptrdiff_t>(at),
                          packet.begin() + static_cast<ptrdiff_t>(at + length));
    counts_.taken.add(1);
    decide(std::move(datagram));
  }
}

// One datagram's fate: at most one kind of damage, and then perhaps a delay.
void Relay::decide(Datagram datagram) {
  clock_++;
  release(false);
  if (random_.per_million(weather_.drop)) return counts_.dropped.add(1);
  std::vector<uint8_t>& bytes = datagram.bytes;
  const size_t front = datagram.header_bytes;
  if (random_.per_million(weather_.flip)) {
    counts_.flipped.add(1);
    // Different bits, so that none is flipped back.
    const uint64_t bits = (bytes.size() - front) * 8;
    const uint64_t count = 1 + random_.below(8);
    const uint64_t start = random_.below(bits);
    const uint64_t step = 1 + random_.below(std::max<uint64_t>(bits / 8 - 1, 1));
    for (uint64_t i = 0; i < count; i++) {
      const uint64_t bit = (start + i * step) % bits;
      bytes[front + bit / 8] = static_cast<uint8_t>(bytes[front + bit / 8] ^ (1u << (bit % 8)));
    }
  } else if (random_.per_million(weather_.resize)) {
    counts_.resized.add(1);
    const size_t before = bytes.size();
    // Protocol 50 without a whole SPI never leaves the kernel: the sockets' filters read it.
    const size_t least = datagram.may_join ? 0 : sizeof(uint32_t);
    size_t length = front + least + random_.below(before - front - least + kMostExtraBytes);
    if (length == before) length--;
    bytes.resize(length);
    for (size_t at = before; at < length; at++) bytes[at] = static_cast<uint8_t>(random_.next());
    set_lengths(bytes);
    if (datagram.may_join) clear_udp_checksum(bytes, front);
    datagram.may_join = false;
  } else if (random_.per_million(weather_.flip_header)) {
    counts_.header_flipped.add(1);
    if (datagram.may_join) clear_udp_checksum(bytes, front);
    const uint64_t bit = random_.below(front * 8);
    bytes[bit / 8] = static_cast<uint8_t>(bytes[bit / 8] ^ (1u << (bit % 8)));
    if (is_ipv4(bytes.data()) && ip_bytes(bytes.data()) == kIpv4HeaderBytes && random_.below(2) == 0)
      finish_ipv4(bytes.data());
    datagram.may_join = false;
    return leave(datagram);
  }
  if (random_.per_million(weather_.twice)) {
    counts_.doubled.add(1);
    leave(datagram);
  }
  if (random_.per_million(weather_.delay) && !calm_.load(std::memory_order_relaxed)) {
    counts_.delayed.add(1);
    held_.push_back({std::move(datagram), clock_ + 1 + random_.below(kMaxDelay)});
    held_count_.set(held_.size());
    return;
  }
  leave(datagram);
}

void Relay::release(bool all) {
  if (held_.empty()) return;
  for (size_t i = 0; i < held_.size();) {
    if (!all && held_[i].due > clock_) {
      i++;
      continue;
    }
    leave(held_[i].datagram);
    held_[i] = std::move(held_.back());
    held_.pop_back();
  }
  held_count_.set(held_.size());
}

void Relay::leave(const Datagram& datagram) {
  const std::span<const uint8_t> bytes(datagram.bytes);
  const size_t front = datagram.header_bytes;
  const size_t payload = bytes.size() - front;
  if (!datagram.may_join) {
    flush();
    return send(net::VnetHeader{}, bytes, 1);
  }
  const uint32_t spi = payload >= 4 ? load_be32(bytes.data() + front) : 0;
  const auto fits = [&] {
    if (train_count_ == 0 || train_closed_ || train_count_ == kMaxTrainDatagrams || front != train_header_)
      return false;
    if (payload > train_payload_ || train_.size() + payload > kMaxTrainBytes) return false;
    if (!weather_.joins_spis && spi != train_spi_) return false;
    // Everything but identification, lengths and checksums: both addresses, ports and the traffic class.
    const bool v4 = is_ipv4(bytes.data());
    const size_t class_bytes = v4 ? 2 : 4;
    const size_t addresses = v4 ? 12 : 8;
    return std::memcmp(bytes.data(), train_.data(), class_bytes) == 0 &&
           std::memcmp(bytes.data() + addresses, train_.data() + addresses, front - 4 - addresses) == 0;
  };
  if (!fits()) {
    flush();
    train_.assign(bytes.begin(), bytes.end());
    train_header_ = front;
    train_payload_ = payload;
    train_count_ = 1;
    train_spi_ = spi;
    train_closed_ = false;
    return;
  }
  train_.insert(train_.end(), bytes.begin() + static_cast<ptrdiff_t>(front), bytes.end());
  train_count_++;
  train_closed_ = payload < train_payload_;
}

void Relay::flush() {
  if (train_count_ == 0) return;
  set_lengths(train_);
  net::VnetHeader header = udp_header(train_);
  if (train_count_ > 1) {
    header.gso_type = net::VnetHeader::kGsoUdp;
    header.gso_size = static_cast<uint16_t>(train_payload_);
    counts_.trains.add(1);
  }
  send(header, train_, train_count_);
  train_count_ = 0;
}

void Relay::send(const net::VnetHeader& header, std::span<const uint8_t> packet, uint32_t datagrams) {
  iovec pieces[2] = {{}, {const_cast<uint8_t*>(packet.data()), packet.size()}};
  (to_.write(header, pieces) == Drop::none ? counts_.left : counts_.refused).add(datagrams);
}

}  // namespace culvert::soak
