#include "soak/tcp_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "net/setup_error.h"
#include "soak/payload.h"

namespace culvert::soak {
namespace {

constexpr uint16_t kPort = 8000;
constexpr size_t kChunk = 32768;
constexpr int kPollMs = 20;
// The ends send different bytes.
constexpr uint64_t kEndOffset = 12345;

}  // namespace

Result<std::unique_ptr<TcpStream>> TcpStream::open(const Site& from, const Site& to, unsigned connection,
                                                   Family family) {
  std::unique_ptr<TcpStream> stream(new TcpStream());
  const int domain = family == Family::ipv4 ? AF_INET : AF_INET6;
  const net::SocketAddress near({inner_address(from.end(), connection, family), 0});
  const net::SocketAddress far({inner_address(to.end(), connection, family), kPort});
  if (!to.enter()) return net::setup_error(errno, "namespace");
  stream->listener_ = net::Fd(::socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (::bind(stream->listener_.get(), far.get(), far.size()) != 0 || ::listen(stream->listener_.get(), 1) != 0)
    return net::setup_error(errno, "TCP listener");
  if (!from.enter()) return net::setup_error(errno, "namespace");
  stream->caller_ = net::Fd(::socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (::bind(stream->caller_.get(), near.get(), near.size()) != 0) return net::setup_error(errno, "TCP caller");
  if (::connect(stream->caller_.get(), far.get(), far.size()) != 0 && errno != EINPROGRESS)
    return net::setup_error(errno, "TCP connection");
  return stream;
}

void TcpStream::run_caller(const std::atomic<bool>& stop) {
  pump(caller_.get(), 0, stop);
  caller_.reset();
}

void TcpStream::run_listener(const std::atomic<bool>& stop) {
  net::Fd accepted;
  while (!stop.load(std::memory_order_relaxed) && !accepted.valid()) {
    pollfd waiting{listener_.get(), POLLIN, 0};
    if (::poll(&waiting, 1, kPollMs) > 0)
      accepted = net::Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  }
  listener_.reset();
  if (accepted.valid()) pump(accepted.get(), 1, stop);
}

void TcpStream::pump(int fd, unsigned end, const std::atomic<bool>& stop) {
  const auto buffer = std::make_unique<uint8_t[]>(kChunk);
  uint64_t sent = 0;
  uint64_t received = 0;
  while (!stop.load(std::memory_order_relaxed)) {
    pollfd waiting{fd, POLLIN | POLLOUT, 0};
    if (::poll(&waiting, 1, kPollMs) <= 0) continue;
    if ((waiting.revents & POLLOUT) != 0) {
      const ssize_t n = ::send(fd, Pattern::at(sent + end * kEndOffset), kChunk, MSG_NOSIGNAL);
      if (n > 0) sent += static_cast<uint64_t>(n);
    }
    if ((waiting.revents & POLLIN) == 0) {
      if ((waiting.revents & (POLLERR | POLLHUP)) != 0) break;
      continue;
    }
    const ssize_t n = ::recv(fd, buffer.get(), kChunk, 0);
    if (n <= 0) {
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      break;
    }
    // No more than the table's second half holds behind any offset.
    const auto length = static_cast<size_t>(n);
    const uint8_t* expected = Pattern::at(received + (1 - end) * kEndOffset);
    if (std::memcmp(buffer.get(), expected, length) != 0) wrong_[end].add(length);
    received += length;
    arrived_[end].add(length);
  }
  // Reset, so that nothing is repeated once the books are closed.
  const linger none{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

}  // namespace culvert::soak
