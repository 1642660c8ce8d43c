// Every instruction set's code of cc/conv.h, as far as this processor has it, against the definition in double.
//     g++ -I cc conv_check.cc conv_Base.o conv_Avx2.o conv_Avx512.o && ./a.out     says "right" and ends with 0
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "conv.h"

using segframe::Conv;
using segframe::ConvCode;
using segframe::ConvFinish;
using segframe::ConvImages;
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
            case ConvKind::kSubpixel:
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

// (3, 3, in, 4 * out): no first tap where a pixel's row or column is odd.
void LeaveOutTaps(const Conv& c, float* filters) {
  for (int tap = 0; tap < 9; ++tap)
    for (int64_t in = 0; in < c.in; ++in)
      for (int64_t out = 0; out < c.out; ++out) {
        const int64_t pixel = out / (c.out / 4);
        if ((pixel >= 2 && tap < 3) || (pixel % 2 && tap % 3 == 0)) filters[(tap * c.in + in) * c.out + out] = 0;
      }
}

// (batch, height, width, 4 * out) to (batch, 2 * height, 2 * width, out).
std::vector<double> FourPixels(const Conv& c, const std::vector<double>& maps) {
  std::vector<double> found(maps.size());
  const int64_t channels = c.out / 4;
  for (int64_t line = 0; line < c.batch * c.height; ++line)
    for (int64_t x = 0; x < c.width; ++x)
      for (int64_t pixel = 0; pixel < 4; ++pixel)
        for (int64_t k = 0; k < channels; ++k)
          found[((2 * line + pixel / 2) * 2 * c.width + 2 * x + pixel % 2) * channels + k] =
              maps[(line * c.width + x) * c.out + pixel * channels + k];
  return found;
}

// Channels first..last-1 of the images.
void CopyChannels(const Floats& from, int64_t channels, int64_t first, int64_t last, float* to) {
  for (int64_t pixel = 0; pixel < from.size / channels; ++pixel)
    for (int64_t k = first; k < last; ++k) to[pixel * (last - first) + k - first] = from.data[pixel * channels + k];
}

bool Check(const ConvCode& code, const Conv& c, int threads, bool finishes) {
  const int64_t height = c.kind == ConvKind::kDouble ? 2 * c.height
                         : c.kind == ConvKind::kDoubleBack ? c.height / 2 : c.height;
  const int64_t width = c.kind == ConvKind::kDouble ? 2 * c.width
                        : c.kind == ConvKind::kDoubleBack ? c.width / 2 : c.width;
  const bool subpixel = c.kind == ConvKind::kSubpixel;
  const bool out_is_last = c.kind == ConvKind::kSame || c.kind == ConvKind::kDoubleBack || subpixel;
  Floats images(c.batch * c.height * c.width * c.in, 1), filters(9 * c.in * c.out, 2);
  if (subpixel) LeaveOutTaps(c, filters.data);
  Floats out(c.batch * height * width * c.out);
  std::vector<double> exact(out.size, 0);
  Meetings(c, height, width, [&](int64_t from, int64_t to, int tap) {
    for (int64_t i = 0; i < c.in; ++i)
      for (int64_t o = 0; o < c.out; ++o)
        exact[to * c.out + o] += static_cast<double>(images.data[from * c.in + i]) *
                                 filters.data[Weight(c, out_is_last, tap, i, o)];
  });
  if (subpixel) exact = FourPixels(c, exact);
  const int64_t channels = subpixel ? c.out / 4 : c.out;
  Floats subtract(channels, 4), multiply(channels, 5), add(channels, 6);
  ConvFinish finish = {};
  if (finishes) {
    finish = {subtract.data, multiply.data, add.data, true};
    for (size_t i = 0; i < exact.size(); ++i) {
      const int64_t k = i % channels;
      exact[i] = (exact[i] - subtract.data[k]) * multiply.data[k] + add.data[k];
      if (exact[i] < 0) exact[i] = 0;
    }
  } else if (c.kind == ConvKind::kSame) {
    finish.add = add.data;
    for (size_t i = 0; i < exact.size(); ++i) exact[i] += add.data[i % channels];
  }
  // In two parts where there are enough channels.
  const int64_t first_part = c.in > 16 && finishes ? 16 : c.in;
  Floats one(images.size / c.in * first_part), other(images.size - one.size);
  CopyChannels(images, c.in, 0, first_part, one.data);
  CopyChannels(images, c.in, first_part, c.in, other.data);
  const int64_t pixels = c.height * c.width;
  const auto parts_of = [&](int64_t image) {
    const int64_t rest = c.in - first_part;
    return ConvImages{rest ? 2 : 1, {one.data + image * pixels * first_part, other.data + image * pixels * rest},
                      {first_part, rest}};
  };
  const auto plan = code.plan(c, threads);
  Floats shared(plan.shared_floats), scratch(plan.scratch_floats);
  // Backwards and one by one: no task may rely on another's.
  for (int64_t task = plan.share_tasks; task-- > 0;)
    code.share(c, plan, parts_of(0), filters.data, shared.data, scratch.data, task, task + 1);
  for (int64_t task = plan.tasks; task-- > 0;)
    code.run(c, plan, parts_of(0), filters.data, shared.data, finish, scratch.data, out.data, task, task + 1);
  double error = Error(out, exact);
  bool whole = shared.whole() && scratch.whole() && out.whole();
  bool same = true;  // bits, of an image by itself
  for (int64_t image = 0; image < c.batch; ++image) {
    Conv alone = c;
    alone.batch = 1;
    const auto own_plan = code.plan(alone, threads);
    Floats own_shared(own_plan.shared_floats), own_scratch(own_plan.scratch_floats), own_out(out.size / c.batch);
    const ConvImages own = parts_of(image);
    code.share(alone, own_plan, own, filters.data, own_shared.data, own_scratch.data, 0, own_plan.share_tasks);
    code.run(alone, own_plan, own, filters.data, own_shared.data, finish, own_scratch.data, own_out.data, 0,
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
  const bool right = error < (finishes ? 2e-4 : 1e-4) && whole && same;
  if (!right)
    std::printf("%s kind %d, %ld x %ld x %ld, %ld -> %ld, %d threads: error %g%s%s\n", code.name,
                static_cast<int>(c.kind), static_cast<long>(c.batch), static_cast<long>(c.height),
                static_cast<long>(c.width), static_cast<long>(c.in), static_cast<long>(c.out), threads, error,
                whole ? "" : ", written outside", same ? "" : ", other bits alone");
  return right;
}

// kDouble and kSame against kSubpixel with the composed filters, everywhere but in the first row and column.
bool CheckComposition(const ConvCode& code, int64_t in, int64_t middle, int64_t out) {
  const int64_t height = 6, width = 9;
  Floats images(height * width * in, 1), doubling(9 * middle * in, 2), filters(9 * middle * out, 3);
  const Conv first = {ConvKind::kDouble, 1, height, width, in, middle};
  const Conv second = {ConvKind::kSame, 1, 2 * height, 2 * width, middle, out};
  const auto meet = [](const Conv& c, bool out_is_last, const Floats& weights, const std::vector<double>& maps) {
    const int64_t times = c.kind == ConvKind::kDouble ? 2 : 1;
    std::vector<double> found(times * c.height * times * c.width * c.out, 0);
    Meetings(c, times * c.height, times * c.width, [&](int64_t from, int64_t to, int tap) {
      for (int64_t i = 0; i < c.in; ++i)
        for (int64_t o = 0; o < c.out; ++o)
          found[to * c.out + o] += maps[from * c.in + i] * weights.data[Weight(c, out_is_last, tap, i, o)];
    });
    return found;
  };
  const std::vector<double> of_images(images.data, images.data + images.size);
  const std::vector<double> exact = meet(second, true, filters, meet(first, false, doubling, of_images));
  Floats composed(9 * in * 4 * out), found(exact.size());
  for (int64_t task = in / segframe::kConvChannels; task-- > 0;)
    code.compose({in, middle, out}, doubling.data, filters.data, composed.data, task, task + 1);
  const Conv c = {ConvKind::kSubpixel, 1, height, width, in, 4 * out};
  const auto plan = code.plan(c, 1);
  Floats shared(plan.shared_floats), scratch(plan.scratch_floats);
  const ConvImages parts = {1, {images.data}, {in}};
  code.share(c, plan, parts, composed.data, shared.data, scratch.data, 0, plan.share_tasks);
  code.run(c, plan, parts, composed.data, shared.data, {}, scratch.data, found.data, 0, plan.tasks);
  for (int64_t i = 0; i < found.size; ++i)
    if (i < 2 * width * out || i / out % (2 * width) == 0) found.data[i] = static_cast<float>(exact[i]);
  const double error = Error(found, exact);
  const bool right = error < 1e-4 && composed.whole() && found.whole() && shared.whole() && scratch.whole();
  if (!right)
    std::printf("%s composition %ld, %ld, %ld: error %g\n", code.name, static_cast<long>(in),
                static_cast<long>(middle), static_cast<long>(out), error);
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
    for (auto kind : {ConvKind::kSame, ConvKind::kSameBack, ConvKind::kDouble, ConvKind::kDoubleBack,
                      ConvKind::kSubpixel})
      for (const auto& s : shapes)
        for (int threads : {1, 7}) {
          const int64_t times = kind == ConvKind::kDoubleBack ? 2 : 1, pixels = kind == ConvKind::kSubpixel ? 4 : 1;
          const Conv conv = {kind, s[0], s[1] * times, s[2] * times, s[3], s[4] * pixels};
          right = Check(*code, conv, threads, threads > 1) && right;
          ++tried;
        }
  for (const ConvCode* code : codes)
    for (const auto& s : {std::array<int64_t, 3>{16, 16, 16}, {48, 32, 16}, {32, 80, 48}, {16, 64, 128}}) {
      right = CheckComposition(*code, s[0], s[1], s[2]) && right;
      ++tried;
    }
  std::printf("%s: %d cases of", right ? "right" : "wrong", tried);
  for (const ConvCode* code : codes) std::printf(" %s", code->name);
  std::printf("\n");
  return right ? 0 : 1;
}
