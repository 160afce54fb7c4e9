// A matrix at a ratio, as it is or in parts, and the norms of its rows there.

#include "common.cuh"

// `STEP` neighbouring weights a thread and turn: four where start and length allow, for four travel in one load.
template <u32 STEP, class W, class R>
__device__ void copy_kept(const W* weight, const R* ranks, u32 cut, u64 len, W* out) {
    for (u64 at = first_index() * STEP; at < len; at += index_step() * STEP) {
        Several<W, STEP> values = several<STEP>(weight, at);
        if (cut != 0) {
            Several<R, STEP> those = several<STEP>(ranks, at);
#pragma unroll
            for (u32 n = 0; n < STEP; n++)
                if (those.at[n] < cut) set_zero(values.at[n]);
        }
        *(Several<W, STEP>*)(out + at) = values;
    }
}

// `len` weights from `start` on.
template <class W, class R>
__device__ void mask(const W* weight, const R* ranks, u32 cut, u64 start, u64 len, W* out) {
    // Without a mask there may be no ranks.
    const R* those = cut == 0 ? ranks : ranks + start;
    if (start % 4 == 0 && len % 4 == 0)
        copy_kept<4>(weight + start, those, cut, len, out);
    else
        copy_kept<1>(weight + start, those, cut, len, out);
}

// Euclidean norm of each row; a warp takes a row.
template <class W, class R>
__device__ void row_norms(const W* weight, const R* ranks, u32 cut, u64 rows, u32 columns, float* out) {
    u64 row = first_index() / WARP;
    if (row >= rows) return;
    u32 lane = threadIdx.x % WARP;
    float squares = 0.0f;
#pragma unroll 4
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

// Of `rows` rows from `start` on, `out [rows, 6, columns]`: the parts of each weight that meet those of an activation, in the order
// of the launcher's pairs.
template <class W, class R>
__device__ void mask_in_parts(const W* weight, const R* ranks, u32 cut, u64 start, u64 rows, u32 columns, bf16* out) {
    for (u64 at = first_index(); at < rows * columns; at += index_step()) {
        bf16 parts[3];
        split_in_three(kept(weight, ranks, cut, start + at), parts);
        Place place(at, columns);
        bf16* to = out + place.row * 6 * columns + place.column;
        to[0] = parts[0];
        to[columns] = parts[1];
        to[2 * columns] = parts[2];
        to[3 * columns] = parts[0];
        to[4 * columns] = parts[1];
        to[5 * columns] = parts[0];
    }
}

#define ENTRY(NAME, W, R)                                                                                              \
    extern "C" __global__ void mask_in_parts_##NAME(const W* weight, const R* ranks, u32 cut, u64 start, u64 rows,     \
                                                    u32 columns, bf16* out) {                                          \
        mask_in_parts(weight, ranks, cut, start, rows, columns, out);                                                  \
    }
FOR_WEIGHTS_AND_RANKS(ENTRY)
#undef ENTRY
