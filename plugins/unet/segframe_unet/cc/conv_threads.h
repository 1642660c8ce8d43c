// Convolutions on the threads of TensorFlow, for conv_op.cc.
#ifndef SEGFRAME_CONV_THREADS_H_
#define SEGFRAME_CONV_THREADS_H_

#include <atomic>
#include <memory>
#include <new>

#include "conv.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/util/work_sharder.h"

namespace segframe {
namespace {

using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

// A thread's own memory, kept: mapping it anew costs about as much as what is computed in it.
float* Scratch(int64_t floats) {
  static thread_local std::unique_ptr<float[]> memory;
  static thread_local int64_t size = 0;
  constexpr int64_t kLine = 16;
  if (size < floats + kLine) {
    memory.reset();
    size = 0;
    memory.reset(new (std::nothrow) float[floats + kLine]);
    if (memory == nullptr) return nullptr;
    size = floats + kLine;
  }
  return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory.get()) + 63) / 64 * 64);
}

// Deals out the tasks, each thread with scratch of its own.
template <typename Work>
void OnThreads(OpKernelContext* context, int64_t tasks, int64_t task_flops, int64_t scratch_floats, const Work& work) {
  constexpr int64_t kFlopsPerCycle = 32;
  const auto* pool = context->device()->tensorflow_cpu_worker_threads();
  std::atomic<bool> no_memory = false;
  tensorflow::Shard(pool->num_threads, pool->workers, tasks, task_flops / kFlopsPerCycle,
                    [&](int64_t first, int64_t last) {
                      float* scratch = Scratch(scratch_floats);
                      if (scratch) work(scratch, first, last);
                      else no_memory = true;
                    });
  OP_REQUIRES(context, !no_memory,
              tensorflow::errors::ResourceExhausted("segframe conv: no memory for ", scratch_floats * 4,
                                                    " bytes a thread"));
}

// Threads' work on one convolution.
void Convolve(OpKernelContext* context, const ConvCode& code, const Conv& conv, const ConvImages& images,
              const float* filters, const ConvFinish& finish, float* out) {
  const ConvPlan plan = code.plan(conv, context->device()->tensorflow_cpu_worker_threads()->num_threads);
  Tensor memory;
  OP_REQUIRES_OK(context, context->allocate_temp(tensorflow::DT_FLOAT, TensorShape({plan.shared_floats}), &memory));
  float* shared = memory.flat<float>().data();
  OnThreads(context, plan.share_tasks, plan.shared_floats / plan.share_tasks * 16, plan.scratch_floats,
            [&](float* scratch, int64_t first, int64_t last) {
              code.share(conv, plan, images, filters, shared, scratch, first, last);
            });
  if (!context->status().ok()) return;
  OnThreads(context, plan.tasks, plan.task_flops, plan.scratch_floats,
            [&](float* scratch, int64_t first, int64_t last) {
              code.run(conv, plan, images, filters, shared, finish, scratch, out, first, last);
            });
}

}  // namespace
}  // namespace segframe

#endif  // SEGFRAME_CONV_THREADS_H_
