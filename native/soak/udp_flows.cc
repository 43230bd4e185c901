#include "soak/udp_flows.h"

#include <linux/sock_diag.h>
#include <linux/udp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "net/setup_error.h"

namespace culvert::soak {
namespace {

constexpr uint32_t kSizes[] = {24, 64, 200, 576, 1280, 0};  // of payload; 0: another one each time
constexpr uint32_t kMaxPayload = 1280;
constexpr uint32_t kBurst = 16;
// On the way at once, in each flow: all of them fit the queues of the devices, so that what gets lost, the path lost.
constexpr uint64_t kWindow = 32;
// When so many were lost that the window is closed.
constexpr uint64_t kResumeNs = 200'000'000;
constexpr int kReceiveBuffer = 8 << 20;
constexpr uint16_t kFirstPort = 7000;
constexpr int kPollMs = 20;
constexpr timespec kShortPause{0, 50'000};

Result<net::Fd> open_socket(const IpAddress& own, const IpAddress& far, uint16_t port, bool without_checksum) {
  const int family = own.family == Family::ipv4 ? AF_INET : AF_INET6;
  net::Fd fd(::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const net::SocketAddress local({own, port});
  const net::SocketAddress remote({far, port});
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer);
  if (without_checksum) ::setsockopt(fd.get(), SOL_SOCKET, SO_NO_CHECK, &on, sizeof on);
  if (::bind(fd.get(), local.get(), local.size()) != 0 || ::connect(fd.get(), remote.get(), remote.size()) != 0)
    return net::setup_error(errno, "a host's socket");
  return fd;
}

}  // namespace

Result<std::unique_ptr<UdpFlows>> UdpFlows::open(const Site& from, const Site& to, uint64_t seed) {
  std::unique_ptr<UdpFlows> flows(new UdpFlows());
  flows->random_ = Random(seed);
  flows->send_buffer_.reset(new uint8_t[kBurst * kMaxPayload]);
  flows->receive_buffer_.reset(new uint8_t[65536]);
  for (unsigned i = 0; i < 3 * kConnections; i++) {
    auto flow = std::make_unique<UdpFlow>();
    flow->number = i + 1000 * from.end();
    flow->connection = i % kConnections;
    flow->family = i / kConnections == 1 ? Family::ipv6 : Family::ipv4;
    flow->bytes = kSizes[(i / 2 + i) % std::size(kSizes)];
    flow->superpackets = flow->bytes >= 200 && i % 2 == 0;
    const auto port = static_cast<uint16_t>(kFirstPort + i);
    const IpAddress near = inner_address(from.end(), flow->connection, flow->family);
    const IpAddress far = inner_address(to.end(), flow->connection, flow->family);
    // Without a checksum of UDP's only ours can find what is wrong; superpackets must have one.
    const bool unchecked = flow->family == Family::ipv4 && !flow->superpackets && i % 4 == 1;
    // Every direction has ports of its own, 100 apart.
    const auto own_port = static_cast<uint16_t>(port + 100 * from.end());
    if (!from.enter()) return net::setup_error(errno, "namespace");
    auto sender = open_socket(near, far, own_port, unchecked);
    if (!sender) return Error{sender.error()};
    if (!to.enter()) return net::setup_error(errno, "namespace");
    auto receiver = open_socket(far, near, own_port, false);
    if (!receiver) return Error{receiver.error()};
    flow->sender = std::move(sender).value();
    flow->receiver = std::move(receiver).value();
    flows->flows_.push_back(std::move(flow));
  }
  return flows;
}

uint64_t UdpFlows::sent() const {
  uint64_t total = 0;
  for (const auto& flow : flows_) total += flow->sent.load(std::memory_order_relaxed);
  return total;
}

std::string UdpFlows::describe() const {
  std::string text;
  for (const auto& flow : flows_) {
    uint32_t memory[SK_MEMINFO_VARS] = {};
    socklen_t size = sizeof memory;
    ::getsockopt(flow->receiver.get(), SOL_SOCKET, SO_MEMINFO, memory, &size);
    text += "flow " + std::to_string(flow->number) + " of connection " + std::to_string(flow->connection) +
            (flow->family == Family::ipv4 ? " (IPv4, " : " (IPv6, ") + std::to_string(flow->bytes) + " bytes" +
            (flow->superpackets ? ", superpackets" : "") + "): sent " + std::to_string(flow->sent.load()) +
            ", reached " + std::to_string(flow->reached.load()) + ", got " + std::to_string(flow->got.read()) +
            ", refused " + std::to_string(memory[SK_MEMINFO_DROPS]) + ", bytes in the queue " +
            std::to_string(memory[SK_MEMINFO_RMEM_ALLOC]) + "\n";
  }
  return text;
}

void UdpFlows::send(const std::atomic<bool>& stop) {
  std::vector<uint64_t> last_sent_ns(flows_.size(), 0);
  while (!stop.load(std::memory_order_relaxed)) {
    uint32_t sent = 0;
    const uint64_t now = engine::monotonic_ns();
    for (size_t i = 0; i < flows_.size(); i++) {
      UdpFlow& flow = *flows_[i];
      const uint64_t on_the_way =
          flow.sent.load(std::memory_order_relaxed) - flow.reached.load(std::memory_order_relaxed);
      if (on_the_way + kBurst > kWindow && now - last_sent_ns[i] < kResumeNs) continue;
      sent += send_burst(flow);
      last_sent_ns[i] = now;
    }
    if (sent == 0) ::nanosleep(&kShortPause, nullptr);
  }
}

uint32_t UdpFlows::send_burst(UdpFlow& flow) {
  const uint64_t first = flow.sent.load(std::memory_order_relaxed);
  const auto count = static_cast<uint32_t>(1 + random_.below(kBurst));
  if (flow.superpackets) {
    for (uint32_t i = 0; i < count; i++)
      write_payload({send_buffer_.get() + i * flow.bytes, flow.bytes}, flow.number, first + i);
    const int segment = static_cast<int>(flow.bytes);
    ::setsockopt(flow.sender.get(), IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
    if (::send(flow.sender.get(), send_buffer_.get(), size_t{count} * flow.bytes, 0) < 0) return 0;
    flow.sent.store(first + count, std::memory_order_relaxed);
    return count;
  }
  mmsghdr messages[kBurst]{};
  iovec pieces[kBurst];
  for (uint32_t i = 0; i < count; i++) {
    const size_t any = sizeof(DatagramHeader) + random_.below(kMaxPayload - sizeof(DatagramHeader) + 1);
    const size_t bytes = flow.bytes == 0 ? any : flow.bytes;
    uint8_t* const payload = send_buffer_.get() + size_t{i} * kMaxPayload;
    write_payload({payload, bytes}, flow.number, first + i);
    pieces[i] = {payload, bytes};
    messages[i].msg_hdr.msg_iov = &pieces[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  // What the kernel does not take now keeps its number for the next time: payloads are made from numbers.
  const int taken = ::sendmmsg(flow.sender.get(), messages, count, 0);
  if (taken <= 0) return 0;
  flow.sent.store(first + static_cast<uint32_t>(taken), std::memory_order_relaxed);
  return static_cast<uint32_t>(taken);
}

void UdpFlows::receive(const std::atomic<bool>& stop) {
  const net::Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  for (size_t i = 0; i < flows_.size(); i++) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = i;
    ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, flows_[i]->receiver.get(), &event);
  }
  while (!stop.load(std::memory_order_relaxed)) {
    epoll_event events[64];
    const int n = ::epoll_wait(epoll.get(), events, 64, kPollMs);
    for (int i = 0; i < n; i++) take(*flows_[events[i].data.u64]);
  }
}

void UdpFlows::take(UdpFlow& flow) {
  constexpr unsigned kBatch = 32;
  constexpr size_t kSlot = 2048;
  mmsghdr messages[kBatch]{};
  iovec pieces[kBatch];
  for (unsigned i = 0; i < kBatch; i++) {
    pieces[i] = {receive_buffer_.get() + i * kSlot, kSlot};
    messages[i].msg_hdr.msg_iov = &pieces[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  const int n = ::recvmmsg(flow.receiver.get(), messages, kBatch, MSG_DONTWAIT, nullptr);
  for (int i = 0; i < n; i++) {
    const std::span<const uint8_t> payload(receive_buffer_.get() + static_cast<size_t>(i) * kSlot, messages[i].msg_len);
    received_.datagrams.add(1);
    flow.got.add(1);
    received_.bytes.add(payload.size());
    uint64_t sequence = 0;
    if (!read_payload(payload, flow.number, sequence)) {
      received_.wrong.add(1);
      continue;
    }
    switch (flow.arrivals.take(sequence)) {
      case Arrivals::Kind::in_order:
        flow.reached.store(sequence + 1, std::memory_order_relaxed);
        break;
      case Arrivals::Kind::late:
        received_.late.add(1);
        break;
      case Arrivals::Kind::twice:
        received_.twice.add(1);
        break;
    }
  }
}

}  // namespace culvert::soak
