// The table of inbound SPIs against a map, through every kind of collision that a small table makes.
#include <unordered_map>

#include "engine/snapshot.h"
#include "test/check.h"

namespace culvert::test {
namespace {

using engine::InboundPath;
using engine::InboundTable;

TEST("inbound table: agrees with a map through 200,000 insertions and removals") {
  InboundTable table;
  std::unordered_map<uint32_t, uint16_t> model;
  Random random(7);
  // Never read through: only its being there counts.
  auto* sa = reinterpret_cast<esp::InboundSa*>(alignof(esp::InboundSa));
  for (uint32_t round = 0; round < 200'000; round++) {
    // Grows to some hundreds and shrinks again to a few.
    const bool growing = (round / 4'000) % 2 == 0;
    const auto spi = static_cast<uint32_t>(256 + random.below(600));
    const bool known = model.contains(spi);
    if (!known && (growing || random.below(4) == 0)) {
      const auto worker = static_cast<uint16_t>(round);
      InboundPath path{};
      path.spi = spi;
      path.worker = worker;
      path.sa = sa;
      table.insert(path);
      model.emplace(spi, worker);
    } else if (!growing || random.below(4) == 0) {
      table.erase(spi);
      model.erase(spi);
    }
    const auto asked = static_cast<uint32_t>(256 + random.below(600));
    const InboundPath* found = table.find(asked);
    const auto expected = model.find(asked);
    REQUIRE((found != nullptr) == (expected != model.end()));
    if (found != nullptr) REQUIRE(found->worker == expected->second);
  }
  for (const auto& [spi, worker] : model) {
    REQUIRE(table.find(spi) != nullptr);
    CHECK(table.find(spi)->worker == worker);
  }
}

}  // namespace
}  // namespace culvert::test
