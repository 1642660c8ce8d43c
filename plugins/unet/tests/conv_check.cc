// Every instruction set's code of cc/conv.h, as far as this processor has it, against the definition in double.
//     g++ -I cc conv_check.cc conv_Base.o conv_Avx2.o conv_Avx512.o && ./a.out     says "right" and ends with 0
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "conv.h"

using segframe::Conv;
using segframe::ConvCode;
using segframe::ConvKind;

namespace {

// 64-byte aligned, with a guard behind it that must not be written on.
struct Floats {
  int64_t size;
  float* data;
  explicit Floats(int64_t count, unsigned seed = 0) : size(count) {
    data = static_cast<float*>(std::aligned_alloc(64, (count + 32) * 4 / 64 * 64 + 64));
    unsigned state = seed * 2654435761u + 1;
    for (int64_t i = 0; i < count; ++i) {
      state = state * 1664525u + 1013904223u;
      data[i] = seed ? static_cast<float>(state >> 8) / (1 << 23) - 1 : NAN;
    }
    for (int64_t i = count; i < count + 16; ++i) data[i] = 12345;
  }
  Floats(const Floats&) = delete;
  ~Floats() { std::free(data); }
  bool whole() const {
    for (int64_t i = size; i < size + 16; ++i)
      if (data[i] != 12345) return false;
    return true;
  }
};

int64_t Weight(const Conv& c, bool out_is_last, int tap, int64_t in, int64_t out) {
  return out_is_last ? (tap * c.in + in) * c.out + out : (tap * c.out + out) * c.in + in;
}

// Calls use(pixel that comes in, pixel that goes out, tap) for all that meet.
template <typename Use>
void Meetings(const Conv& c, int64_t height, int64_t width, const Use& use) {
  for (int64_t image = 0; image < c.batch; ++image)
    for (int64_t y = 0; y < c.height; ++y)
      for (int64_t x = 0; x < c.width; ++x)
        for (int tap = 0; tap < 9; ++tap) {
          const int64_t r = tap / 3, s = tap % 3;
          int64_t oy, ox;
          switch (c.kind) {
            case ConvKind::kSame: oy = y + 1 - r, ox = x + 1 - s; break;
            case ConvKind::kSameBack: oy = y - 1 + r, ox = x - 1 + s; break;
            case ConvKind::kDouble: oy = 2 * y - 1 + r, ox = 2 * x - 1 + s; break;
            default:
              if ((y + 1 - r) % 2 || (x + 1 - s) % 2) continue;
              oy = (y + 1 - r) / 2, ox = (x + 1 - s) / 2;
          }
          if (oy < 0 || oy >= height || ox < 0 || ox >= width) continue;
          use((image * c.height + y) * c.width + x, (image * height + oy) * width + ox, tap);
        }
}

double Error(const Floats& found, const std::vector<double>& exact) {
  double largest = 0, squares = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double error = std::abs(found.data[i] - exact[i]);
    if (!(error <= largest)) largest = error;  // NaN stays
    squares += exact[i] * exact[i];
  }
  return largest / std::sqrt(squares / exact.size());
}

bool Check(const ConvCode& code, const Conv& c, int threads) {
  const int64_t height = c.kind == ConvKind::kDouble ? 2 * c.height
                         : c.kind == ConvKind::kDoubleBack ? c.height / 2 : c.height;
  const int64_t width = c.kind == ConvKind::kDouble ? 2 * c.width
                        : c.kind == ConvKind::kDoubleBack ? c.width / 2 : c.width;
  const bool out_is_last = c.kind == ConvKind::kSame || c.kind == ConvKind::kDoubleBack;
  Floats images(c.batch * c.height * c.width * c.in, 1), filters(9 * c.in * c.out, 2);
  Floats out(c.batch * height * width * c.out);
  std::vector<double> exact(out.size, 0);
  Meetings(c, height, width, [&](int64_t from, int64_t to, int tap) {
    for (int64_t i = 0; i < c.in; ++i)
      for (int64_t o = 0; o < c.out; ++o)
        exact[to * c.out + o] += static_cast<double>(images.data[from * c.in + i]) *
                                 filters.data[Weight(c, out_is_last, tap, i, o)];
  });
  const auto plan = code.plan(c, threads);
  Floats shared(plan.shared_floats), scratch(plan.scratch_floats);
  // Backwards and one by one: no task may rely on another's.
  for (int64_t task = plan.share_tasks; task-- > 0;)
    code.share(c, plan, images.data, filters.data, shared.data, scratch.data, task, task + 1);
  for (int64_t task = plan.tasks; task-- > 0;)
    code.run(c, plan, images.data, filters.data, shared.data, scratch.data, out.data, task, task + 1);
  double error = Error(out, exact);
  bool whole = shared.whole() && scratch.whole() && out.whole();
  bool same = true;  // bits, of an image by itself
  for (int64_t image = 0; image < c.batch; ++image) {
    Conv one = c;
    one.batch = 1;
    const auto own_plan = code.plan(one, threads);
    Floats own_shared(own_plan.shared_floats), own_scratch(own_plan.scratch_floats), own_out(out.size / c.batch);
    const float* own_image = images.data + image * (images.size / c.batch);
    code.share(one, own_plan, own_image, filters.data, own_shared.data, own_scratch.data, 0, own_plan.share_tasks);
    code.run(one, own_plan, own_image, filters.data, own_shared.data, own_scratch.data, own_out.data, 0,
             own_plan.tasks);
    same = same && std::memcmp(own_out.data, out.data + image * own_out.size, own_out.size * 4) == 0;
  }

  if (c.kind == ConvKind::kSame || c.kind == ConvKind::kDouble) {
    Floats upstream(out.size, 3), gradient(filters.size);
    std::vector<double> expected(filters.size, 0);
    Meetings(c, height, width, [&](int64_t from, int64_t to, int tap) {
      for (int64_t i = 0; i < c.in; ++i)
        for (int64_t o = 0; o < c.out; ++o)
          expected[Weight(c, out_is_last, tap, i, o)] +=
              static_cast<double>(images.data[from * c.in + i]) * upstream.data[to * c.out + o];
    });
    const auto filters_plan = code.plan_filters(c);
    Floats sums(filters_plan.tasks * filters_plan.block_floats), own(filters_plan.scratch_floats);
    for (int64_t task = filters_plan.tasks; task-- > 0;)
      code.sum_filters(c, filters_plan, images.data, upstream.data, sums.data, own.data, task, task + 1);
    for (int64_t row = filters_plan.rows; row-- > 0;)
      code.finish_filters(c, filters_plan, sums.data, gradient.data, row, row + 1);
    const double other = Error(gradient, expected);
    if (!(other <= error)) error = other;
    whole = whole && sums.whole() && own.whole() && gradient.whole();
  }
  const bool right = error < 1e-4 && whole && same;
  if (!right)
    std::printf("%s kind %d, %ld x %ld x %ld, %ld -> %ld, %d threads: error %g%s%s\n", code.name,
                static_cast<int>(c.kind), static_cast<long>(c.batch), static_cast<long>(c.height),
                static_cast<long>(c.width), static_cast<long>(c.in), static_cast<long>(c.out), threads, error,
                whole ? "" : ", written outside", same ? "" : ", other bits alone");
  return right;
}

}  // namespace

int main() {
  std::vector<const ConvCode*> codes = {segframe::ConvBase()};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) codes.push_back(segframe::ConvAvx2());
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"))
    codes.push_back(segframe::ConvAvx512());
#endif
  const int64_t shapes[][5] = {{1, 1, 1, 16, 16},  {2, 3, 5, 16, 48},   {1, 9, 14, 48, 80}, {3, 8, 8, 144, 32},
                               {1, 5, 2, 32, 208}, {1, 41, 26, 16, 16}, {2, 20, 4, 64, 96}, {7, 12, 9, 32, 48}};
  bool right = true;
  int tried = 0;
  for (const ConvCode* code : codes)
    for (auto kind : {ConvKind::kSame, ConvKind::kSameBack, ConvKind::kDouble, ConvKind::kDoubleBack})
      for (const auto& s : shapes)
        for (int threads : {1, 7}) {
          const int64_t times = kind == ConvKind::kDoubleBack ? 2 : 1;
          right = Check(*code, {kind, s[0], s[1] * times, s[2] * times, s[3], s[4]}, threads) && right;
          ++tried;
        }
  std::printf("%s: %d cases of", right ? "right" : "wrong", tried);
  for (const ConvCode* code : codes) std::printf(" %s", code->name);
  std::printf("\n");
  return right ? 0 : 1;
}
