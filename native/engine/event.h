// Thread: any. What a worker tells the control plane: one struct for all kinds, each kind uses the fields it needs.
#pragma once
#include <cstdint>
#include <string_view>

#include "base/ip_address.h"
#include "base/traffic_selector.h"
#include "net/socket_address.h"

namespace culvert::engine {

enum class EventKind : uint8_t {
#define EVENT(name, text) name,
#include "tables/events.def"
#undef EVENT
};

inline constexpr std::string_view kEventNames[] = {
#define EVENT(name, text) #name,
#include "tables/events.def"
#undef EVENT
};

struct Event {
  EventKind kind = EventKind::ike;
  Direction direction = Direction::inbound;  // lifetimes
  uint8_t protocol = 0;                      // acquire
  uint16_t connection = 0;                   // acquire, probe_reply
  uint16_t id = 0;                           // probe_reply
  uint16_t sequence = 0;                     // probe_reply
  uint32_t spi = 0;                          // lifetimes, sa_in_use, peer_moved
  uint32_t mtu = 0;                          // path_mtu
  uint32_t round_trip_us = 0;                // probe_reply
  uint64_t stamp_ns = 0;                     // when it happened: the streams of the workers are merged by it
  net::Endpoint local;                       // ike; acquire: the inner source
  net::Endpoint remote;                      // the peer; acquire: the inner destination
};

}  // namespace culvert::engine
