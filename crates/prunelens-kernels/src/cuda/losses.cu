// Cross-entropy and Kullback-Leibler divergence of rows of logits, read as they are stored; no softmax is ever written.

#include "common.cuh"

// The logarithm of the sum of exponentials of a row, in every thread.
template <class T>
__device__ double log_sum_exp(const T* row, u64 width) {
    __shared__ float of_warp[WARP];
    float max = -INFINITY;
    for (u64 at = threadIdx.x; at < width; at += blockDim.x) max = fmaxf(max, widen(row[at]));
    for (u32 step = WARP / 2; step > 0; step /= 2) max = fmaxf(max, __shfl_down_sync(ALL_LANES, max, step));
    __syncthreads();
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = max;
    __syncthreads();
    max = of_warp[0];
    for (u32 warp = 1; warp < blockDim.x / WARP; warp++) max = fmaxf(max, of_warp[warp]);
    // A thread adds a few hundred terms in f32; across threads the sum is wider, so a large vocabulary loses no digits.
    float sum = 0.0f;
    for (u64 at = threadIdx.x; at < width; at += blockDim.x) sum += expf(widen(row[at]) - max);
    return (double)max + log(block_sum((double)sum));
}

// For each row: the divergence of q from p, and the cross-entropy of the target under each. A row without a target
// (beyond the vocabulary) has a cross-entropy of zero. Rows of q are `step` apart; at 0 one stands for all. `out` has
// three numbers a row.
template <class T>
__device__ void losses(const T* p, const T* q, const u32* targets, u64 width, u64 step, float* out) {
    p += blockIdx.x * width;
    q += blockIdx.x * step;
    double p_lse = log_sum_exp(p, width);
    double q_lse = log_sum_exp(q, width);
    float shift_p = (float)p_lse;
    float shift_q = (float)q_lse;
    float sum = 0.0f;
    for (u64 at = threadIdx.x; at < width; at += blockDim.x) {
        float log_p = widen(p[at]) - shift_p;
        sum = fmaf(expf(log_p), log_p - (widen(q[at]) - shift_q), sum);
    }
    double total = block_sum((double)sum);
    if (threadIdx.x != 0) return;
    u32 target = targets[blockIdx.x];
    float* row = out + 3 * (u64)blockIdx.x;
    row[0] = (float)total;
    row[1] = target < width ? (float)(p_lse - widen(p[target])) : 0.0f;
    row[2] = target < width ? (float)(q_lse - widen(q[target])) : 0.0f;
}

#define ENTRY(NAME, T)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(1024) losses_##NAME(const T* p, const T* q, const u32* targets,       \
                                                                     u64 width, u64 step, float* out) {                \
        losses(p, q, targets, width, step, out);                                                                       \
    }
FOR_WEIGHTS(ENTRY)
#undef ENTRY
