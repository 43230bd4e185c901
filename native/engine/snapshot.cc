#include "engine/snapshot.h"

namespace culvert::engine {

void InboundTable::insert(const InboundPath& path) {
  if (2 * (count_ + 1) > slots_.size()) {
    std::vector<InboundPath> before(2 * slots_.size());
    before.swap(slots_);
    mask_ = slots_.size() - 1;
    count_ = 0;
    for (const InboundPath& other : before) {
      if (other.sa != nullptr) insert(other);
    }
  }
  size_t at = hash(path.spi);
  while (slots_[at & mask_].sa != nullptr) at++;
  slots_[at & mask_] = path;
  count_++;
}

void InboundTable::erase(uint32_t spi) {
  size_t hole = hash(spi) & mask_;
  for (; slots_[hole].sa == nullptr || slots_[hole].spi != spi; hole = (hole + 1) & mask_) {
    if (slots_[hole].sa == nullptr) return;
  }
  // Whoever was put behind the hole on its way from an earlier place moves up: a search ends at the first empty slot.
  for (size_t at = (hole + 1) & mask_; slots_[at].sa != nullptr; at = (at + 1) & mask_) {
    const size_t home = hash(slots_[at].spi) & mask_;
    if (((at - home) & mask_) < ((at - hole) & mask_)) continue;
    slots_[hole] = slots_[at];
    hole = at;
  }
  slots_[hole] = InboundPath{};
  count_--;
}

}  // namespace culvert::engine
