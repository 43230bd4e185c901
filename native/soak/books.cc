#include "soak/books.h"

#include <algorithm>

namespace culvert::soak {
namespace {

using engine::Count;

// Which drops belong to which half. `lifetime` could be either: here only outbound SAs have limits.
constexpr Drop kOutbound[] = {
    Drop::link_scope, Drop::no_route,           Drop::no_sa,    Drop::not_ip,      Drop::malformed,
    Drop::too_big,    Drop::sequence_exhausted, Drop::lifetime, Drop::ttl_expired, Drop::send_failed};
// What can become of a packet that the path damaged, repeated, delayed beyond its SA's life, or did nothing to.
constexpr Drop kDamage[] = {
    Drop::truncated,     Drop::unknown_spi, Drop::replayed,  Drop::sequence_zero,       Drop::bad_icv,
    Drop::bad_alignment, Drop::bad_ike,     Drop::keepalive, Drop::wrong_encapsulation, Drop::ecn_not_supported};
// Ours, not the path's.
constexpr Drop kOwn[] = {Drop::handoff_full, Drop::tun_write_failed};
// A packet that gets as far as any of these has passed its integrity check although nobody sealed it so.
constexpr Drop kForged[] = {Drop::bad_padding, Drop::bad_next_header, Drop::dummy, Drop::bad_inner,
                            Drop::selector_mismatch};

uint64_t total(const Numbers& numbers, std::span<const Drop> drops) {
  uint64_t sum = 0;
  for (const Drop drop : drops) sum += numbers[drop];
  return sum;
}

}  // namespace

Numbers numbers_of(const engine::Engine& engine) {
  std::vector<uint64_t> all(engine::Engine::counter_row() * engine.workers());
  engine.read_counters(all);
  Numbers sum;
  for (size_t i = 0; i < all.size(); i++) sum.row[i % engine::Engine::counter_row()] += all[i];
  return sum;
}

std::vector<std::string> Books::findings() const {
  std::vector<std::string> found;
  const auto equal = [&](uint64_t left, uint64_t right, const std::string& what) {
    if (left == right) return;
    found.push_back("direction " + std::to_string(direction) + ": " + what + ": " + std::to_string(left) + " against " +
                    std::to_string(right));
  };
  const auto within = [&](uint64_t value, uint64_t least, uint64_t most, const std::string& what) {
    if (value - least <= most - least && value >= least) return;
    found.push_back("direction " + std::to_string(direction) + ": " + what + ": " + std::to_string(value) +
                    " is not within " + std::to_string(least) + " and " + std::to_string(most));
  };

  // Into the tunnel. Superpackets that a device's queue had no room for count as one there.
  equal(out[Count::tun_packets_in], out[Count::esp_packets_out] + total(out, kOutbound), "packets sealed");
  if (!options.tcp) {
    const uint64_t taken = out[Count::tun_packets_in] - out[Drop::link_scope];
    within(sent - taken, near.tunnel_device, near.tunnel_device * 64,
           "what the hosts sent and the tunnel did not take");
  }
  // Over the path.
  within(out[Count::esp_packets_out] - std::min(relay.taken.read(), out[Count::esp_packets_out]), near.outer_device,
         near.outer_device * 64, "ESP packets that the relay did not get");
  equal(relay.taken.read() + relay.doubled.read(), relay.left.read() + relay.dropped.read() + relay.refused.read(),
        "datagrams in the relay");
  // Out of the path: damaged headers lead packets astray, into the kernel's own drops.
  const uint64_t ike = in[Count::ike_datagrams_in];
  const uint64_t dropped = total(in, kDamage) + total(in, kOwn);
  const uint64_t arrived = in[Count::tun_packets_out] + ike + dropped;
  const uint64_t astray = relay.header_flipped.read() * 2;
  const uint64_t queues = far.outer_sockets;
  within(relay.left.read(), arrived, arrived + astray + queues * 64, "datagrams that left the relay and arrived");
  if (astray == 0 && queues == 0) equal(relay.left.read(), arrived, "datagrams on the far side");
  // Nothing damaged was taken for whole, and nothing was taken twice.
  const uint64_t damaged = relay.flipped.read() + relay.resized.read();
  within(in[Count::tun_packets_out], 1, relay.left.read() - std::min(damaged, relay.left.read()),
         "packets delivered, without those damaged");
  within(total(in, kDamage) + ike, damaged, ~uint64_t{0}, "damage that was found");
  // A flip in the SPI or the number, and another length, have reasons of their own: at least half of the flips do not.
  if (relay.flipped.read() > 200)
    within(in[Drop::bad_icv], relay.flipped.read() / 2, damaged * 2 + relay.header_flipped.read() * 2,
           "ICVs that did not fit");
  equal(total(in, kForged), 0, "packets that passed the integrity check and should not have");
  if (!options.rekeys && relay.header_flipped.read() == 0)
    within(in[Drop::replayed], relay.doubled.read() * 9 / 10, relay.doubled.read() + damaged, "replays refused");
  within(far.bad_checksums, 0, relay.header_flipped.read(), "bad checksums of UDP and TCP");

  equal(received.wrong.read(), 0, "datagrams with bytes that nobody sent");
  equal(received.twice.read(), 0, "datagrams delivered twice");
  if (!options.tcp)
    equal(received.datagrams.read() + far.host_sockets, in[Count::tun_packets_out], "datagrams that the hosts got");
  if (options.limits) equal(sent, received.datagrams.read() + out[Drop::lifetime], "datagrams on a path without loss");
  // What several workers do at once overtakes: a rekey moves a flow to another worker, a train of several SAs is opened
  // by several. Apart from that the order within a flow is kept.
  const bool alone = options.workers[0] == 1 && options.workers[1] == 1;
  if (options.weather.delay == 0 && (alone || (!options.rekeys && !options.weather.joins_spis)))
    equal(received.late.read(), 0, "datagrams overtaken in their flow");
  return found;
}

std::string Books::describe() const {
  std::string text = "{\"sealed\":" + std::to_string(out[Count::esp_packets_out]);
  const auto add = [&](const std::string& name, uint64_t n) {
    if (n != 0) text += ",\"" + name + "\":" + std::to_string(n);
  };
  add("delivered", in[Count::tun_packets_out]);
  add("udp", received.datagrams.read());
  add("late", received.late.read());
  add("handedOver", in[Count::handed_over]);
  add("relayTrains", relay.trains.read());
  add("relayOthers", relay.others.read());
  add("relayDropped", relay.dropped.read());
  add("relayDoubled", relay.doubled.read());
  add("relayFlipped", relay.flipped.read());
  add("relayResized", relay.resized.read());
  add("relayHeaderFlipped", relay.header_flipped.read());
  add("relayDelayed", relay.delayed.read());
  add("relayRefused", relay.refused.read());
  add("kernelOuter", near.outer_device);
  add("kernelTunnel", near.tunnel_device);
  add("kernelOuterSockets", far.outer_sockets);
  add("kernelHostSockets", far.host_sockets);
  for (const auto& drops :
       {std::span<const Drop>(kDamage), std::span<const Drop>(kOwn), std::span<const Drop>(kForged)}) {
    for (const Drop drop : drops) add(std::string(kDropNames[static_cast<size_t>(drop)]), in[drop]);
  }
  for (const Drop drop : kOutbound) add(std::string(kDropNames[static_cast<size_t>(drop)]), out[drop]);
  return text + "}";
}

}  // namespace culvert::soak
