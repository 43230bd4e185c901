#include "engine/inbound.h"

#include <algorithm>

#include "net/ecn.h"
#include "net/icmp.h"
#include "net/probe.h"
#include "net/tcp.h"

namespace culvert::engine {
namespace {

constexpr size_t kMarkerBytes = 4;      // RFC 3948 §2.2: zeroes where ESP has its SPI
constexpr size_t kIkeHeaderBytes = 28;  // RFC 7296 §3.1
constexpr uint8_t kKeepalive = 0xff;    // RFC 3948 §2.3: the whole datagram

// With messages this long on average the next calls take one at a time, so that a train is opened while it is in the
// cache; with short ones a call takes as many as there are.
constexpr uint64_t kTrainBytes = 8192;
// Trains that are held until they are written together: a superpacket's tail is often in the next train. More would
// leave the cache before it is written.
constexpr uint64_t kBatchBytes = 160 * 1024;

bool is_tcp_syn(const uint8_t* packet, uint32_t length) {
  if ((packet[0] >> 4) == 4) {
    const size_t header = static_cast<size_t>(packet[0] & 0x0f) * 4;
    return packet[9] == kProtocolTcp && length >= header + net::kTcpHeaderBytes &&
           (load_be16(packet + 6) & 0x3fff) == 0 && (packet[header + net::kTcpFlagsOffset] & net::kTcpSyn) != 0;
  }
  return packet[6] == kProtocolTcp && length >= kIpv6HeaderBytes + net::kTcpHeaderBytes &&
         (packet[kIpv6HeaderBytes + net::kTcpFlagsOffset] & net::kTcpSyn) != 0;
}

}  // namespace

Inbound::Inbound(Shared& shared, unsigned worker, Reporter& reporter, std::unique_ptr<net::ReceiveSlots> slots)
    : shared_(shared),
      counters_(shared.worker[worker]->counters),
      reporter_(reporter),
      tun_(shared.tun.queues[worker]),
      strays_(shared.worker[worker]->strays),
      worker_(worker),
      slots_(std::move(slots)),
      coalescer_(*this, shared.tun.offloads.udp),
      fragments_(shared.fragment_seed) {}

bool Inbound::run_nat(const Snapshot& snapshot, size_t outer) {
  const OuterAddress& address = *shared_.outers[outer];
  const int fd = address.nat[worker_].fd.get();
  const net::Endpoint local{address.address, shared_.nat_port};
  unsigned used = 0;
  uint64_t bytes = 0;
  bool more = true;
  while (more && used < net::ReceiveSlots::kSlots && bytes < kBatchBytes) {
    const unsigned wanted = expects_trains_ ? 1 : net::ReceiveSlots::kSlots - used;
    const std::span<net::Received> messages = slots_->receive(fd, used, wanted);
    for (const net::Received& message : messages) {
      take_message(snapshot, message, local);
      bytes += message.length;
    }
    used += static_cast<unsigned>(messages.size());
    more = messages.size() == wanted;
  }
  if (used == 0) return false;
  open_run(snapshot);
  flush();
  counters_.add(Count::esp_receives, used);
  expects_trains_ = bytes / used >= kTrainBytes;
  return more;
}

bool Inbound::run_esp(const Snapshot& snapshot, size_t outer) {
  const OuterAddress& address = *shared_.outers[outer];
  const std::span<net::Received> messages = slots_->receive(address.esp[worker_].get(), 0, net::ReceiveSlots::kSlots);
  if (messages.empty()) return false;
  raw_count_ += messages.size();
  for (const net::Received& message : messages) {
    std::span<uint8_t> esp(message.data, message.length);
    uint8_t traffic_class = message.traffic_class;
    if (message.truncated) {
      counters_.drop(Drop::truncated);
      continue;
    }
    if (address.address.family == Family::ipv4) {
      const size_t header = esp.size() < kIpv4HeaderBytes ? 0 : static_cast<size_t>(esp[0] & 0x0f) * 4;
      if (header < kIpv4HeaderBytes || header > esp.size()) {
        counters_.drop(Drop::truncated);
        continue;
      }
      traffic_class = esp[1];
      esp = esp.subspan(header);
    }
    take_esp(snapshot, esp, message.from, traffic_class, false, false);
  }
  open_run(snapshot);
  flush();
  counters_.add(Count::esp_receives, messages.size());
  return messages.size() == net::ReceiveSlots::kSlots;
}

bool Inbound::run_ike(size_t outer) {
  const OuterAddress& address = *shared_.outers[outer];
  const std::span<net::Received> messages = slots_->receive(address.ike.fd.get(), 0, kIkeBatch);
  for (const net::Received& message : messages)
    take_ike({message.data, message.length}, {address.address, shared_.ike_port}, message.from);
  return messages.size() == kIkeBatch;
}

bool Inbound::run_inherited(size_t socket) {
  const std::span<net::Received> messages = slots_->receive(shared_.inherited[socket].fd.get(), 0, kIkeBatch);
  for (const net::Received& message : messages)
    take_ike({message.data, message.length}, {message.local, shared_.ike_port}, message.from);
  return messages.size() == kIkeBatch;
}

bool Inbound::run_too_big(size_t outer) {
  const OuterAddress& address = *shared_.outers[outer];
  const std::span<net::Received> messages = slots_->receive(address.too_big.get(), 0, kIkeBatch);
  for (const net::Received& message : messages) {
    const auto claim = net::read_too_big({message.data, message.length}, address.address, shared_.nat_port);
    if (claim) reporter_.path_mtu_claimed(claim->remote, claim->mtu);
  }
  return messages.size() == kIkeBatch;
}

bool Inbound::run_strays(const Snapshot& snapshot) {
  size_t taken = 0;
  while (taken < net::ReceiveSlots::kSlots) {
    HandoffRing::Packet* packet = strays_.peek(taken);
    if (packet == nullptr) break;
    take_esp(snapshot, {packet->data, packet->length}, packet->from, packet->traffic_class, packet->udp, true);
    taken++;
  }
  if (taken == 0) return false;
  open_run(snapshot);
  flush();
  strays_.release(taken);
  return taken == net::ReceiveSlots::kSlots;
}

void Inbound::take_message(const Snapshot& snapshot, const net::Received& message, const net::Endpoint& local) {
  if (message.truncated || message.length == 0) return counters_.drop(Drop::truncated);
  for (uint32_t at = 0; at < message.length; at += message.segment) {
    const uint32_t length = std::min(message.segment, message.length - at);
    take_datagram(snapshot, {message.data + at, length}, message, local);
  }
  if (message.length >= kTrainBytes) open_run(snapshot);
}

void Inbound::take_datagram(const Snapshot& snapshot, std::span<uint8_t> datagram, const net::Received& message,
                            const net::Endpoint& local) {
  if (datagram.size() < kMarkerBytes) {
    counters_.drop(datagram.size() == 1 && datagram[0] == kKeepalive ? Drop::keepalive : Drop::truncated);
    return;
  }
  if (load_be32(datagram.data()) == 0) return take_ike(datagram.subspan(kMarkerBytes), local, message.from);
  take_esp(snapshot, datagram, message.from, message.traffic_class, true, false);
}

void Inbound::take_ike(std::span<const uint8_t> datagram, const net::Endpoint& local, const net::SocketAddress& from) {
  if (datagram.size() < kIkeHeaderBytes) {
    counters_.drop(datagram.size() == 1 && datagram[0] == kKeepalive ? Drop::keepalive : Drop::bad_ike);
    return;
  }
  reporter_.ike(local, from.endpoint(), datagram);
}

void Inbound::take_esp(const Snapshot& snapshot, std::span<uint8_t> esp, const net::SocketAddress& from,
                       uint8_t traffic_class, bool udp, bool is_stray) {
  counters_.add(Count::esp_packets_in, is_stray ? 0 : 1);
  counters_.add(Count::esp_bytes_in, is_stray ? 0 : esp.size());
  if (esp.size() < 4) return counters_.drop(Drop::truncated);
  const uint32_t spi = load_be32(esp.data());
  if (path_ == nullptr || path_->spi != spi || item_count_ == kMaxItems || !(from_ == from)) {
    open_run(snapshot);
    const InboundPath* path = snapshot.inbound.find(spi);
    if (path == nullptr) return counters_.drop(Drop::unknown_spi);
    if (path->worker != worker_) {
      const Drop drop = shared_.worker[path->worker]->strays.push(esp, from, traffic_class, udp);
      if (drop != Drop::none) return counters_.drop(drop);
      counters_.add(Count::handed_over, 1);
      return shared_.wake(path->worker);
    }
    path_ = path;
    from_ = from;
    moved_ = udp && path->udp && !(from == path->remote);
  }
  esp::DecapItem& item = items_[item_count_];
  item.esp = esp.data();
  item.esp_length = static_cast<uint32_t>(esp.size());
  classes_[item_count_++] = traffic_class;
}

// Opens what was gathered and delivers it.
void Inbound::open_run(const Snapshot& snapshot) {
  if (item_count_ == 0) return;
  esp::InboundSa& sa = *path_->sa;
  const uint64_t highest = moved_ ? sa.totals().sequence : 0;
  const std::span<esp::DecapItem> items = std::span(items_).first(item_count_);
  esp::decap_run(sa, items);
  several_ = several_ || (owner_ != nullptr && owner_ != &sa);
  owner_ = &sa;
  bool authentic = false;
  for (size_t i = 0; i < items.size(); i++) {
    esp::DecapItem& item = items[i];
    if (item.drop == Drop::none) {
      authentic = true;
      deliver(snapshot, item, classes_[i]);
    } else {
      counters_.drop(item.drop);
    }
  }
  if (authentic) {
    if (!sa.touched()) [[unlikely]]
      reporter_.sa_in_use(*path_);
    sa.touch(reporter_.now_ms());
  }
  // RFC 7296 §2.23: a peer behind a NAT may move; only a packet that is authentic and newer than all others says so.
  if (moved_ && authentic && sa.totals().sequence > highest) reporter_.peer_moved(*path_, from_);
  if (sa.limits_crossed()) [[unlikely]]
    reporter_.limits(Direction::inbound, sa.spi(), path_->remote, sa.take_crossed_limits());
  path_ = nullptr;
  item_count_ = 0;
}

void Inbound::deliver(const Snapshot& snapshot, esp::DecapItem& item, uint8_t traffic_class) {
  uint8_t* packet = item.inner;
  if (const Drop drop = net::decapsulate_ecn(traffic_class, packet); drop != Drop::none)
    return drop_accepted(*path_->sa, drop);
  if (item.follow_fragment) [[unlikely]]
    return follow_fragment(snapshot, {packet, item.inner_length});
  if (is_tcp_syn(packet, item.inner_length)) [[unlikely]] {
    const bool ipv4 = item.next_header == kProtocolIpv4;
    const size_t offset = ipv4 ? static_cast<size_t>(packet[0] & 0x0f) * 4 : kIpv6HeaderBytes;
    if (net::clamp_mss(packet + offset, item.inner_length - offset, ipv4 ? path_->mss_ipv4 : path_->mss_ipv6))
      counters_.add(Count::mss_clamped, 1);
  }
  if (!snapshot.probes.empty() && is_probe_reply(snapshot, {packet, item.inner_length})) return;
  coalescer_.push(packet, item.inner_length);
}

bool Inbound::is_probe_reply(const Snapshot& snapshot, std::span<const uint8_t> packet) {
  IpPacket ip;
  net::EchoReply reply;
  if (parse_ip(packet, ip) != Drop::none || !net::read_echo_reply(packet, ip, reply)) return false;
  for (const ProbeKey& key : snapshot.probes) {
    if (key.id != reply.id || key.source != ip.destination || key.destination != ip.source) continue;
    if (key.connection != path_->sa->connection()) continue;
    reporter_.probe_reply(key, reply.sequence);
    counters_.add(Count::probe_replies, 1);
    return true;
  }
  return false;
}

void Inbound::flush() {
  coalescer_.flush();
  owner_ = nullptr;
  several_ = false;
}

void Inbound::write(const net::VnetHeader& header, std::span<iovec> pieces, uint32_t packets) {
  if (const Drop drop = tun_.write(header, pieces); drop != Drop::none) [[unlikely]] {
    if (owner_ != nullptr && !several_) owner_->note_drop(drop, packets);
    return counters_.drop(drop, packets);
  }
  uint64_t bytes = 0;
  for (const iovec& piece : pieces.subspan(1)) bytes += piece.iov_len;
  counters_.add(Count::tun_writes, 1);
  counters_.add(Count::tun_packets_out, packets);
  counters_.add(Count::tun_bytes_out, bytes);
}

}  // namespace culvert::engine
