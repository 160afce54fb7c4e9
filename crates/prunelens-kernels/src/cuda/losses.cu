// Cross-entropy and Kullback-Leibler divergence of rows of logits, read once and as they are stored: sums of exponentials are
// taken over the largest number so far, and corrected where a larger one comes. No softmax and no capped copy is ever written.

#include "common.cuh"

// Below every logit but minus infinity, whose exponential is then zero.
constexpr float LOWEST = -3.402823466e38f;

__device__ __forceinline__ float capped(float logit, float cap) { return cap > 0.0f ? cap * tanhf(logit / cap) : logit; }

// What a thread has found in its part of two rows.
struct Found {
    float p_max = LOWEST;
    float q_max = LOWEST;
    // Of e^(p - p_max) and e^(q - q_max).
    float p_sum = 0.0f;
    float q_sum = 0.0f;
    // p - q of the likeliest token under p: rows may lie any distance apart and say the same.
    float apart = 0.0f;
    // Of e^(p - p_max) (p - q - apart).
    float between = 0.0f;
};

// Logits are fetched `N` at a time, of which the width is then a multiple. Without `p` only `q` is read. A thread adds a few
// hundred terms in f32; across threads the sums are wider, so that a large vocabulary loses no digits.
template <u32 N, class T>
__device__ Found read(const T* p, const T* q, u64 width, float cap) {
    Found found;
    for (u64 at = threadIdx.x * N; at < width; at += blockDim.x * N) {
        float others[N];
        Several<T, N> stored = several<N>(q, at);
        float top = LOWEST;
        for (u32 i = 0; i < N; i++) {
            others[i] = capped(widen(stored.at[i]), cap);
            top = fmaxf(top, others[i]);
        }
        if (top > found.q_max) {
            found.q_sum *= expf(found.q_max - top);
            found.q_max = top;
        }
        for (u32 i = 0; i < N; i++) found.q_sum += expf(others[i] - found.q_max);
        if (!p) continue;
        float numbers[N];
        stored = several<N>(p, at);
        top = LOWEST;
        float apart = 0.0f;
        for (u32 i = 0; i < N; i++) {
            numbers[i] = capped(widen(stored.at[i]), cap);
            if (numbers[i] > top) apart = numbers[i] - others[i];
            top = fmaxf(top, numbers[i]);
        }
        if (top > found.p_max) {
            float factor = expf(found.p_max - top);
            found.between = factor * fmaf(found.p_sum, found.apart - apart, found.between);
            found.p_sum *= factor;
            found.p_max = top;
            found.apart = apart;
        }
        for (u32 i = 0; i < N; i++) {
            float weight = expf(numbers[i] - found.p_max);
            found.p_sum += weight;
            found.between = fmaf(weight, numbers[i] - others[i] - found.apart, found.between);
        }
    }
    return found;
}

// For each row: the divergence of q from p, and the cross-entropy of the target under each. A row without a target
// (beyond the vocabulary) has a cross-entropy of zero; without `p` so has what compares with it. Rows of q are `step` apart;
// at 0 one stands for all. A cap above zero is put on every logit. `out` has three numbers a row.
template <class T>
__device__ void losses(const T* p, const T* q, const u32* targets, u64 width, u64 step, u32 cap_bits, float* out) {
    constexpr u32 N = 16 / sizeof(T);
    float cap = __uint_as_float(cap_bits);
    if (p) p += blockIdx.x * width;
    q += blockIdx.x * step;
    Found found = width % N == 0 ? read<N>(p, q, width, cap) : read<1>(p, q, width, cap);
    float p_max = block_max(found.p_max);
    float q_max = block_max(found.q_max);
    double of_p = expf(found.p_max - p_max);
    double p_sum = block_sum(of_p * found.p_sum);
    double between = block_sum(of_p * (found.between + (double)found.apart * found.p_sum));
    double q_sum = block_sum((double)expf(found.q_max - q_max) * found.q_sum);
    if (threadIdx.x != 0) return;
    u32 target = targets[blockIdx.x];
    float* row = out + 3 * (u64)blockIdx.x;
    double p_lse = p_max + log(p_sum);
    double q_lse = q_max + log(q_sum);
    row[0] = p ? (float)(between / p_sum - p_lse + q_lse) : 0.0f;
    row[1] = p && target < width ? (float)(p_lse - capped(widen(p[target]), cap)) : 0.0f;
    row[2] = target < width ? (float)(q_lse - capped(widen(q[target]), cap)) : 0.0f;
}

#define ENTRY(NAME, T)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(512) losses_##NAME(const T* p, const T* q, const u32* targets,        \
                                                                    u64 width, u64 step, u32 cap, float* out) {        \
        losses(p, q, targets, width, step, cap, out);                                                                  \
    }
FOR_WEIGHTS(ENTRY)
#undef ENTRY
