// Thread: control (JavaScript's). Events as JavaScript gets them: records of bytes, one after the other, decoded by
// src/dataplane/events.ts. One array of bytes per batch costs a fraction of an object with its properties per event.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "engine/event.h"

namespace culvert::addon {

/**
 * Appends one record; multi-byte numbers in little-endian order:
 *
 *     0 kind (the row of native/tables/events.def)   1 direction (0 inbound, 1 outbound)   2 protocol
 *     3 bytes of the local address   4 bytes of the remote address, 4 or 16 each   5 zero
 *     6 connection (16 bits)   8 id (16)   10 sequence (16)   12 local port (16)   14 remote port (16)
 *    16 SPI (32)   20 MTU (32)   24 round trip in µs (32)   28 bytes of data (32)
 *    32 local address, remote address, data
 */
void append_record(const engine::Event& event, std::span<const uint8_t> data, std::vector<uint8_t>& records);

}  // namespace culvert::addon
