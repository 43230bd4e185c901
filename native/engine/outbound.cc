#include "engine/outbound.h"

#include <algorithm>
#include <cstring>

#include "net/icmp.h"
#include "net/ipv4_fragments.h"
#include "net/tcp.h"

namespace culvert::engine {
namespace {

// Runs begin on cache lines of their own.
constexpr uint32_t kRunAlign = 64;

// What every link carries, and so what is never refused: RFC 791 §3.2, RFC 8200 §5. A tunnel that is narrower sends
// such packets in outer fragments.
constexpr uint32_t kLeastIpv4Mtu = 68;
constexpr uint32_t kLeastIpv6Mtu = 1280;

// RFC 4007: what belongs to one link and asks for no route: the kernel's own group reports and solicitations.
bool is_of_the_link(const IpPacket& ip) {
  const IpAddress& to = ip.destination;
  if (to.family == Family::ipv4) return (to.low >> 8) == 0xe00000;
  const bool multicast = (to.high >> 56) == 0xff && ((to.high >> 48) & 0xf) <= 2;
  return multicast || (to.high >> 54) == (0xfe80 >> 6) || (ip.source.high >> 54) == (0xfe80 >> 6);
}

uint32_t align_up(uint32_t n) { return (n + kRunAlign - 1) & ~(kRunAlign - 1); }

}  // namespace

Outbound::Outbound(Shared& shared, unsigned worker, Reporter& reporter, net::HugeBuffer memory)
    : shared_(shared),
      counters_(shared.worker[worker]->counters),
      reporter_(reporter),
      tun_(shared.tun.queues[worker]),
      worker_(worker),
      fragments_(shared.fragment_seed),
      errors_(shared.fragment_seed),
      memory_(std::move(memory)),
      tun_buffer_(memory_.data() + kTunHeadroom),
      arena_(tun_buffer_ + kTunBytes),
      scratch_(arena_ + kArenaBytes + esp::kMaxTailroom) {
  static_assert(kTunHeadroom >= net::TunQueue::kHeadroomBytes);
}

bool Outbound::run(const Snapshot& snapshot, const Budget& budget) {
  uint64_t reads = 0;
  uint64_t bytes = 0;
  bool more = true;
  while (reads < budget.reads && bytes < budget.bytes) {
    net::VnetHeader header;
    const ssize_t n = tun_.read(header, {tun_buffer_, kTunBytes});
    if (n <= 0) {
      more = false;
      break;
    }
    reads++;
    bytes += static_cast<uint64_t>(n);
    take(header, {tun_buffer_, static_cast<size_t>(n)}, snapshot);
  }
  flush();
  counters_.add(Count::tun_reads, reads);
  counters_.add(Count::tun_bytes_in, bytes);
  return more;
}

void Outbound::take(const net::VnetHeader& header, std::span<uint8_t> packet, const Snapshot& snapshot) {
  IpPacket ip;
  if (const Drop drop = parse_ip(packet, ip); drop != Drop::none) {
    counters_.add(Count::tun_packets_in, 1);
    return counters_.drop(drop == Drop::truncated ? Drop::malformed : drop);
  }
  net::Segmenter segmenter;
  if (const Drop drop = segmenter.prepare(header, packet, ip); drop != Drop::none) {
    counters_.add(Count::tun_packets_in, 1);
    return counters_.drop(drop);
  }
  counters_.add(Count::tun_packets_in, segmenter.count());
  if (ip.is_fragment) [[unlikely]] {
    if (take_fragment(packet, ip, snapshot)) return;
  }
  send_by(find_path(ip, snapshot), segmenter, ip, snapshot);
}

void Outbound::send_by(const OutboundPath* path, const net::Segmenter& segmenter, const IpPacket& ip,
                       const Snapshot& snapshot) {
  if (path == nullptr) {
    const uint32_t connection = snapshot.routes->lookup(ip.source, ip.destination);
    if (connection == route::RouteTable::kNoConnection)
      return counters_.drop(is_of_the_link(ip) ? Drop::link_scope : Drop::no_route, segmenter.count());
    reporter_.acquire(connection, ip);
    return counters_.drop(Drop::no_sa, segmenter.count());
  }
  if (segmenter.segment_length() > path->inner_mtu) [[unlikely]]
    return send_oversized(segmenter, *path, ip);
  append(segmenter, *path, ip, emission_of(*path, ip));
}

// RFC 4301 §8.1. IPv6 inside counts as DF, which its packets all have in effect.
Outbound::Emission Outbound::emission_of(const OutboundPath& path, const IpPacket& ip) {
  const bool df = path.df == DfPolicy::set || (path.df == DfPolicy::copy && ip.dont_fragment);
  return df ? Emission::unfragmented : Emission::fragmentable;
}

const OutboundPath* Outbound::find_path(const IpPacket& ip, const Snapshot& snapshot) {
  const uint32_t ports = static_cast<uint32_t>(ip.source_port) << 16 | ip.destination_port;
  if (cache_.generation == snapshot.generation && cache_.destination == ip.destination && cache_.source == ip.source &&
      cache_.ports == ports && cache_.protocol == ip.protocol && ip.has_ports)
    return cache_.path;
  const uint32_t connection = snapshot.routes->lookup(ip.source, ip.destination);
  const OutboundPath* const path = snapshot.first_path(connection, ip, [&ip](const OutboundPath& one) {
    const SelectorSet& selectors = one.sa->selectors();
    return selectors.matches_all(ip.source.family) || selectors.matches(ip, Direction::outbound);
  });
  if (path != nullptr && ip.has_ports)
    cache_ = {snapshot.generation, ip.source, ip.destination, ports, ip.protocol, path};
  return path;
}

// RFC 4301 §8.2.1, for what does not fit the path: refused if its sender may not have it fragmented; fragmented before
// encryption where the tunnel must not be fragmented, after it elsewhere.
void Outbound::send_oversized(const net::Segmenter& segmenter, const OutboundPath& path, const IpPacket& ip) {
  const uint32_t mtu = std::max(path.inner_mtu, ip.source.family == Family::ipv4 ? kLeastIpv4Mtu : kLeastIpv6Mtu);
  if (segmenter.segment_length() > mtu) {
    if (ip.dont_fragment) return refuse_too_big(segmenter, path, mtu);
    if (path.df == DfPolicy::set) return fragment_inside(segmenter, path, mtu);
  }
  append(segmenter, path, ip, path.remote.is_ipv4() ? Emission::fragmentable : Emission::in_fragments);
}

void Outbound::fragment_inside(const net::Segmenter& segmenter, const OutboundPath& path, uint32_t mtu) {
  // RFC 4301 §7: what a peer that did not agree would drop is not sent.
  if (!path.sa->carries_later_fragments()) {
    path.sa->note_drop(Drop::fragment_refused, segmenter.count());
    return counters_.drop(Drop::fragment_refused, segmenter.count());
  }
  for (uint32_t i = 0; i < segmenter.count(); i++) {
    segmenter.emit(i, 1, scratch_, kScratchBytes);
    const uint32_t length = i + 1 == segmenter.count() ? segmenter.last_length() : segmenter.segment_length();
    net::Ipv4Fragments fragments({scratch_, length}, mtu);
    for (auto fragment = fragments.next(); !fragment.empty(); fragment = fragments.next()) {
      IpPacket ip;
      net::Segmenter whole;
      Drop drop = parse_ip(fragment, ip);
      if (drop == Drop::none) drop = whole.prepare(net::VnetHeader{}, fragment, ip);
      if (drop != Drop::none) return counters_.drop(drop);
      append(whole, path, ip, Emission::unfragmented);
    }
  }
}

void Outbound::refuse_too_big(const net::Segmenter& segmenter, const OutboundPath& path, uint32_t mtu) {
  counters_.drop(Drop::too_big, segmenter.count());
  path.sa->note_drop(Drop::too_big, segmenter.count());
  // What is quoted is what a wire would have carried: one packet, with its checksums. The arena is room for it.
  flush();
  segmenter.emit(0, 1, arena_, segmenter.segment_length());
  const std::span<const uint8_t> packet(arena_, segmenter.segment_length());
  IpPacket ip;
  if (parse_ip(packet, ip) != Drop::none) return;
  uint8_t error[net::kMaxIcmpBytes];
  const size_t length = net::build_too_big(packet, ip, mtu, error);
  if (length == 0 || !errors_.take(ip.source, reporter_.now_ms())) return;
  iovec pieces[2] = {{}, {error, length}};
  const Drop drop = tun_.write(net::VnetHeader{}, pieces);
  if (drop != Drop::none) return counters_.drop(drop);
  counters_.add(Count::too_big_sent, 1);
}

void Outbound::append(const net::Segmenter& segmenter, const OutboundPath& path, const IpPacket& ip,
                      Emission emission) {
  const esp::EspGeometry& geometry = path.sa->geometry();
  const uint8_t next_header = ip.source.family == Family::ipv4 ? kProtocolIpv4 : kProtocolIpv6;
  const uint32_t total = segmenter.count();
  const uint32_t whole_esp = static_cast<uint32_t>(geometry.sealed_size(segmenter.segment_length()));
  const uint32_t last_esp = static_cast<uint32_t>(geometry.sealed_size(segmenter.last_length()));
  // RFC 6040 §4.1 normal mode and RFC 4301 §5.1.2: DSCP and ECN are copied to the outer header.
  const uint8_t traffic_class = ip.traffic_class;

  for (uint32_t done = 0; done < total;) {
    const bool only_last = done + 1 == total;
    const uint32_t length = only_last ? segmenter.last_length() : segmenter.segment_length();
    Run& run = run_for(path, traffic_class, emission, only_last ? last_esp : whole_esp, only_last);
    const uint32_t room =
        std::min({(net::Sender::kMaxRunBytes - run.length) / run.stride, net::Sender::kMaxRunDatagrams - run.count,
                  static_cast<uint32_t>(kMaxItems) - item_count_,
                  (static_cast<uint32_t>(kArenaBytes) - arena_used_) / run.stride});
    // A datagram shorter than the run's others ends it; only the last of a superpacket can be.
    uint32_t n = only_last ? 1 : std::min(total - done, room);
    if (!only_last && done + n == total && last_esp != whole_esp && n > 1) n--;

    uint8_t* const place = arena_ + run.offset + run.length + geometry.header_bytes;
    segmenter.emit(done, n, place, run.stride);
    if (done == 0 && total == 1 && ip.protocol == kProtocolTcp) clamp(ip, path, place);
    for (uint32_t i = 0; i < n; i++) {
      esp::EncapItem& item = items_[item_count_++];
      item.inner = place + i * run.stride;
      item.inner_length = done + i + 1 == total ? segmenter.last_length() : length;
      item.next_header = next_header;
    }
    const uint32_t esp_bytes = only_last ? last_esp : n * whole_esp;
    run.closed = run.closed || (only_last && last_esp < run.stride);
    run.length += esp_bytes;
    run.count += n;
    arena_used_ += esp_bytes;
    done += n;
    // A full run leaves at once: the next one is cut while this one is on its way.
    if (run.count == net::Sender::kMaxRunDatagrams || run.length + run.stride > net::Sender::kMaxRunBytes) flush();
  }
}

// The run that the next datagram, of `esp_length` bytes, goes to: it has room for at least this one. `may_end`: nothing
// need follow it there, so it may be shorter than the others.
Outbound::Run& Outbound::run_for(const OutboundPath& path, uint8_t traffic_class, Emission emission,
                                 uint32_t esp_length, bool may_end) {
  if (item_count_ == kMaxItems || arena_used_ + kRunAlign + esp_length > kArenaBytes) flush();
  if (run_count_ != 0) {
    Run& last = runs_[run_count_ - 1];
    const bool fits = esp_length == last.stride || (may_end && esp_length < last.stride);
    if (fits && !last.closed && last.path == &path && last.traffic_class == traffic_class &&
        last.emission == emission && last.count < net::Sender::kMaxRunDatagrams &&
        last.length + esp_length <= net::Sender::kMaxRunBytes)
      return last;
  }
  if (run_count_ == kMaxRuns) flush();
  arena_used_ = align_up(arena_used_);
  Run& run = runs_[run_count_++];
  run = {.path = &path,
         .offset = arena_used_,
         .stride = esp_length,
         .length = 0,
         .first_item = item_count_,
         .count = 0,
         .traffic_class = traffic_class,
         .emission = emission,
         .closed = false};
  return run;
}

void Outbound::clamp(const IpPacket& ip, const OutboundPath& path, uint8_t* packet) {
  if (ip.is_fragment) return;
  const uint16_t mss = ip.source.family == Family::ipv4 ? path.mss_ipv4 : path.mss_ipv6;
  if (net::clamp_mss(packet + ip.transport_offset, ip.total_length - ip.transport_offset, mss))
    counters_.add(Count::mss_clamped, 1);
}

void Outbound::flush() {
  for (size_t first = 0; first < run_count_;) {
    size_t last = first + 1;
    while (last < run_count_ && runs_[last].path->sa == runs_[first].path->sa) last++;
    seal(first, last);
    first = last;
  }
  send();
  run_count_ = 0;
  item_count_ = 0;
  arena_used_ = 0;
}

// Runs `first` to `last - 1` belong to one SA; their items lie together.
void Outbound::seal(size_t first, size_t last) {
  const OutboundPath& path = *runs_[first].path;
  esp::OutboundSa& sa = *path.sa;
  const Run& end = runs_[last - 1];
  const uint32_t first_item = runs_[first].first_item;
  esp::encap_run(sa, std::span(items_).subspan(first_item, end.first_item + end.count - first_item));
  sa.touch(reporter_.now_ms());
  if (sa.limits_crossed()) [[unlikely]]
    reporter_.limits(Direction::outbound, sa.spi(), path.remote, sa.take_crossed_limits());
}

// Hands sealed runs to the sockets, in order; consecutive runs of one socket in one call.
void Outbound::send() {
  size_t count = 0;
  const Run* before = nullptr;
  for (size_t r = 0; r < run_count_; r++) {
    const Run& run = runs_[r];
    if (before != nullptr && (!may_share_call(*before, run) || count + run.count > outgoing_.size())) {
      send_on(*before->path, before->emission, std::span(outgoing_).first(count));
      count = 0;
    }
    before = &run;
    // An SA that wears out refuses the rest of a run; what was sealed still lies back to back.
    for (uint32_t i = 0; i < run.count;) {
      const esp::EncapItem& item = items_[run.first_item + i];
      if (item.drop != Drop::none) {
        counters_.drop(item.drop);
        i++;
        continue;
      }
      uint32_t n = 1;
      uint32_t length = item.esp_length;
      while (i + n < run.count && items_[run.first_item + i + n].drop == Drop::none) {
        length += items_[run.first_item + i + n].esp_length;
        n++;
      }
      senders_[count] = run.path->sa;
      outgoing_[count++] = {.data = item.esp,
                            .length = length,
                            .segment = n == 1 ? length : run.stride,
                            .to = &run.path->remote,
                            .traffic_class = run.traffic_class,
                            .failed = 0};
      counters_.add(Count::esp_bytes_out, length);
      i += n;
    }
  }
  if (count != 0) send_on(*before->path, before->emission, std::span(outgoing_).first(count));
}

bool Outbound::may_share_call(const Run& a, const Run& b) const {
  return a.path->outer == b.path->outer && a.path->udp == b.path->udp && a.emission == b.emission &&
         (a.emission != Emission::in_fragments || a.path == b.path);
}

void Outbound::send_on(const OutboundPath& path, Emission emission, std::span<net::Outgoing> batch) {
  OuterAddress& outer = *shared_.outers[path.outer];
  net::SendReport report;
  if (emission == Emission::in_fragments) [[unlikely]] {
    const net::Endpoint local{outer.address, shared_.nat_port};
    report = packet_sender_.send_fragments(outer.packets[worker_].get(),
                                           {.local = local, .udp = path.udp, .path_mtu = path.path_mtu}, batch);
  } else if (path.udp) {
    const net::UdpSocket& socket = emission == Emission::unfragmented ? outer.nat_df[worker_] : outer.nat[worker_];
    report = sender_.send(socket.fd.get(), batch, outer.sends_runs.load(std::memory_order_relaxed));
  } else if (emission == Emission::unfragmented) {
    report = packet_sender_.send_unfragmented(outer.packets[worker_].get(), outer.address, batch);
  } else {
    report = sender_.send(outer.esp[worker_].get(), batch, false);
  }
  counters_.add(Count::esp_sends, batch.size());
  counters_.add(Count::esp_packets_out, report.sent);
  if (report.failed != 0) [[unlikely]] {
    counters_.drop(Drop::send_failed, report.failed);
    for (size_t i = 0; i < batch.size(); i++) {
      if (batch[i].failed != 0) senders_[i]->note_drop(Drop::send_failed, batch[i].failed);
    }
  }
  if (report.runs_refused) outer.sends_runs.store(false, std::memory_order_relaxed);
  if (report.too_big != nullptr) reporter_.path_mtu(outer.address, *report.too_big);
}

}  // namespace culvert::engine
