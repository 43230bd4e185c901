// Thread: any. Multiplication on the elliptic curves of IKE's key exchange: the NIST curves (RFC 5903) and Curve25519
// (RFC 7748). nettle's functions, whose time does not depend on the scalar, and which take a fraction of what OpenSSL
// takes where that has no code of its own for a curve (P-384 and P-521: bench/RESULTS.md, `bench -- ike`).
//
// Stateless: the caller keeps the private key. What GMP allocates on the way is wiped as it is freed.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace culvert::crypto {

struct CurveSizes {
  size_t private_bytes;
  /** Key Exchange Data: x | y (RFC 5903 section 7), or u. */
  size_t public_bytes;
  /** x, or u. */
  size_t secret_bytes;
};

/** `group` is IKEv2's transform ID. None for a group that is not on a curve we have. */
std::optional<CurveSizes> curve_sizes(uint32_t group);

/**
 * The public value of a private key: big-endian for the NIST curves, as RFC 7748 writes it for Curve25519. Lengths are
 * `curve_sizes`' of the group. False when the key is not between 1 and the order of the group.
 */
[[nodiscard]] bool curve_public_value(uint32_t group, std::span<const uint8_t> private_key, std::span<uint8_t> value);

/**
 * What the key makes of the peer's public value. False as above, and for a point that is not on the curve (RFC 6989
 * section 2.3) or, on Curve25519, of small order: the secret would be zero (RFC 8031 section 2.1).
 */
[[nodiscard]] bool curve_shared_secret(uint32_t group, std::span<const uint8_t> private_key,
                                       std::span<const uint8_t> peer, std::span<uint8_t> secret);

}  // namespace culvert::crypto
