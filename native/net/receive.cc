#include "net/receive.h"

#include <linux/udp.h>

#include <cerrno>

#include "net/setup_error.h"

namespace culvert::net {

Result<std::unique_ptr<ReceiveSlots>> ReceiveSlots::create() {
  std::unique_ptr<ReceiveSlots> slots(new ReceiveSlots);
  auto memory = HugeBuffer::create(kSlots * kStrideBytes);
  if (!memory) return Error{memory.error()};
  slots->memory_ = std::move(memory).value();
  for (unsigned i = 0; i < kSlots; i++) {
    slots->pieces_[i] = {slots->memory_.data() + i * kStrideBytes, kSlotBytes};
    msghdr& header = slots->headers_[i].msg_hdr;
    header = {};
    header.msg_name = slots->messages_[i].from.get();
    header.msg_iov = &slots->pieces_[i];
    header.msg_iovlen = 1;
    header.msg_control = slots->control_[i];
  }
  return slots;
}

std::span<Received> ReceiveSlots::receive(int fd, unsigned first, unsigned wanted) {
  const unsigned end = first + wanted;
  for (unsigned i = first; i < end; i++) {
    headers_[i].msg_hdr.msg_namelen = SocketAddress::capacity();
    headers_[i].msg_hdr.msg_controllen = kControlBytes;
  }
  int n;
  if (wanted == 1) {
    const ssize_t bytes = ::recvmsg(fd, &headers_[first].msg_hdr, MSG_DONTWAIT);
    n = bytes < 0 ? -1 : 1;
    if (n == 1) headers_[first].msg_len = static_cast<unsigned>(bytes);
  } else {
    n = ::recvmmsg(fd, &headers_[first], wanted, MSG_DONTWAIT, nullptr);
  }
  if (n <= 0) return {};
  for (unsigned i = first; i < first + static_cast<unsigned>(n); i++) {
    Received& message = messages_[i];
    message.data = static_cast<uint8_t*>(pieces_[i].iov_base);
    message.length = headers_[i].msg_len;
    message.segment = message.length;
    message.traffic_class = 0;
    message.truncated = (headers_[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
    read_control(headers_[i].msg_hdr, message);
  }
  return std::span(messages_).subspan(first, static_cast<size_t>(n));
}

void ReceiveSlots::read_control(msghdr& header, Received& message) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    const uint8_t* data = CMSG_DATA(c);
    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
      int segment;
      std::memcpy(&segment, data, sizeof segment);
      if (segment > 0 && static_cast<uint32_t>(segment) < message.length)
        message.segment = static_cast<uint32_t>(segment);
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
      message.traffic_class = *data;
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
      message.traffic_class = *data;  // an int, little-endian
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      in_pktinfo info;
      std::memcpy(&info, data, sizeof info);
      message.local = IpAddress::load_ipv4(&info.ipi_addr);
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      message.local = IpAddress::load_ipv6(data);
    }
  }
}

}  // namespace culvert::net
