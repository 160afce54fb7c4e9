// The sparse decoder: each token's active latents times their rows, in the order and with the roundings of the CPU.

#include "common.cuh"

// A thread takes a column of a token: `out = bias + sum of value / divisor * (W where rank >= cut)`.
template <class W, class R>
__device__ void decode(const u64* offsets, const u32* indices, const float* values, const W* weight, const R* ranks,
                       u32 cut, const float* bias, const float* divisors, u32 d_in, float* out) {
    u32 column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= d_in) return;
    u64 token = blockIdx.y;
    float sum = bias[column];
    // Rows are fetched ahead of the sum that waits for them.
#pragma unroll 4
    for (u64 at = offsets[token]; at < offsets[token + 1]; at++) {
        u64 latent = indices[at];
        float value = divisors ? values[at] / divisors[latent] : values[at];
        sum = fmaf(kept(weight, ranks, cut, latent * d_in + column), value, sum);
    }
    out[token * d_in + column] = sum;
}

#define ENTRY(NAME, W, R)                                                                                              \
    extern "C" __global__ void decode_##NAME(const u64* offsets, const u32* indices, const float* values,              \
                                             const W* weight, const R* ranks, u32 cut, const float* bias,              \
                                             const float* divisors, u32 d_in, float* out) {                            \
        decode(offsets, indices, values, weight, ranks, cut, bias, divisors, d_in, out);                               \
    }
FOR_WEIGHTS_AND_RANKS(ENTRY)
#undef ENTRY
