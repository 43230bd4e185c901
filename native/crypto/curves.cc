#include "crypto/curves.h"

#include <gmp.h>
#include <nettle/curve25519.h>
#include <nettle/ecc-curve.h>
#include <nettle/ecc.h>
#include <string.h>

#include <algorithm>
#include <cstdlib>

namespace culvert::crypto {
namespace {

struct Curve {
  uint32_t group;
  const ecc_curve* (*get)();  // null: Curve25519
  CurveSizes sizes;
};

constexpr Curve kCurves[] = {
    {19, nettle_get_secp_256r1, {32, 64, 32}},
    {20, nettle_get_secp_384r1, {48, 96, 48}},
    {21, nettle_get_secp_521r1, {66, 132, 66}},
    {31, nullptr, {32, 32, 32}},
};

const Curve* find_curve(uint32_t group) {
  const auto* found =
      std::find_if(std::begin(kCurves), std::end(kCurves), [&](const Curve& c) { return c.group == group; });
  return found == std::end(kCurves) ? nullptr : found;
}

void* allocate(size_t bytes) {
  void* memory = std::malloc(bytes);
  if (memory == nullptr) std::abort();  // as operator new does without exceptions
  return memory;
}

void wipe_and_free(void* memory, size_t bytes) {
  explicit_bzero(memory, bytes);
  std::free(memory);
}

void* wipe_and_move(void* memory, size_t old_bytes, size_t new_bytes) {
  void* moved = allocate(new_bytes);
  memcpy(moved, memory, std::min(old_bytes, new_bytes));
  wipe_and_free(memory, old_bytes);
  return moved;
}

/** GMP's memory holds keys, and nettle takes its scratch space from it, too. Nothing else in the process uses GMP. */
void make_gmp_wipe() {
  [[maybe_unused]] static const bool once = [] {
    mp_set_memory_functions(allocate, wipe_and_move, wipe_and_free);
    return true;
  }();
}

class Number {
 public:
  Number() { mpz_init(value_); }
  explicit Number(std::span<const uint8_t> big_endian) : Number() {
    mpz_import(value_, big_endian.size(), 1, 1, 0, 0, big_endian.data());
  }
  ~Number() { mpz_clear(value_); }
  Number(const Number&) = delete;
  Number& operator=(const Number&) = delete;

  mpz_ptr get() { return value_; }
  /** Big-endian with leading zeros. The number fits. */
  void store(std::span<uint8_t> into) const {
    std::fill(into.begin(), into.end(), uint8_t{0});
    const size_t bytes = (mpz_sizeinbase(value_, 2) + 7) / 8;
    mpz_export(into.data() + into.size() - bytes, nullptr, 1, 1, 0, 0, value_);
  }

 private:
  mpz_t value_;
};

class Scalar {
 public:
  explicit Scalar(const ecc_curve* curve) { ecc_scalar_init(&value_, curve); }
  ~Scalar() { ecc_scalar_clear(&value_); }
  Scalar(const Scalar&) = delete;
  Scalar& operator=(const Scalar&) = delete;

  /** False when it is not between 1 and the group's order. */
  bool set(std::span<const uint8_t> big_endian) {
    Number number(big_endian);
    return ecc_scalar_set(&value_, number.get()) != 0;
  }
  const ecc_scalar* get() const { return &value_; }

 private:
  ecc_scalar value_;
};

class Point {
 public:
  explicit Point(const ecc_curve* curve) { ecc_point_init(&value_, curve); }
  ~Point() { ecc_point_clear(&value_); }
  Point(const Point&) = delete;
  Point& operator=(const Point&) = delete;

  /** x | y. False when a coordinate is not below the field's prime or the point is not on the curve. */
  bool set(std::span<const uint8_t> coordinates) {
    const size_t half = coordinates.size() / 2;
    Number x(coordinates.first(half));
    Number y(coordinates.subspan(half));
    return ecc_point_set(&value_, x.get(), y.get()) != 0;
  }
  /** x | y, or x alone when there is room for no more. */
  void store(std::span<uint8_t> into, size_t coordinate_bytes) const {
    Number x;
    Number y;
    ecc_point_get(&value_, x.get(), y.get());
    x.store(into.first(coordinate_bytes));
    if (into.size() > coordinate_bytes) y.store(into.subspan(coordinate_bytes));
  }
  ecc_point* get() { return &value_; }

 private:
  ecc_point value_;
};

}  // namespace

std::optional<CurveSizes> curve_sizes(uint32_t group) {
  const Curve* curve = find_curve(group);
  if (curve == nullptr) return std::nullopt;
  return curve->sizes;
}

bool curve_public_value(uint32_t group, std::span<const uint8_t> private_key, std::span<uint8_t> value) {
  const Curve* curve = find_curve(group);
  if (curve == nullptr || private_key.size() != curve->sizes.private_bytes ||
      value.size() != curve->sizes.public_bytes) {
    return false;
  }
  make_gmp_wipe();
  if (curve->get == nullptr) {
    curve25519_mul_g(value.data(), private_key.data());
    return true;
  }
  Scalar scalar(curve->get());
  if (!scalar.set(private_key)) return false;
  Point product(curve->get());
  ecc_point_mul_g(product.get(), scalar.get());
  product.store(value, curve->sizes.secret_bytes);
  return true;
}

bool curve_shared_secret(uint32_t group, std::span<const uint8_t> private_key, std::span<const uint8_t> peer,
                         std::span<uint8_t> secret) {
  const Curve* curve = find_curve(group);
  if (curve == nullptr || private_key.size() != curve->sizes.private_bytes ||
      peer.size() != curve->sizes.public_bytes || secret.size() != curve->sizes.secret_bytes) {
    return false;
  }
  make_gmp_wipe();
  if (curve->get == nullptr) {
    curve25519_mul(secret.data(), private_key.data(), peer.data());
    uint8_t any = 0;
    for (const uint8_t octet : secret) any |= octet;
    return any != 0;
  }
  Point point(curve->get());
  Scalar scalar(curve->get());
  if (!point.set(peer) || !scalar.set(private_key)) return false;
  // The curves have prime order: no point on them but infinity, which has no coordinates, gives infinity.
  Point product(curve->get());
  ecc_point_mul(product.get(), scalar.get(), point.get());
  product.store(secret, curve->sizes.secret_bytes);
  return true;
}

}  // namespace culvert::crypto
