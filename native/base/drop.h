// Thread: any. The reasons a packet can die: one list, tables/drops.def, read by code, counters, docs and TypeScript.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace culvert {

enum class [[nodiscard]] Drop : uint8_t{
#define DROP(name, severity, text) name,
#include "tables/drops.def"
#undef DROP
};

inline constexpr std::string_view kDropNames[] = {
#define DROP(name, severity, text) #name,
#include "tables/drops.def"
#undef DROP
};

inline constexpr size_t kDropCount = sizeof(kDropNames) / sizeof(kDropNames[0]);

}  // namespace culvert
