// Thread: one for each end. A TCP connection through the tunnel, full of known bytes in both directions.
#pragma once
#include <atomic>
#include <memory>

#include "base/counter.h"
#include "base/result.h"
#include "net/fd.h"
#include "soak/site.h"

namespace culvert::soak {

class TcpStream {
 public:
  /** A listener behind `to`, and a connection to it from behind `from` that is still being made. */
  static Result<std::unique_ptr<TcpStream>> open(const Site& from, const Site& to, unsigned connection, Family family);

  /** Both ends' work, until `stop`; then the connection is reset. */
  void run_caller(const std::atomic<bool>& stop);
  void run_listener(const std::atomic<bool>& stop);

  /** Bytes that arrived at either end, and those that nobody sent. */
  uint64_t bytes() const { return arrived_[0].read() + arrived_[1].read(); }
  uint64_t wrong() const { return wrong_[0].read() + wrong_[1].read(); }

 private:
  TcpStream() = default;
  void pump(int fd, unsigned end, const std::atomic<bool>& stop);

  net::Fd listener_;
  net::Fd caller_;
  Counter arrived_[2];
  Counter wrong_[2];
};

}  // namespace culvert::soak
