// Causal attention of numbers in 16 bits, by tensor cores: weights of attention live in registers alone, some keys at a time,
// with what they are divided by kept as it grows (FlashAttention-2, arXiv 2307.08691). Sums are in f32; a query's weights are
// rounded to 16 bits where they meet the values.

#include "tensor.cuh"

constexpr u32 WARPS = 4;
constexpr float LOG2_E = 1.4426950409f;

// Of heads with up to D numbers.
template <u32 D>
struct Sizes {
    // Sixteens of queries that a warp has, and all that a block has; keys that are read at a time: registers decide.
    static constexpr u32 SIXTEENS = D <= 128 ? 2 : 1;
    static constexpr u32 QUERIES = WARPS * SIXTEENS * 16;
    static constexpr u32 KEYS = D <= 64 ? 64 : 32;
    // Of a row in shared memory, in numbers: eight rows begin in eight different parts of its banks.
    static constexpr u32 STRIDE = D + 8;
};

// Rows of `width` numbers to shared memory, with zeros after their ends and after the last of `there`.
template <u32 D, u32 ROWS, class T>
__device__ __forceinline__ void fetch(T* tile, const T* rows, u32 there, u32 width) {
    constexpr u32 EIGHTS = D / 8;
    for (u32 at = threadIdx.x; at < ROWS * EIGHTS; at += WARPS * WARP) {
        u32 row = at / EIGHTS, column = at % EIGHTS * 8;
        bool zeros = row >= there || column >= width;
        copy_later(tile + row * Sizes<D>::STRIDE + column, zeros ? rows : rows + (u64)row * width + column, zeros);
    }
}

// Scores in powers of two, as `exp2f` takes them.
struct Score {
    float factor, cap;

    __device__ Score(float scale, float cap) : factor(cap > 0.0f ? scale / cap : scale * LOG2_E), cap(cap * LOG2_E) {}

    // The cap's curve is wrong by 1e-7 of the cap at the most.
    __device__ __forceinline__ float capped(float product) const {
        return cap * (1.0f - __fdividef(2.0f, exp2f(2.0f * LOG2_E * (product * factor)) + 1.0f));
    }

    // In place, with one branch for all.
    template <u32 COUNT>
    __device__ __forceinline__ void of(float* products) const {
        if (cap > 0.0f) {
#pragma unroll
            for (u32 n = 0; n < COUNT; n++) products[n] = capped(products[n]);
        } else {
#pragma unroll
            for (u32 n = 0; n < COUNT; n++) products[n] *= factor;
        }
    }
};

// The largest, or the sum, over the four lanes that have a row together.
template <class F>
__device__ __forceinline__ float over_row(float value, F both) {
    value = both(value, __shfl_xor_sync(ALL_LANES, value, 1));
    return both(value, __shfl_xor_sync(ALL_LANES, value, 2));
}

// `z [texts, time, heads, width]` of queries `[texts, heads, time, width]` and of keys and values `[texts, kv_heads, time,
// width]`: query `t` sees the keys `t - window < s <= t`. The grid has the heads of all texts, and blocks of queries.
template <u32 D, class T>
__device__ void attention(const T* q, const T* k, const T* v, u32 time, u32 heads, u32 kv_heads, u32 width,
                          u32 scale_bits, u32 cap_bits, u32 window, T* z) {
    using Of = Sizes<D>;
    constexpr u32 SIXTEENS = Of::SIXTEENS, KEYS = Of::KEYS, STRIDE = Of::STRIDE;
    SHARED(memory);
    T* queries = (T*)memory;
    T* keys = queries + Of::QUERIES * STRIDE;
    T* values = keys + KEYS * STRIDE;

    u32 text = blockIdx.x / heads, head = blockIdx.x % heads;
    // Those that read most come first.
    u32 first = (gridDim.y - 1 - blockIdx.y) * Of::QUERIES;
    u32 end = time - first < Of::QUERIES ? time : first + Of::QUERIES;
    u32 begin = first >= window ? (first - window + 1) / KEYS * KEYS : 0;
    u64 kv = ((u64)text * kv_heads + head / (heads / kv_heads)) * time * width;
    q += ((u64)blockIdx.x * time + first) * width;
    k += kv;
    v += kv;
    fetch<D, Of::QUERIES>(queries, q, end - first, width);
    fetch<D, KEYS>(keys, k + (u64)begin * width, end - begin, width);

    u32 lane = threadIdx.x % WARP;
    u32 mine = threadIdx.x / WARP * SIXTEENS * 16;
    // Where a lane's row of a quarter begins in 16 rows: quarters go down, then to the right.
    u32 quarter = lane % 16 * STRIDE + lane / 16 * 8;
    Score score(__uint_as_float(scale_bits), __uint_as_float(cap_bits));
    // Of this lane's rows, two in each sixteen; columns are pairs in eights.
    float max[SIXTEENS][2], sum[SIXTEENS][2], out[SIXTEENS][D / 8][4];
#pragma unroll
    for (u32 i = 0; i < SIXTEENS; i++)
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            max[i][half] = -INFINITY;
            sum[i][half] = 0.0f;
#pragma unroll
            for (u32 n = 0; n < D / 8; n++) out[i][n][2 * half] = out[i][n][2 * half + 1] = 0.0f;
        }

    for (u32 start = begin; start < end; start += KEYS) {
        copies_done();
        // The keys are there, and nobody reads the values before any more.
        __syncthreads();
        fetch<D, KEYS>(values, v + (u64)start * width, end - start, width);
        float weights[SIXTEENS][KEYS / 8][4] = {};
#pragma unroll 2
        for (u32 column = 0; column < D; column += 16) {
            u32 left[SIXTEENS][4];
#pragma unroll
            for (u32 i = 0; i < SIXTEENS; i++)
                load_quarters(left[i], queries + (mine + 16 * i) * STRIDE + column + quarter);
#pragma unroll
            for (u32 n = 0; n < KEYS / 8; n += 2) {
                u32 right[4];
                load_quarters(right, keys + n * 8 * STRIDE + column + quarter);
#pragma unroll
                for (u32 i = 0; i < SIXTEENS; i++) {
                    add_product(weights[i][n], left[i], right[0], right[2], T());
                    add_product(weights[i][n + 1], left[i], right[1], right[3], T());
                }
            }
        }
        score.of<SIXTEENS * KEYS / 2>(weights[0][0]);
#pragma unroll
        for (u32 i = 0; i < SIXTEENS; i++)
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                u32 t = first + mine + 16 * i + 8 * half + lane / 4;
                u32 seen = t < window ? 0 : t - window + 1;
                float most = max[i][half];
#pragma unroll
                for (u32 n = 0; n < KEYS / 8; n++)
#pragma unroll
                    for (u32 pair = 0; pair < 2; pair++) {
                        float& weight = weights[i][n][2 * half + pair];
                        u32 s = start + n * 8 + lane % 4 * 2 + pair;
                        weight = s < seen || s > t ? -INFINITY : weight;
                        most = fmaxf(most, weight);
                    }
                most = over_row(most, [](float a, float b) { return fmaxf(a, b); });
                // Before a row's first key there is nothing to be less than.
                float base = most == -INFINITY ? 0.0f : most;
                float shrink = exp2f(max[i][half] - base);
                max[i][half] = most;
                sum[i][half] *= shrink;
#pragma unroll
                for (u32 n = 0; n < KEYS / 8; n++)
#pragma unroll
                    for (u32 pair = 0; pair < 2; pair++) {
                        float& weight = weights[i][n][2 * half + pair];
                        weight = exp2f(weight - base);
                        sum[i][half] += weight;
                    }
#pragma unroll
                for (u32 n = 0; n < D / 8; n++) {
                    out[i][n][2 * half] *= shrink;
                    out[i][n][2 * half + 1] *= shrink;
                }
            }
        copies_done();
        // The values are there, and nobody reads these keys any more.
        __syncthreads();
        if (start + KEYS < end) fetch<D, KEYS>(keys, k + (u64)(start + KEYS) * width, end - start - KEYS, width);
#pragma unroll
        for (u32 key = 0; key < KEYS / 16; key++) {
            u32 left[SIXTEENS][4];
#pragma unroll
            for (u32 i = 0; i < SIXTEENS; i++)
#pragma unroll
                for (u32 at = 0; at < 4; at++) {
                    const float* pair = weights[i][2 * key + at / 2] + at % 2 * 2;
                    left[i][at] = pack(pair[0], pair[1], T());
                }
#pragma unroll
            for (u32 n = 0; n < D / 8; n += 2) {
                u32 right[4];
                load_turned_quarters(right, values + key * 16 * STRIDE + n * 8 + quarter);
#pragma unroll
                for (u32 i = 0; i < SIXTEENS; i++) {
                    add_product(out[i][n], left[i], right[0], right[1], T());
                    add_product(out[i][n + 1], left[i], right[2], right[3], T());
                }
            }
        }
    }

#pragma unroll
    for (u32 i = 0; i < SIXTEENS; i++)
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            float share = 1.0f / over_row(sum[i][half], [](float a, float b) { return a + b; });
            u32 t = first + mine + 16 * i + 8 * half + lane / 4;
            u32* to = (u32*)(z + (((u64)text * time + t) * heads + head) * width) + lane % 4;
#pragma unroll
            for (u32 n = 0; n < D / 8; n++)
                if (t < time && n * 8 < width)
                    to[4 * n] = pack(out[i][n][2 * half] * share, out[i][n][2 * half + 1] * share, T());
        }
}

#define ENTRY(NAME, D, T)                                                                                              \
    extern "C" __global__ void __launch_bounds__(128)                                                                  \
        attention_##NAME(const T* q, const T* k, const T* v, u32 time, u32 heads, u32 kv_heads, u32 width, u32 scale,  \
                         u32 cap, u32 window, T* z) {                                                                  \
        attention<D>(q, k, v, time, heads, kv_heads, width, scale, cap, window, z);                                    \
    }
ENTRY(64_bf16, 64, bf16)
ENTRY(64_f16, 64, f16)
ENTRY(128_bf16, 128, bf16)
ENTRY(128_f16, 128, f16)
ENTRY(256_bf16, 256, bf16)
ENTRY(256_f16, 256, f16)
#undef ENTRY
