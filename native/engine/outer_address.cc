#include "engine/outer_address.h"

#include "net/packet_send.h"
#include "net/probe.h"

namespace culvert::engine {

namespace {

net::SocketOptions nat_options(const OuterAddress::Options& options) {
  return {.address = options.address,
          .port = options.nat_port,
          .mark = options.mark,
          // Over IPv4 there may be one more socket on the port for each worker.
          .reuse_port = options.workers > 1 || options.address.family == Family::ipv4,
          .receive_runs = true};
}

}  // namespace

Result<std::unique_ptr<OuterAddress>> OuterAddress::open(const Options& options) {
  auto outer = std::make_unique<OuterAddress>();
  outer->address = options.address;
  outer->options = options;
  net::SocketOptions socket = nat_options(options);
  if (socket.reuse_port) {
    if (auto free = net::check_port_is_free(options.address, socket.port); !free) return Error{free.error()};
  }
  for (unsigned i = 0; i < options.workers; i++) {
    auto nat = net::UdpSocket::open(socket);
    if (!nat) return Error{nat.error()};
    outer->nat.push_back(std::move(nat).value());
    auto esp = net::open_esp_socket(socket, i, options.workers);
    if (!esp) return Error{esp.error()};
    outer->esp.push_back(std::move(esp).value());
    auto packets = net::open_packet_socket(options.address, options.mark);
    if (!packets) return Error{packets.error()};
    outer->packets.push_back(std::move(packets).value());
  }
  outer->sends_runs.store(outer->nat[0].sends_runs);
  if (socket.reuse_port) {
    if (auto steered = net::steer_by_spi(outer->nat[0].fd.get(), options.workers); !steered)
      return Error{steered.error()};
  }
  auto probe = net::open_packet_socket(options.address, options.mark);
  if (!probe) return Error{probe.error()};
  outer->probe = std::move(probe).value();
  auto too_big = net::open_too_big_socket(options.address);
  if (!too_big) return Error{too_big.error()};
  outer->too_big = std::move(too_big).value();
  if (options.ike_port == 0) return outer;
  socket.port = options.ike_port;
  socket.reuse_port = false;
  socket.receive_runs = false;
  auto ike = net::UdpSocket::open(socket);
  if (!ike) return Error{ike.error()};
  outer->ike = std::move(ike).value();
  return outer;
}

Result<Unit> OuterAddress::open_nat_df() {
  if (!nat_df.empty()) return Unit{};
  net::SocketOptions socket = nat_options(options);
  socket.dont_fragment = true;
  std::vector<net::UdpSocket> opened;
  for (unsigned i = 0; i < options.workers; i++) {
    auto one = net::UdpSocket::open(socket);
    if (!one) return Error{one.error()};
    opened.push_back(std::move(one).value());
  }
  nat_df = std::move(opened);
  return Unit{};
}

}  // namespace culvert::engine
