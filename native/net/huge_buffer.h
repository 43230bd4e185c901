// Thread: owned by one thread. Packet memory: page-aligned, on huge pages when the kernel has some to give.
#pragma once
#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "net/setup_error.h"

namespace culvert::net {

class HugeBuffer {
 public:
  /** `bytes` is rounded up to whole huge pages; memory that is never touched costs nothing. */
  static Result<HugeBuffer> create(size_t bytes) {
    constexpr size_t kHugePageBytes = 2 << 20;
    const size_t rounded = (bytes + kHugePageBytes - 1) & ~(kHugePageBytes - 1);
    // One huge page more than needed: mmap aligns to small pages only.
    const size_t mapped = rounded + kHugePageBytes;
    void* memory = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return setup_error(errno, "packet buffers");
    HugeBuffer buffer;
    buffer.mapping_ = memory;
    buffer.mapped_ = mapped;
    const uintptr_t start = (reinterpret_cast<uintptr_t>(memory) + kHugePageBytes - 1) & ~(kHugePageBytes - 1);
    buffer.data_ = reinterpret_cast<uint8_t*>(start);
    ::madvise(buffer.data_, rounded, MADV_HUGEPAGE);  // one TLB entry instead of one for each datagram; only a wish
    return buffer;
  }

  HugeBuffer() = default;
  HugeBuffer(HugeBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        mapping_(std::exchange(other.mapping_, nullptr)),
        mapped_(std::exchange(other.mapped_, 0)) {}
  HugeBuffer& operator=(HugeBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(mapping_, other.mapping_);
    std::swap(mapped_, other.mapped_);
    return *this;
  }
  HugeBuffer(const HugeBuffer&) = delete;
  HugeBuffer& operator=(const HugeBuffer&) = delete;
  ~HugeBuffer() {
    if (mapping_ != nullptr) ::munmap(mapping_, mapped_);
  }

  uint8_t* data() const { return data_; }

 private:
  uint8_t* data_ = nullptr;
  void* mapping_ = nullptr;
  size_t mapped_ = 0;
};

}  // namespace culvert::net
