#include "engine/path_indexes.h"

#include <algorithm>

namespace culvert::engine {
namespace {

std::vector<route::AddressRange> ranges_of(std::span<const TrafficSelector> selectors) {
  std::vector<route::AddressRange> ranges;
  for (const TrafficSelector& selector : selectors) ranges.push_back({selector.start_address, selector.end_address});
  return ranges;
}

std::unique_ptr<const route::PairIndex> build(std::span<const OutboundPath> paths) {
  std::vector<std::vector<route::AddressRange>> ends;
  for (const OutboundPath& path : paths) {
    ends.push_back(ranges_of(path.sa->selectors().local()));
    ends.push_back(ranges_of(path.sa->selectors().remote()));
  }
  std::vector<route::PairIndex::Entry> entries;
  for (size_t i = 0; i < paths.size(); i++) entries.push_back({ends[2 * i], ends[2 * i + 1]});
  return std::make_unique<const route::PairIndex>(entries);
}

}  // namespace

const route::PairIndex* PathIndexes::of(uint32_t connection, std::span<const OutboundPath> paths) {
  const auto found = indexed_.find(connection);
  if (found != indexed_.end()) {
    const auto same = [](const OutboundPath& path, const esp::OutboundSa* sa) { return path.sa == sa; };
    // An address in memory names an SA: one that was removed left its connection's list, and so this one, before.
    found->second.pass = pass_;
    if (std::ranges::equal(paths, found->second.sas, same)) return found->second.index.get();
    dropped_.push_back(std::move(found->second.index));
    indexed_.erase(found);
  }
  if (paths.size() < route::PairIndex::kLeastEntries) return nullptr;
  Indexed& made = indexed_[connection];
  for (const OutboundPath& path : paths) made.sas.push_back(path.sa);
  made.index = build(paths);
  made.pass = pass_;
  return made.index.get();
}

void PathIndexes::end() {
  for (auto at = indexed_.begin(); at != indexed_.end();) {
    if (at->second.pass == pass_) {
      at++;
    } else {
      dropped_.push_back(std::move(at->second.index));
      at = indexed_.erase(at);
    }
  }
}

}  // namespace culvert::engine
