// Thread: control. The indexes of connections with many outbound SAs: made anew only for a connection whose SAs
// changed.
#pragma once
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/snapshot.h"
#include "route/pair_index.h"

namespace culvert::engine {

class PathIndexes {
 public:
  using Dropped = std::vector<std::unique_ptr<const route::PairIndex>>;

  // One pass over all connections: `begin`, `of` for each, `end`.
  void begin() { pass_++; }
  /** The index of a connection's paths, which stays until it is dropped; nullptr when there are too few of them. */
  const route::PairIndex* of(uint32_t connection, std::span<const OutboundPath> paths);
  /** Drops the indexes of connections that are gone. */
  void end();
  /** What no snapshot that is made from now on refers to; those that were made before may. */
  Dropped take_dropped() { return std::exchange(dropped_, {}); }

 private:
  struct Indexed {
    std::vector<const esp::OutboundSa*> sas;
    std::unique_ptr<const route::PairIndex> index;
    uint64_t pass = 0;
  };

  std::unordered_map<uint32_t, Indexed> indexed_;  // by connection
  Dropped dropped_;
  uint64_t pass_ = 0;
};

}  // namespace culvert::engine
