// The form of products with quantised weights for any processor, and the choice among all.

#include "quantised_forms.h"

#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "quantised_block.h"

namespace sda {
namespace {

// 16 rows of weights as arrays, which the compiler turns into what vectors its flags allow.
struct Portable {
  static constexpr int64_t kLanes = 16;
  static constexpr bool kBytes = false, kWide = false;
  struct Float {
    float lane[kLanes];
  };
  struct Sums {
    int32_t lane[kLanes];
  };
  struct Bytes {
    uint8_t byte[4 * kLanes];
  };
  static Float zero() { return {}; }
  static Bytes load(const uint8_t* line) {
    Bytes bytes;
    std::memcpy(&bytes, line, sizeof(bytes));
    return bytes;
  }
  static Bytes low(Bytes bytes) {
    for (uint8_t& byte : bytes.byte) byte &= 15;
    return bytes;
  }
  static Bytes high(Bytes bytes) {
    for (uint8_t& byte : bytes.byte) byte >>= 4;
    return bytes;
  }
  static Sums start(int32_t value) {
    Sums sums;
    for (int32_t& lane : sums.lane) lane = value;
    return sums;
  }
  static void add(Sums& sums, const Bytes& weights, const uint8_t* x) {
    int16_t q[4];  // columns 0, 2, 1, 3
    std::memcpy(q, x, sizeof(q));
    for (int i = 0; i < kLanes; i++) {
      const uint8_t* w = weights.byte + 4 * i;
      sums.lane[i] += (w[0] * q[0] + w[2] * q[1]) + (w[1] * q[2] + w[3] * q[3]);
    }
  }
  static Float total(const Sums& sums) {
    Float total;
    for (int i = 0; i < kLanes; i++) total.lane[i] = static_cast<float>(sums.lane[i]);
    return total;
  }
  static Float float32s(const float* from) {
    Float scales;
    std::memcpy(scales.lane, from, sizeof(scales.lane));
    return scales;
  }
  static Float float16s(const uint16_t* from) {
    Float scales;
    for (int i = 0; i < kLanes; i++) scales.lane[i] = float16_of(from[i]);
    return scales;
  }
  static Float bfloat16s(const uint16_t* from) {
    Float scales;
    for (int i = 0; i < kLanes; i++) scales.lane[i] = scale_of(from[i]);
    return scales;
  }
  static Float bytes(const uint8_t* from) {
    Float values;
    for (int i = 0; i < kLanes; i++) values.lane[i] = from[i];
    return values;
  }
  static Float signed_bytes(const uint8_t* from) {
    Float values;
    for (int i = 0; i < kLanes; i++) values.lane[i] = static_cast<int8_t>(from[i]);
    return values;
  }
  static Float minus(Float sum, const Float& a, float b) {
    for (int i = 0; i < kLanes; i++) sum.lane[i] -= a.lane[i] * b;
    return sum;
  }
  static Float add_scaled(Float total, const Float& sum, const Float& scale, float x_scale) {
    for (int i = 0; i < kLanes; i++) total.lane[i] += sum.lane[i] * scale.lane[i] * x_scale;
    return total;
  }
  static void store(float* to, const Float& values) { std::memcpy(to, values.lane, sizeof(values.lane)); }
};

}  // namespace

#if defined(__x86_64__)
extern const QuantisedForm kAvx512VnniForm, kAvx512Form, kAvx2Form;
extern const QuantisedForm* const kAvxVnniForm;
#endif

namespace {

constexpr QuantisedForm kPortableForm = make_form<Portable>("portable");

constexpr int kMostForms = 5;

#if defined(__x86_64__)
// Compilers before g++ 11 have no name for it.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}
#endif

struct Forms {
  const QuantisedForm* list[kMostForms];  // the fastest first
  int count = 0;

  Forms() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
    unsigned a = 0, b = 0, c = 0, d = 0;
    const bool avx_vnni = avx2 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
    if (avx512 && __builtin_cpu_supports("avx512vnni")) add(&kAvx512VnniForm);
    if (avx_vnni && kAvxVnniForm) add(kAvxVnniForm);
    if (avx512) add(&kAvx512Form);
    if (avx2) add(&kAvx2Form);
#endif
    add(&kPortableForm);
  }
  void add(const QuantisedForm* form) { list[count++] = form; }
};

const Forms& forms() {
  static const Forms forms;
  return forms;
}

}  // namespace

const QuantisedForm& quantised_form() {
  const Forms& all = forms();
  const char* wanted = std::getenv("SDA_ISA");
  for (int i = 0; wanted && i < all.count; i++)
    if (!std::strcmp(all.list[i]->name, wanted)) return *all.list[i];
  return *all.list[0];
}

std::vector<const char*> quantised_form_names() {
  std::vector<const char*> names;
  for (int i = 0; i < forms().count; i++) names.push_back(forms().list[i]->name);
  return names;
}

}  // namespace sda
