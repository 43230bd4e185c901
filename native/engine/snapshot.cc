#include "engine/snapshot.h"

#include <bit>

namespace culvert::engine {

InboundTable::InboundTable(std::span<const InboundPath> paths)
    : slots_(std::bit_ceil(paths.size() * 2 + 2)), mask_(slots_.size() - 1) {
  for (const InboundPath& path : paths) {
    size_t at = hash(path.spi);
    while (slots_[at & mask_].sa != nullptr) at++;
    slots_[at & mask_] = path;
  }
}

}  // namespace culvert::engine
