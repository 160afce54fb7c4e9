// The sparse decoder: each token's active latents times their rows, in the order and with the roundings of the CPU; and what its
// reconstructions leave of activations.

#include "common.cuh"

constexpr u32 AHEAD = 4;

// A thread takes a column of a token: `out = bias + sum of value / divisor * (W where rank >= cut)`.
template <class W, class R>
__device__ void decode(const u64* spans, const Latent* latents, const W* weight, const R* ranks, u32 cut, const float* bias,
                       const float* divisors, u32 d_in, float* out) {
    u32 column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= d_in) return;
    u64 token = blockIdx.x;
    float sum = bias[column];
    u64 at = spans[2 * token];
    u64 end = spans[2 * token + 1];
    auto factor = [&](Latent one) { return divisors ? one.value / divisors[one.index] : one.value; };
    auto row = [&](Latent one) { return kept(weight, ranks, cut, (u64)one.index * d_in + column); };
    // Some rows are fetched before the sum, which takes one after the other, waits for them.
    for (; at + AHEAD <= end; at += AHEAD) {
        float rows[AHEAD], factors[AHEAD];
#pragma unroll
        for (u32 n = 0; n < AHEAD; n++) {
            Latent one = latents[at + n];
            rows[n] = row(one);
            factors[n] = factor(one);
        }
#pragma unroll
        for (u32 n = 0; n < AHEAD; n++) sum = fmaf(rows[n], factors[n], sum);
    }
    for (; at < end; at++) sum = fmaf(row(latents[at]), factor(latents[at]), sum);
    out[token * d_in + column] = sum;
}

// The gradient by each listed latent of a token from the one by its reconstruction, `g [tokens, d_in]`: a warp multiplies g with the
// latent's row.
template <class W, class R>
__device__ void decode_vjp(const u64* spans, const Latent* latents, const W* weight, const R* ranks, u32 cut,
                           const float* divisors, const float* g, u32 d_in, float* out) {
    u64 token = blockIdx.x;
    const float* of_token = g + token * d_in;
    u64 end = spans[2 * token + 1];
    for (u64 at = spans[2 * token] + threadIdx.x / WARP; at < end; at += blockDim.x / WARP) {
        u32 latent = latents[at].index;
        float sum = 0.0f;
#pragma unroll 4
        for (u32 i = threadIdx.x % WARP; i < d_in; i += WARP)
            sum = fmaf(kept(weight, ranks, cut, (u64)latent * d_in + i), of_token[i], sum);
        sum = warp_sum(sum);
        if (threadIdx.x % WARP == 0) out[at] = divisors ? sum / divisors[latent] : sum;
    }
}

#define ENTRY(NAME, W, R)                                                                                              \
    extern "C" __global__ void decode_##NAME(const u64* spans, const Latent* latents, const W* weight,                 \
                                             const R* ranks, u32 cut, const float* bias, const float* divisors,        \
                                             u32 d_in, float* out) {                                                   \
        decode(spans, latents, weight, ranks, cut, bias, divisors, d_in, out);                                         \
    }                                                                                                                  \
    extern "C" __global__ void decode_vjp_##NAME(const u64* spans, const Latent* latents, const W* weight,             \
                                                 const R* ranks, u32 cut, const float* divisors, const float* g,       \
                                                 u32 d_in, float* out) {                                               \
        decode_vjp(spans, latents, weight, ranks, cut, divisors, g, d_in, out);                                        \
    }
FOR_WEIGHTS_AND_RANKS(ENTRY)
#undef ENTRY

// Of each token's activation x and its reconstruction y: |x - y|^2, |y|^2 and x . y. A block takes a token.
extern "C" __global__ void token_errors(const float* x, const float* y, u32 d_in, double* out) {
    const float* input = x + (u64)blockIdx.x * d_in;
    const float* recon = y + (u64)blockIdx.x * d_in;
    double left = 0.0, size = 0.0, dot = 0.0;
    for (u32 i = threadIdx.x; i < d_in; i += blockDim.x) {
        double a = input[i], b = recon[i];
        left += (a - b) * (a - b);
        size += b * b;
        dot += a * b;
    }
    left = block_sum(left);
    size = block_sum(size);
    dot = block_sum(dot);
    if (threadIdx.x != 0) return;
    double* sums = out + 3 * (u64)blockIdx.x;
    sums[0] = left;
    sums[1] = size;
    sums[2] = dot;
}
