// Key exchange on curves: what the sanitizers are to see. Values are compared in test/addon/curves.test.ts.
#include "crypto/curves.h"

#include <initializer_list>
#include <vector>

#include "test/check.h"

namespace culvert::crypto {
namespace {

using Bytes = std::vector<uint8_t>;

TEST("curves: both sides get one secret, of points on the curve only") {
  test::Random random(31);
  for (const uint32_t group : {19u, 20u, 21u, 31u}) {
    const auto sizes = curve_sizes(group);
    CHECK(sizes.has_value());
    Bytes keys[2];
    Bytes values[2];
    Bytes secrets[2];
    for (int side = 0; side < 2; side++) {
      keys[side].resize(sizes->private_bytes);
      random.fill(keys[side]);
      keys[side][0] = 0;  // below every order
      values[side].resize(sizes->public_bytes);
      CHECK(curve_public_value(group, keys[side], values[side]));
    }
    for (int side = 0; side < 2; side++) {
      secrets[side].resize(sizes->secret_bytes);
      CHECK(curve_shared_secret(group, keys[side], values[1 - side], secrets[side]));
    }
    CHECK(secrets[0] == secrets[1]);
    if (group != 31) {
      values[1].back() ^= 1;
      CHECK(!curve_shared_secret(group, keys[0], values[1], secrets[0]));
      CHECK(!curve_public_value(group, Bytes(sizes->private_bytes), values[0]));
    }
  }
}

TEST("curves: other lengths and other groups are refused") {
  CHECK(!curve_sizes(14).has_value());
  for (const uint32_t group : {14u, 19u, 20u, 21u, 31u}) {
    for (const size_t size : {size_t{0}, size_t{1}, size_t{31}, size_t{133}}) {
      Bytes bytes(size, 1);
      CHECK(!curve_public_value(group, bytes, bytes));
      CHECK(!curve_shared_secret(group, bytes, bytes, bytes));
    }
  }
}

}  // namespace
}  // namespace culvert::crypto
