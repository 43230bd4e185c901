// Thread: the main thread, which is the control thread of both data planes.
//
// One round: two sites, the relay between them, traffic, rekeys; then everything comes to rest and the books are
// closed: what went in on one side is what came out on the other and what was dropped, by reasons that fit.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "soak/relay.h"

namespace culvert::soak {

struct RoundOptions {
  uint64_t seed = 1;
  double seconds = 4;
  unsigned workers[2] = {1, 1};
  bool tcp = false;     // TCP as well; the hosts' own books are closed only without
  bool rekeys = true;   // every SA is replaced again and again
  bool limits = false;  // SAs wear out; for a path that loses nothing
  Weather weather;
};

struct RoundReport {
  std::string text;                   // one line of JSON
  std::vector<std::string> findings;  // nothing: all is well
  uint64_t delivered = 0;             // inner packets, both directions
  uint64_t inner_bytes = 0;
};

RoundReport run_round(const RoundOptions& options);

}  // namespace culvert::soak
