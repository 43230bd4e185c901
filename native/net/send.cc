#include "net/send.h"

#include <linux/udp.h>
#include <poll.h>

#include <cerrno>

namespace culvert::net {

SendReport Sender::send(int fd, std::span<Outgoing> batch, bool runs) {
  SendReport report;
  count_ = 0;
  for (Outgoing& run : batch) {
    if (runs || run.segment >= run.length) {
      if (count_ == kBatch) flush(fd, report);
      add(run.data, run.length, run.segment, run);
      continue;
    }
    for (uint32_t at = 0; at < run.length; at += run.segment) {
      if (count_ == kBatch) flush(fd, report);
      const uint32_t length = run.length - at < run.segment ? run.length - at : run.segment;
      add(run.data + at, length, length, run);
    }
  }
  flush(fd, report);
  return report;
}

void Sender::add(const uint8_t* data, uint32_t length, uint32_t segment, Outgoing& run) {
  const unsigned i = count_++;
  pieces_[i] = {const_cast<uint8_t*>(data), length};
  segments_[i] = segment;
  runs_[i] = &run;
  datagrams_[i] = segment >= length ? 1 : (length + segment - 1) / segment;
  msghdr& header = headers_[i].msg_hdr;
  header = {};
  header.msg_name = const_cast<sockaddr*>(run.to->get());
  header.msg_namelen = run.to->size();
  header.msg_iov = &pieces_[i];
  header.msg_iovlen = 1;

  size_t used = 0;
  const auto append = [&](int level, int type, const void* value, size_t bytes) {
    auto* c = reinterpret_cast<cmsghdr*>(control_[i] + used);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(c), value, bytes);
    used += CMSG_SPACE(bytes);
  };
  if (datagrams_[i] > 1) {
    const uint16_t size = static_cast<uint16_t>(segment);
    append(IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size);
  }
  if (run.traffic_class != 0) {
    const int value = run.traffic_class;
    const bool v4 = run.to->is_ipv4();
    append(v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &value, sizeof value);
  }
  if (used != 0) {
    header.msg_control = control_[i];
    header.msg_controllen = used;
  }
}

void Sender::flush(int fd, SendReport& report) {
  unsigned done = 0;
  bool waited = false;
  while (done < count_) {
    int n;
    if (count_ - done == 1) {
      n = ::sendmsg(fd, &headers_[done].msg_hdr, 0) < 0 ? -1 : 1;
    } else {
      n = ::sendmmsg(fd, &headers_[done], count_ - done, 0);
    }
    if (n > 0) {
      for (int i = 0; i < n; i++) report.sent += datagrams_[done + static_cast<unsigned>(i)];
      done += static_cast<unsigned>(n);
      waited = false;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN && !waited) {
      // The device is slower than we are: its queue is where packets should wait, and the TUN queue behind us.
      pollfd wait{fd, POLLOUT, 0};
      ::poll(&wait, 1, kSendPatienceMs);
      waited = true;
      continue;
    }
    failed(fd, errno, done, report);
    done++;
  }
  count_ = 0;
}

// Message `index` was refused whole; a run is tried once more, datagram by datagram, where that can help.
void Sender::failed(int fd, int error_number, unsigned index, SendReport& report) {
  const uint32_t segment = segments_[index];
  const bool is_run = datagrams_[index] > 1;
  msghdr& header = headers_[index].msg_hdr;
  const auto* to = reinterpret_cast<const SocketAddress*>(header.msg_name);
  // EIO: the device offers no checksum offload. EINVAL and EMSGSIZE: kernels differ in what they say of a run whose
  // datagrams exceed the path MTU; alone they are fragmented.
  if (error_number == EMSGSIZE || (is_run && error_number == EINVAL)) report.too_big = to;
  if (is_run && error_number == EIO) report.runs_refused = true;
  if (!is_run || (error_number != EIO && error_number != EINVAL && error_number != EMSGSIZE)) {
    report.failed += datagrams_[index];
    runs_[index]->failed += datagrams_[index];
    return;
  }
  const auto* data = static_cast<const uint8_t*>(pieces_[index].iov_base);
  const uint32_t length = static_cast<uint32_t>(pieces_[index].iov_len);
  int traffic_class = 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != IPPROTO_UDP) std::memcpy(&traffic_class, CMSG_DATA(c), sizeof traffic_class);
  }
  alignas(16) uint8_t control[CMSG_SPACE(sizeof(int))];
  auto* c = reinterpret_cast<cmsghdr*>(control);
  c->cmsg_level = to->is_ipv4() ? IPPROTO_IP : IPPROTO_IPV6;
  c->cmsg_type = to->is_ipv4() ? IP_TOS : IPV6_TCLASS;
  c->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(c), &traffic_class, sizeof traffic_class);
  header.msg_control = traffic_class == 0 ? nullptr : control;
  header.msg_controllen = traffic_class == 0 ? 0 : sizeof control;
  for (uint32_t at = 0; at < length; at += segment) {
    iovec piece{const_cast<uint8_t*>(data + at), length - at < segment ? length - at : segment};
    header.msg_iov = &piece;
    if (::sendmsg(fd, &header, 0) < 0) {
      if (errno == EMSGSIZE) report.too_big = to;
      report.failed++;
      runs_[index]->failed++;
    } else {
      report.sent++;
    }
  }
}

}  // namespace culvert::net
