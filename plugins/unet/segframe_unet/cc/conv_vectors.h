// What a register holds, for conv_cpu.cc and the instruction set that it is compiled for.
#ifndef SEGFRAME_CONV_VECTORS_H_
#define SEGFRAME_CONV_VECTORS_H_

#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace segframe {
namespace {

// Floats of a register; rows of the matrix product's inner kernel, which with two registers of columns each, and
// one row of the other matrix, are what there is of registers.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kRows = 12;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRows = 6;
#else
constexpr int kLanes = 4, kRows = 6;
#endif
constexpr int kWide = 2 * kLanes;  // columns of a panel

typedef float Vec __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

inline Vec Load(const float* from) { return *reinterpret_cast<const Vec*>(from); }
inline void Store(float* to, Vec value) { *reinterpret_cast<Vec*>(to) = value; }

// Past the cache, at a multiple of its own size: a store in it has the memory's line read first.
inline void Stream(float* to, Vec value) {
#if defined(__AVX512F__)
  _mm512_stream_ps(to, reinterpret_cast<__m512>(value));
#elif defined(__AVX__)
  _mm256_stream_ps(to, reinterpret_cast<__m256>(value));
#elif defined(__SSE2__)
  _mm_stream_ps(to, reinterpret_cast<__m128>(value));
#else
  Store(to, value);
#endif
}

// sum + left * right, rounded once where the processor can. Said, as a compiler may choose one way here and the other
// there, and the rows that are left over would have other bits than those before.
inline Vec Fused(Vec sum, float left, Vec right) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec>(
      _mm512_fmadd_ps(_mm512_set1_ps(left), reinterpret_cast<__m512>(right), reinterpret_cast<__m512>(sum)));
#elif defined(__FMA__)
  return reinterpret_cast<Vec>(
      _mm256_fmadd_ps(_mm256_set1_ps(left), reinterpret_cast<__m256>(right), reinterpret_cast<__m256>(sum)));
#else
  return sum + left * right;
#endif
}

inline Vec Fused(Vec sum, Vec left, Vec right) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec>(_mm512_fmadd_ps(reinterpret_cast<__m512>(left), reinterpret_cast<__m512>(right),
                                               reinterpret_cast<__m512>(sum)));
#elif defined(__FMA__)
  return reinterpret_cast<Vec>(_mm256_fmadd_ps(reinterpret_cast<__m256>(left), reinterpret_cast<__m256>(right),
                                               reinterpret_cast<__m256>(sum)));
#else
  return sum + left * right;
#endif
}

inline int64_t Min(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t UpTo(int64_t a, int64_t b) { return (a + b - 1) / b; }

// An odd number of cache lines, so that the rows of a matrix do not meet in the same places of a cache.
inline int64_t Odd(int64_t floats) { return floats / 16 % 2 ? floats : floats + 16; }

}  // namespace
}  // namespace segframe

#endif  // SEGFRAME_CONV_VECTORS_H_
