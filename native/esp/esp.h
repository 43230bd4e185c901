// Thread: see each function. RFC 4303 transforms on bytes: no I/O, no locks, no allocation.
//
// CONTRACT (between esp, which implements it, and engine, which calls it). Items of one call belong to one SA;
// bookkeeping (sequence reservation, counters, limits) happens once per run.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/drop.h"

namespace culvert::esp {

class OutboundSa;  // shared by all workers; sequence numbers are reserved with one atomic add per run
class InboundSa;   // owned by one worker: replay window and totals are plain fields

// What an outbound packet needs in front of and behind the inner packet, whatever the algorithm.
inline constexpr size_t kMaxHeadroom = 8 + 16;       // SPI, sequence, IV
inline constexpr size_t kMaxTailroom = 16 + 2 + 32;  // padding, pad length and next header, ICV

struct EncapItem {
  uint8_t* inner;         // in: first byte of the inner packet; kMaxHeadroom before and kMaxTailroom after are writable
  uint32_t inner_length;  // in
  uint8_t next_header;    // in: 4, 41 or 59
  Drop drop;              // out: Drop::none when sealed
  uint8_t* esp;           // out: first byte of the ESP header (inner - header - IV)
  uint32_t esp_length;    // out: header to ICV
};

// Seals every item in place, in order, and writes nothing outside the resulting datagrams: they may lie back to back,
// as UDP segmentation offload wants them. When numbers or a limit run out, items from there on get the reason and the
// rest of the run is untouched. Thread: any worker, concurrently for one SA.
void encap_run(OutboundSa& sa, std::span<EncapItem> items);

struct DecapItem {
  uint8_t* esp;                  // in: first byte of the ESP header
  uint32_t esp_length;           // in: bytes in the datagram from there on; nothing inside is trusted
  Drop drop;                     // out
  uint8_t next_header;           // out: 4 or 41 (59 is reported as Drop::dummy)
  uint8_t* inner;                // out: points into the same buffer
  uint32_t inner_length;         // out: excluding padding; TFC padding behind the IP total length is cut off
  bool follow_fragment = false;  // out: a fragment, to be judged with what its packet's first one says (RFC 4301 §7.3)
};

// Opens every item in place: replay pre-check, ICV, decrypt, padding, inner header lengths, replay window update,
// selectors. Thread: the worker that owns the SA.
void decap_run(InboundSa& sa, std::span<DecapItem> items);

}  // namespace culvert::esp
