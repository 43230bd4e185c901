// Thread: control, when everything has come to rest. One direction's books: what went in on one side is what came out
// on the other and what was dropped, by reasons that fit what the path did.
#pragma once
#include <string>
#include <vector>

#include "engine/engine.h"
#include "soak/relay.h"
#include "soak/round.h"
#include "soak/site.h"
#include "soak/udp_flows.h"

namespace culvert::soak {

/** A data plane's counters and drops, of all workers. */
struct Numbers {
  std::vector<uint64_t> row = std::vector<uint64_t>(engine::Engine::counter_row());
  uint64_t operator[](engine::Count count) const { return row[static_cast<size_t>(count)]; }
  uint64_t operator[](Drop drop) const { return row[engine::kCounterCount + static_cast<size_t>(drop)]; }
};

Numbers numbers_of(const engine::Engine& engine);

struct Books {
  const RoundOptions& options;
  unsigned direction;
  Numbers out;  // of the sending side
  Numbers in;   // of the receiving side
  const RelayCounts& relay;
  KernelDrops near;
  KernelDrops far;
  uint64_t sent;  // by the hosts, over UDP
  const Received& received;

  /** What does not add up. */
  std::vector<std::string> findings() const;
  /** Every number that is not 0, as JSON. */
  std::string describe() const;
};

}  // namespace culvert::soak
