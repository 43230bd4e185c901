#include "addon/event_record.h"

#include <algorithm>

namespace culvert::addon {
namespace {

constexpr size_t kFixedBytes = 32;

template <typename Number>
void store_le(uint8_t* to, Number number) {
  for (size_t i = 0; i < sizeof number; i++) to[i] = static_cast<uint8_t>(number >> (8 * i));
}

}  // namespace

void append_record(const engine::Event& event, std::span<const uint8_t> data, std::vector<uint8_t>& records) {
  const size_t local_bytes = event.local.address.bytes();
  const size_t remote_bytes = event.remote.address.bytes();
  const size_t start = records.size();
  records.resize(start + kFixedBytes + local_bytes + remote_bytes + data.size());
  uint8_t* at = &records[start];
  at[0] = static_cast<uint8_t>(event.kind);
  at[1] = event.direction == Direction::inbound ? 0 : 1;
  at[2] = event.protocol;
  at[3] = static_cast<uint8_t>(local_bytes);
  at[4] = static_cast<uint8_t>(remote_bytes);
  store_le(at + 6, event.connection);
  store_le(at + 8, event.id);
  store_le(at + 10, event.sequence);
  store_le(at + 12, event.local.port);
  store_le(at + 14, event.remote.port);
  store_le(at + 16, event.spi);
  store_le(at + 20, event.mtu);
  store_le(at + 24, event.round_trip_us);
  store_le(at + 28, static_cast<uint32_t>(data.size()));
  event.local.address.store(at + kFixedBytes);
  event.remote.address.store(at + kFixedBytes + local_bytes);
  std::copy(data.begin(), data.end(), at + kFixedBytes + local_bytes + remote_bytes);
}

}  // namespace culvert::addon
