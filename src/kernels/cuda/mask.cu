// A matrix at a ratio, and the norms of its rows there.

#include "common.cuh"

// `len` weights from `start` on.
template <class W, class R>
__device__ void mask(const W* weight, const R* ranks, u32 cut, u64 start, u64 len, W* out) {
    for (u64 at = first_index(); at < len; at += index_step()) {
        W value = weight[start + at];
        if (cut != 0 && ranks[start + at] < cut) set_zero(value);
        out[at] = value;
    }
}

// Euclidean norm of each row; a warp takes a row.
template <class W, class R>
__device__ void row_norms(const W* weight, const R* ranks, u32 cut, u64 rows, u32 columns, float* out) {
    u64 row = first_index() / WARP;
    if (row >= rows) return;
    u32 lane = threadIdx.x % WARP;
    float squares = 0.0f;
    for (u32 i = lane; i < columns; i += WARP) {
        float value = kept(weight, ranks, cut, row * columns + i);
        squares = fmaf(value, value, squares);
    }
    squares = warp_sum(squares);
    if (lane == 0) out[row] = sqrtf(squares);
}

#define ENTRY(NAME, W, R)                                                                                              \
    extern "C" __global__ void mask_##NAME(const W* weight, const R* ranks, u32 cut, u64 start, u64 len, W* out) {     \
        mask(weight, ranks, cut, start, len, out);                                                                     \
    }                                                                                                                  \
    extern "C" __global__ void row_norms_##NAME(const W* weight, const R* ranks, u32 cut, u64 rows, u32 columns,       \
                                                float* out) {                                                          \
        row_norms(weight, ranks, cut, rows, columns, out);                                                             \
    }
FOR_WEIGHTS_AND_RANKS(ENTRY)
#undef ENTRY
