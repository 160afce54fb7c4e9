// The masked encoder: x (W where rank >= cut), bias and scale, and zero where the latent does not fire.
//
// Three ways to the same sum. For a few tokens a warp takes a latent and reads its row once, which runs at the speed of
// memory. For more a block takes a square of latents and tokens through shared memory, so that a weight and its rank are
// fetched once for sixty-four tokens. For many the library multiplies with a masked copy, and `fire` finishes.

#include "common.cuh"

// Tokens that one warp carries.
constexpr u32 FEW = 8;
// Latents and tokens of a square, and how many inputs are staged at a time.
constexpr u32 SIDE = 64;
constexpr u32 DEPTH = 16;
// Each of the threads of a block has 4 x 4 sums, and fetches four weights and four inputs at a time.
constexpr u32 MANY = 256;
constexpr u32 EACH = 4;
constexpr u32 ACROSS = SIDE / EACH;
constexpr u32 STAGED = SIDE * DEPTH / MANY;

// Where a latent fires: above its threshold (if there are any) and above zero.
__device__ __forceinline__ float fired(float sum, u64 latent, const float* bias, const float* scale,
                                       const float* floors) {
    float value = sum + bias[latent];
    if (scale) value *= scale[latent];
    float floor = floors ? fmaxf(floors[latent], 0.0f) : 0.0f;
    return value > floor ? value : 0.0f;
}

// `STEP` neighbouring inputs a lane and turn: four where the width allows, for four travel in one load.
template <u32 STEP, class W, class R>
__device__ __forceinline__ void add_products(const float* x, const W* row, const R* rank, u32 cut, u32 count, u32 d_in,
                                             float* sums) {
#pragma unroll 2
    for (u32 i = threadIdx.x % WARP * STEP; i < d_in; i += WARP * STEP) {
        Several<W, STEP> weights = several<STEP>(row, i);
        float w[STEP];
#pragma unroll
        for (u32 n = 0; n < STEP; n++) w[n] = widen(weights.at[n]);
        if (cut != 0) {
            Several<R, STEP> ranks = several<STEP>(rank, i);
#pragma unroll
            for (u32 n = 0; n < STEP; n++) w[n] = ranks.at[n] >= cut ? w[n] : 0.0f;
        }
#pragma unroll
        for (u32 t = 0; t < FEW; t++)
            if (t < count) {
                Several<float, STEP> inputs = several<STEP>(x + (u64)t * d_in, i);
#pragma unroll
                for (u32 n = 0; n < STEP; n++) sums[t] = fmaf(w[n], inputs.at[n], sums[t]);
            }
    }
}

// Groups of tokens that read the same weights follow each other, so that all but the first find them in the cache.
template <class W, class R>
__device__ void encode_few(const float* x, const W* weight, const R* ranks, u32 cut, const float* bias,
                           const float* scale, const float* floors, u32 tokens, u32 d_in, u64 d_sae, float* out) {
    u32 groups = (tokens + FEW - 1) / FEW;
    u64 latent = (u64)(blockIdx.x / groups) * (blockDim.x / WARP) + threadIdx.x / WARP;
    u32 first = blockIdx.x % groups * FEW;
    if (latent >= d_sae) return;
    u32 count = tokens - first < FEW ? tokens - first : FEW;
    const W* row = weight + latent * d_in;
    // Without a mask there may be no ranks.
    const R* rank = cut == 0 ? ranks : ranks + latent * d_in;
    x += (u64)first * d_in;
    float sums[FEW] = {};
    if (d_in % 4 == 0)
        add_products<4>(x, row, rank, cut, count, d_in, sums);
    else
        add_products<1>(x, row, rank, cut, count, d_in, sums);
#pragma unroll
    for (u32 t = 0; t < FEW; t++) {
        float sum = warp_sum(sums[t]);
        if (threadIdx.x % WARP == 0 && t < count)
            out[(u64)(first + t) * d_sae + latent] = fired(sum, latent, bias, scale, floors);
    }
}

template <class W, class R>
__device__ void encode_many(const float* x, const W* weight, const R* ranks, u32 cut, const float* bias,
                            const float* scale, const float* floors, u32 tokens, u32 d_in, u64 d_sae, float* out) {
    // Four more columns than needed: neighbours lie in different banks, and four still travel in one load.
    alignas(16) __shared__ float ws[DEPTH][SIDE + 4];
    alignas(16) __shared__ float xs[DEPTH][SIDE + 4];
    // Tokens change fastest from block to block: those that share weights run together.
    u64 latent0 = (u64)blockIdx.y * SIDE;
    u32 token0 = blockIdx.x * SIDE;
    u32 column = threadIdx.x % ACROSS * EACH;
    u32 row = threadIdx.x / ACROSS * EACH;
    float sums[EACH][EACH] = {};
    // What comes next is on its way while the sums are taken.
    float next_w[STAGED], next_x[STAGED];
    auto fetch = [&](u32 start) {
#pragma unroll
        for (u32 n = 0; n < STAGED; n++) {
            u32 at = threadIdx.x + n * MANY;
            u32 i = start + at % DEPTH;
            u64 latent = latent0 + at / DEPTH;
            u32 token = token0 + at / DEPTH;
            next_w[n] = i < d_in && latent < d_sae ? kept(weight, ranks, cut, latent * d_in + i) : 0.0f;
            next_x[n] = i < d_in && token < tokens ? x[(u64)token * d_in + i] : 0.0f;
        }
    };
    fetch(0);
    for (u32 start = 0; start < d_in; start += DEPTH) {
#pragma unroll
        for (u32 n = 0; n < STAGED; n++) {
            u32 at = threadIdx.x + n * MANY;
            ws[at % DEPTH][at / DEPTH] = next_w[n];
            xs[at % DEPTH][at / DEPTH] = next_x[n];
        }
        __syncthreads();
        if (start + DEPTH < d_in) fetch(start + DEPTH);
#pragma unroll
        for (u32 i = 0; i < DEPTH; i++) {
            Several<float, EACH> w = several<EACH>(ws[i], column);
            Several<float, EACH> v = several<EACH>(xs[i], row);
#pragma unroll
            for (u32 a = 0; a < EACH; a++)
#pragma unroll
                for (u32 b = 0; b < EACH; b++) sums[a][b] = fmaf(w.at[b], v.at[a], sums[a][b]);
        }
        __syncthreads();
    }
#pragma unroll
    for (u32 a = 0; a < EACH; a++)
#pragma unroll
        for (u32 b = 0; b < EACH; b++) {
            u32 token = token0 + row + a;
            u64 latent = latent0 + column + b;
            if (token < tokens && latent < d_sae)
                out[(u64)token * d_sae + latent] = fired(sums[a][b], latent, bias, scale, floors);
        }
}

#define ENTRY(NAME, W, R)                                                                                              \
    extern "C" __global__ void __launch_bounds__(256) encode_few_##NAME(                                               \
        const float* x, const W* weight, const R* ranks, u32 cut, const float* bias, const float* scale,               \
        const float* floors, u32 tokens, u32 d_in, u64 d_sae, float* out) {                                            \
        encode_few(x, weight, ranks, cut, bias, scale, floors, tokens, d_in, d_sae, out);                              \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) encode_many_##NAME(                                              \
        const float* x, const W* weight, const R* ranks, u32 cut, const float* bias, const float* scale,               \
        const float* floors, u32 tokens, u32 d_in, u64 d_sae, float* out) {                                            \
        encode_many(x, weight, ranks, cut, bias, scale, floors, tokens, d_in, d_sae, out);                             \
    }
FOR_WEIGHTS_AND_RANKS(ENTRY)
#undef ENTRY

// Products `[tokens, count]` of latents `first ..` to latents `out [tokens, d_sae]`.
extern "C" __global__ void fire(const float* products, const float* bias, const float* scale, const float* floors,
                                u64 tokens, u64 count, u64 first, u64 d_sae, float* out) {
    for (u64 at = first_index(); at < tokens * count; at += index_step()) {
        u64 latent = first + at % count;
        out[at / count * d_sae + latent] = fired(products[at], latent, bias, scale, floors);
    }
}
