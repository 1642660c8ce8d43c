// The CUDA copies by themselves, every byte checked, for NVIDIA's memory checker (TensorFlow's allocator would
// hide what is read or written beside a tensor):
//   nvcc -std=c++17 -I plugins/unet/segframe_unet/cc plugins/unet/tests/concat_cuda_check.cu \
//        plugins/unet/segframe_unet/cc/concat_cuda.cu -o check
//   compute-sanitizer ./check && compute-sanitizer --tool racecheck ./check
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "concat.h"

namespace {

// Memory to the end of its last 16 bytes, as TensorFlow's allocators give it; `skew` bytes off an aligned address.
struct Buffer {
  char* base = nullptr;
  char* data = nullptr;
  int64_t bytes;
  Buffer(int64_t size, int skew) : bytes(size) {
    if (cudaMalloc(&base, (size + skew + 15) / 16 * 16 + 16) != cudaSuccess) std::exit(2);
    data = base + skew;
  }
  Buffer(const Buffer&) = delete;
  ~Buffer() { cudaFree(base); }
  void Fill(const std::vector<char>& from) { cudaMemcpy(data, from.data(), bytes, cudaMemcpyHostToDevice); }
  std::vector<char> Read() const {
    std::vector<char> to(bytes);
    cudaMemcpy(to.data(), data, bytes, cudaMemcpyDeviceToHost);
    return to;
  }
};

bool Check(std::mt19937& random, const std::vector<int64_t>& row_bytes, int64_t rows, int skew) {
  segframe::Layout layout;
  layout.parts = static_cast<int>(row_bytes.size());
  layout.rows = rows;
  for (int i = 0; i < layout.parts; ++i) layout.row_bytes[i] = row_bytes[i];
  segframe::SetOffsets(&layout);
  const int64_t width = layout.offset[layout.parts];
  std::vector<char> expected(layout.whole_bytes());
  for (char& byte : expected) byte = static_cast<char>(random());
  Buffer whole(layout.whole_bytes(), skew);
  std::vector<Buffer*> parts;
  std::vector<std::vector<char>> values;
  std::vector<char*> targets;
  std::vector<const char*> sources;
  for (int i = 0; i < layout.parts; ++i) {
    std::vector<char> value;
    for (int64_t row = 0; row < rows; ++row) {
      const auto from = expected.begin() + row * width + layout.offset[i];
      value.insert(value.end(), from, from + row_bytes[i]);
    }
    parts.push_back(new Buffer(rows * row_bytes[i], skew * (i % 2)));
    parts.back()->Fill(value);
    values.push_back(value);
    targets.push_back(parts.back()->data);
    sources.push_back(parts.back()->data);
  }
  const char* problem = segframe::ConcatCuda(layout, sources.data(), whole.data, nullptr);
  bool right = !problem && whole.Read() == expected;
  for (Buffer* part : parts) cudaMemset(part->data, 0, part->bytes);
  whole.Fill(expected);
  if (!problem) problem = segframe::SplitCuda(layout, whole.data, targets.data(), nullptr);
  for (int i = 0; i < layout.parts; ++i) right = right && parts[i]->Read() == values[i];
  for (Buffer* part : parts) delete part;
  if (problem || !right) {
    std::printf("WRONG: %s, rows %lld, skew %d, bytes", problem ? problem : "values", (long long)rows, skew);
    for (int64_t bytes : row_bytes) std::printf(" %lld", (long long)bytes);
    std::printf("\n");
  }
  return !problem && right;
}

}  // namespace

int main() {
  std::mt19937 random(0);
  int wrong = 0, cases = 0;
  const int64_t sizes[] = {0, 2, 4, 6, 8, 14, 16, 18, 30, 32, 34, 64, 66, 126, 128, 252, 256, 510, 4098, 70002};
  for (int i = 0; i < 400; ++i) {
    std::vector<int64_t> row_bytes(2 + random() % 7);
    for (int64_t& bytes : row_bytes) bytes = sizes[random() % (i % 4 ? 18 : 20)];
    if (i % 20 == 1) row_bytes = {0, int64_t{16} << i / 20 % 4, 0};  // one part, and nothing beside it
    if (i % 3 == 0)
      for (int64_t& bytes : row_bytes) bytes = (bytes + 15) / 16 * 16;
    const int skews[] = {0, 0, 2, 8, 16};
    wrong += !Check(random, row_bytes, 1 + random() % (i % 10 ? 40 : 2000), skews[random() % 5]);
    ++cases;
  }
  std::printf("%d of %d cases right\n", cases - wrong, cases);
  return wrong != 0;
}
