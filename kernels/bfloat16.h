// bfloat16: the upper half of a float32.
#pragma once

#include <cstdint>
#include <cstring>

#include "host_device.h"

namespace sda {

// To the nearest, ties to even. What is beyond the largest becomes infinite; a NaN stays one.
SDA_FN uint16_t to_bfloat16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  if (x != x) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

SDA_FN float from_bfloat16(uint16_t half) {
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

}  // namespace sda
