// A UDP source that keeps a rate and a sink that counts, for the loss search of `npm run bench -- path`. iperf3 makes
// one system call per datagram and is itself the limit at 64 bytes; this sends and receives up to 64 in one call,
// without segmentation offload: each datagram goes its own way, as from many hosts.
//
//   udp_stream receive PORT BYTES              prints "ready", then on SIGTERM {"received": N, …}
//   udp_stream send ADDRESS PORT BYTES PPS MS  prints {"sent": N, "seconds": S}
//
// A datagram of 8 bytes or more begins with its number, from 0. The sink says how many different ones it saw
// (`distinct`), how many came behind a later one (`late`), and where numbers were missing when a later one came
// (`gaps`: first number, how many, at which millisecond since the first datagram).
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {

constexpr unsigned kBatch = 64;
constexpr size_t kMaxBytes = 9000;
volatile std::sig_atomic_t stopped = 0;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

/** Which numbers were seen. */
class Numbers {
 public:
  void take(const char* data) {
    uint64_t number;
    std::memcpy(&number, data, sizeof number);
    if (number >= kMost) return;
    if (distinct_ == 0) started_ = now();
    uint64_t& word = seen_[number / 64];
    const uint64_t bit = uint64_t{1} << (number % 64);
    distinct_ += (word & bit) == 0 ? 1 : 0;
    word |= bit;
    if (number < next_) {
      ++late_;
      return;
    }
    if (number > next_ && gap_count_ < kMaxGaps) gaps_[gap_count_++] = {next_, number - next_, now() - started_};
    next_ = number + 1;
  }

  void print() const {
    std::printf("\"distinct\": %llu, \"late\": %llu, \"gaps\": [", static_cast<unsigned long long>(distinct_),
                static_cast<unsigned long long>(late_));
    for (unsigned i = 0; i < gap_count_; ++i) {
      std::printf("%s[%llu, %llu, %.0f]", i == 0 ? "" : ", ", static_cast<unsigned long long>(gaps_[i].first),
                  static_cast<unsigned long long>(gaps_[i].count), gaps_[i].seconds * 1000);
    }
    std::printf("]");
  }

 private:
  static constexpr uint64_t kMost = uint64_t{1} << 28;
  static constexpr unsigned kMaxGaps = 64;
  struct Gap {
    uint64_t first;
    uint64_t count;
    double seconds;
  };
  uint64_t* seen_ = static_cast<uint64_t*>(std::calloc(kMost / 64, sizeof(uint64_t)));
  uint64_t next_ = 0;
  uint64_t distinct_ = 0;
  uint64_t late_ = 0;
  double started_ = 0;
  Gap gaps_[kMaxGaps];
  unsigned gap_count_ = 0;
};

struct Batch {
  char buffers[kBatch][kMaxBytes];
  iovec vectors[kBatch];
  mmsghdr messages[kBatch];
};

void prepare(Batch& batch, size_t bytes) {
  std::memset(&batch, 0, sizeof batch);
  for (unsigned i = 0; i < kBatch; ++i) {
    batch.vectors[i] = {batch.buffers[i], bytes};
    batch.messages[i].msg_hdr.msg_iov = &batch.vectors[i];
    batch.messages[i].msg_hdr.msg_iovlen = 1;
  }
}

int receive(uint16_t port, size_t bytes) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  const int room = 32 << 20;  // the sink must never be what drops
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) != 0) fail("SO_RCVBUFFORCE");
  sockaddr_in local{};
  local.sin_family = AF_INET;
  local.sin_port = htons(port);
  if (bind(fd, reinterpret_cast<sockaddr*>(&local), sizeof local) != 0) fail("bind");
  struct sigaction action {};
  action.sa_handler = [](int) { stopped = 1; };  // without SA_RESTART: it ends the wait below
  sigaction(SIGTERM, &action, nullptr);
  std::puts("ready");
  std::fflush(stdout);
  static Batch batch;
  prepare(batch, kMaxBytes);
  uint64_t received = 0;
  static Numbers numbers;
  while (stopped == 0) {
    const int got = recvmmsg(fd, batch.messages, kBatch, MSG_WAITFORONE, nullptr);
    for (int i = 0; i < got; ++i) {
      if (batch.messages[i].msg_len != bytes) continue;
      ++received;
      if (bytes >= sizeof(uint64_t)) numbers.take(batch.buffers[i]);
    }
  }
  std::printf("{\"received\": %llu, ", static_cast<unsigned long long>(received));
  numbers.print();
  std::puts("}");
  return 0;
}

int send(const char* address, uint16_t port, size_t bytes, double rate, double seconds) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  sockaddr_in peer{};
  peer.sin_family = AF_INET;
  peer.sin_port = htons(port);
  if (inet_pton(AF_INET, address, &peer.sin_addr) != 1) fail("address");
  if (connect(fd, reinterpret_cast<sockaddr*>(&peer), sizeof peer) != 0) fail("connect");
  prctl(PR_SET_TIMERSLACK, 1UL);  // the default of 50 us would make bursts of every rate
  static Batch batch;
  prepare(batch, bytes);
  const double started = now();
  uint64_t sent = 0;
  for (double elapsed = 0; elapsed < seconds; elapsed = now() - started) {
    const double due = rate * elapsed - static_cast<double>(sent);
    if (due < 1) {
      const timespec nap{0, 20000};
      clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, nullptr);
      continue;
    }
    const unsigned wanted = due < kBatch ? static_cast<unsigned>(due) : kBatch;
    for (unsigned i = 0; bytes >= sizeof sent && i < wanted; ++i) {
      const uint64_t number = sent + i;
      std::memcpy(batch.buffers[i], &number, sizeof number);
    }
    const int done = sendmmsg(fd, batch.messages, wanted, 0);
    if (done > 0) sent += static_cast<uint64_t>(done);
  }
  std::printf("{\"sent\": %llu, \"seconds\": %.6f}\n", static_cast<unsigned long long>(sent), now() - started);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "receive") == 0) {
    const auto bytes = static_cast<size_t>(std::atoi(argv[3]));
    return receive(static_cast<uint16_t>(std::atoi(argv[2])), bytes);
  }
  if (argc == 7 && std::strcmp(argv[1], "send") == 0) {
    const auto bytes = static_cast<size_t>(std::atoi(argv[4]));
    if (bytes == 0 || bytes > kMaxBytes) return 2;
    const auto port = static_cast<uint16_t>(std::atoi(argv[3]));
    return send(argv[2], port, bytes, std::atof(argv[5]), std::atof(argv[6]) / 1000);
  }
  std::fputs("udp_stream receive PORT BYTES | send ADDRESS PORT BYTES PPS MS\n", stderr);
  return 2;
}
