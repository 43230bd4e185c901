// Thread: any. struct virtio_net_hdr as TUN devices with IFF_VNET_HDR speak it (virtio 1.2 §5.1.6).
#pragma once
#include <cstdint>

namespace culvert::net {

/** In front of every packet of the TUN device: what its checksums still need and how it is to be cut. */
struct VnetHeader {
  uint8_t flags = 0;
  uint8_t gso_type = 0;
  uint16_t header_length = 0;    // bytes that the kernel makes linear: IP and transport header
  uint16_t gso_size = 0;         // transport payload of each segment
  uint16_t checksum_start = 0;   // with kNeedsChecksum: offset from the IP header
  uint16_t checksum_offset = 0;  // with kNeedsChecksum: of the field, from checksum_start

  static constexpr uint8_t kNeedsChecksum = 1;
  static constexpr uint8_t kGsoNone = 0;
  static constexpr uint8_t kGsoTcp4 = 1;
  static constexpr uint8_t kGsoTcp6 = 4;
  static constexpr uint8_t kGsoUdp = 5;     // USO; newer than the system headers of Debian 12
  static constexpr uint8_t kGsoEcn = 0x80;  // or-ed to a TCP type: the first segment carries CWR
};
static_assert(sizeof(VnetHeader) == 10);

}  // namespace culvert::net
