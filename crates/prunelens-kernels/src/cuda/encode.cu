// The masked encoder: x (W where rank >= cut), bias and scale, and zero where the latent does not fire. Before it inputs are
// normalised, where an SAE does that; after it what passed a gate is made into magnitudes.
//
// Three ways to the same sum. For a few tokens a warp takes two latents and reads their rows once, which runs at the
// speed of memory. For more a block takes a square of latents and tokens through shared memory, so that a weight and
// its rank are fetched once for sixty-four tokens. For many the library multiplies with a masked copy, and `fire`
// finishes.

#include "common.cuh"

// Tokens that one warp carries, and latents that it takes.
constexpr u32 FEW = 8;
constexpr u32 ROWS = 2;
// Latents and tokens of a square, and how many inputs are staged at a time.
constexpr u32 SIDE = 64;
constexpr u32 DEPTH = 16;
// Each of the 256 threads of a block has 4 x 4 sums, and fetches four neighbouring weights and inputs at a time.
constexpr u32 EACH = 4;
constexpr u32 ACROSS = SIDE / EACH;
constexpr u32 QUARTERS = DEPTH / EACH;

// Where a latent fires: above its threshold (if there are any) and above zero.
__device__ __forceinline__ float fired(float sum, u64 latent, const float* bias, const float* scale,
                                       const float* floors) {
    float value = sum + bias[latent];
    if (scale) value *= scale[latent];
    float floor = floors ? fmaxf(floors[latent], 0.0f) : 0.0f;
    return value > floor ? value : 0.0f;
}

// `STEP` neighbouring weights of each of a warp's rows, and their ranks if there is a mask.
template <u32 STEP, class W, class R>
struct Turn {
    Several<W, STEP> weights[ROWS];
    Several<R, STEP> ranks[ROWS];

    __device__ __forceinline__ void fetch(const W* weight, const R* rank, u32 cut, const u64* rows, u32 i) {
#pragma unroll
        for (u32 r = 0; r < ROWS; r++) weights[r] = several<STEP>(weight, rows[r] + i);
        if (cut == 0) return;
#pragma unroll
        for (u32 r = 0; r < ROWS; r++) ranks[r] = several<STEP>(rank, rows[r] + i);
    }

    // Products with `COUNT` tokens at `x`, `stride` apart. Tokens beyond the last of `count` repeat it: what they give
    // is not written.
    template <u32 COUNT>
    __device__ __forceinline__ void add_products(const float* x, u32 count, u64 stride, u32 cut, float (*sums)[FEW]) {
        float w[ROWS][STEP];
#pragma unroll
        for (u32 r = 0; r < ROWS; r++)
#pragma unroll
            for (u32 n = 0; n < STEP; n++)
                w[r][n] = cut == 0 || ranks[r].at[n] >= cut ? widen(weights[r].at[n]) : 0.0f;
#pragma unroll
        for (u32 t = 0; t < COUNT; t++) {
            Several<float, STEP> inputs = several<STEP>(x, (t < count ? t : count - 1) * stride);
#pragma unroll
            for (u32 r = 0; r < ROWS; r++)
#pragma unroll
                for (u32 n = 0; n < STEP; n++) sums[r][t] = fmaf(w[r][n], inputs.at[n], sums[r][t]);
        }
    }
};

// All products of a warp's rows: two turns' weights are on their way before the first is used. A lane takes `STEP`
// inputs a turn, four where the width allows, for four travel in one load.
template <u32 STEP, u32 COUNT, class W, class R>
__device__ __forceinline__ void all_products(const float* x, u32 count, const W* weight, const R* ranks, u32 cut,
                                             const u64* rows, u32 d_in, float (*sums)[FEW]) {
    constexpr u32 WIDTH = WARP * STEP;
    Turn<STEP, W, R> turn, next;
    u32 i = threadIdx.x % WARP * STEP;
    for (; i + WIDTH < d_in; i += 2 * WIDTH) {
        turn.fetch(weight, ranks, cut, rows, i);
        next.fetch(weight, ranks, cut, rows, i + WIDTH);
        turn.template add_products<COUNT>(x + i, count, d_in, cut, sums);
        next.template add_products<COUNT>(x + i + WIDTH, count, d_in, cut, sums);
    }
    if (i < d_in) {
        turn.fetch(weight, ranks, cut, rows, i);
        turn.template add_products<COUNT>(x + i, count, d_in, cut, sums);
    }
    // Side by side, and no more of them than there are tokens: one after the other they would keep the warp from its next weights.
#pragma unroll
    for (u32 r = 0; r < ROWS; r++)
#pragma unroll
        for (u32 t = 0; t < COUNT; t++) sums[r][t] = warp_total(sums[r][t]);
}

// Groups of tokens that read the same weights follow each other, so that all but the first find them in the cache.
template <class W, class R>
__device__ void encode_few(const float* x, const W* weight, const R* ranks, u32 cut, const float* bias,
                           const float* scale, const float* floors, u32 tokens, u32 d_in, u64 d_sae, float* out) {
    u32 groups = (tokens + FEW - 1) / FEW;
    u64 latent = ((u64)(blockIdx.x / groups) * (blockDim.x / WARP) + threadIdx.x / WARP) * ROWS;
    u32 first = blockIdx.x % groups * FEW;
    if (latent >= d_sae) return;
    u32 count = tokens - first < FEW ? tokens - first : FEW;
    // A row beyond the last repeats it.
    u64 rows[ROWS];
#pragma unroll
    for (u32 r = 0; r < ROWS; r++) rows[r] = (latent + r < d_sae ? latent + r : d_sae - 1) * d_in;
    x += (u64)first * d_in;
    float sums[ROWS][FEW] = {};
    if (d_in % 4 != 0)
        all_products<1, FEW>(x, count, weight, ranks, cut, rows, d_in, sums);
    else if (count == 1)
        all_products<4, 1>(x, count, weight, ranks, cut, rows, d_in, sums);
    else if (count <= FEW / 2)
        all_products<4, FEW / 2>(x, count, weight, ranks, cut, rows, d_in, sums);
    else
        all_products<4, FEW>(x, count, weight, ranks, cut, rows, d_in, sums);
    // A lane a sum. Chosen by comparing, for an index that is not known beforehand would put them into memory.
    u32 lane = threadIdx.x % WARP;
    float sum = 0.0f;
#pragma unroll
    for (u32 r = 0; r < ROWS; r++)
#pragma unroll
        for (u32 t = 0; t < FEW; t++) sum = lane == r * FEW + t ? sums[r][t] : sum;
    latent += lane / FEW;
    u32 token = lane % FEW;
    if (lane < ROWS * FEW && token < count && latent < d_sae)
        out[(u64)(first + token) * d_sae + latent] = fired(sum, latent, bias, scale, floors);
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
    // What this thread stages: four inputs of a row; rows beyond the last repeat it, for what they give is not written.
    u32 staged = threadIdx.x / QUARTERS;
    u32 quarter = threadIdx.x % QUARTERS * EACH;
    const float* x_row = x + (u64)(token0 + staged < tokens ? token0 + staged : tokens - 1) * d_in;
    u64 w_row = (latent0 + staged < d_sae ? latent0 + staged : d_sae - 1) * d_in;
    // What comes next is on its way while the sums are taken.
    Several<W, EACH> next_w;
    Several<R, EACH> next_r;
    Several<float, EACH> next_x;
    auto fetch = [&](u32 start) {
        u32 i = start + quarter;
        if (d_in % EACH == 0) {
            i = i < d_in ? i : 0;
            next_w = several<EACH>(weight, w_row + i);
            next_x = several<EACH>(x_row, i);
            if (cut != 0) next_r = several<EACH>(ranks, w_row + i);
        } else {
#pragma unroll
            for (u32 n = 0; n < EACH; n++) {
                u32 at = i + n < d_in ? i + n : d_in - 1;
                next_w.at[n] = weight[w_row + at];
                next_x.at[n] = x_row[at];
                if (cut != 0) next_r.at[n] = ranks[w_row + at];
            }
        }
    };
    fetch(0);
    for (u32 start = 0; start < d_in; start += DEPTH) {
#pragma unroll
        for (u32 n = 0; n < EACH; n++) {
            bool inside = start + quarter + n < d_in;
            bool counts = inside && (cut == 0 || next_r.at[n] >= cut);
            ws[quarter + n][staged] = counts ? widen(next_w.at[n]) : 0.0f;
            xs[quarter + n][staged] = inside ? next_x.at[n] : 0.0f;
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

// Numbers as sums of three in bfloat16, `parts [3, len]`, the largest first.
extern "C" __global__ void split(const float* x, u64 len, bf16* parts) {
    for (u64 at = first_index(); at < len; at += index_step()) {
        bf16 of_value[3];
        split_in_three(x[at], of_value);
        for (u32 part = 0; part < 3; part++) parts[part * len + at] = of_value[part];
    }
}

// Products `[parts, tokens, count]` of latents `first ..` to latents `out [tokens, d_sae]`; those of all parts of a token are
// added, the smallest first.
extern "C" __global__ void fire(const float* products, u32 parts, const float* bias, const float* scale,
                                const float* floors, u64 tokens, u64 count, u64 first, u64 d_sae, float* out) {
    for (u64 at = first_index(); at < tokens * count; at += index_step()) {
        Place place(at, count);
        u64 latent = first + place.column;
        float sum = 0.0f;
        for (u32 part = parts; part-- > 0;) sum += products[part * tokens * count + at];
        out[place.row * d_sae + latent] = fired(sum, latent, bias, scale, floors);
    }
}

// What passed a gate becomes a magnitude: without the gate's bias, times a factor, with a bias of its own; zero where that is
// not above zero.
extern "C" __global__ void magnitudes(float* latents, u64 len, u64 width, const float* gate_bias, const float* factors,
                                      const float* bias) {
    for (u64 at = first_index(); at < len; at += index_step()) {
        float pre = latents[at];
        if (!(pre > 0.0f)) continue;
        u64 latent = Place(at, width).column;
        latents[at] = fmaxf((pre - gate_bias[latent]) * factors[latent] + bias[latent], 0.0f);
    }
}

extern "C" __global__ void squash(float* latents, u64 len) {
    for (u64 at = first_index(); at < len; at += index_step())
        if (latents[at] > 0.0f) latents[at] = tanhf(latents[at]);
}

// Inputs normalised: without their mean and by their standard deviation, or to the length sqrt(width); and the factor and the shift
// that undo it, as SAELens does, without the 1e-5. A block takes a row.
extern "C" __global__ void normalize(const float* x, u32 width, u32 centred, float* out, float* undo) {
    x += (u64)blockIdx.x * width;
    out += (u64)blockIdx.x * width;
    double sum = 0.0, squares = 0.0;
    for (u32 i = threadIdx.x; centred && i < width; i += blockDim.x) sum += x[i];
    float mean = (float)(block_sum(sum) / width);
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        double off = x[i] - mean;
        squares += off * off;
    }
    squares = block_sum(squares);
    float factor = centred ? (float)sqrt(squares / (width > 1 ? width - 1 : 1)) : (float)(sqrt((double)width) / sqrt(squares));
    for (u32 i = threadIdx.x; i < width; i += blockDim.x)
        out[i] = centred ? (x[i] - mean) / (factor + 1e-5f) : x[i] * factor;
    if (threadIdx.x != 0) return;
    undo[2 * (u64)blockIdx.x] = centred ? factor : 1.0f / factor;
    undo[2 * (u64)blockIdx.x + 1] = mean;
}
