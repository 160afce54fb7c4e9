// Wanda: scores of weights and their ranks in each comparison group, the sums of squares that the norms come from, and
// n of every m.

#include "common.cuh"

constexpr u32 DIGITS = 256;
constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / WARP;
// Keys that a thread moves between two meetings of its block.
constexpr u32 TURNS = 4;

// One block ranks one group at a time: a stable sort of the scores by their four bytes, the last byte first. A score is not
// negative, so its bits order like the number, and equal scores keep the order of their indices.
//
// Weight `i` of group `g` is at `g * group_stride + i * stride`. Its score is |weight| times `norms[i]` if there are any.
// `keys` and `places` are scratch of two groups' length for each block.
template <class W, class R>
__device__ void ranks(const W* weight, const float* norms, u64 groups, u32 len, u64 group_stride, u64 stride, u32* keys,
                      u32* places, R* out) {
    // Where the next key of each digit goes; and of each digit, how many keys the warps before have in the part at hand.
    __shared__ u32 starts[DIGITS];
    __shared__ u32 of_warp[WARPS][DIGITS];
    u32 lane = threadIdx.x % WARP;
    u32 warp = threadIdx.x / WARP;
    u32 lower = (1u << lane) - 1;
    u64 scratch = (u64)blockIdx.x * 2 * len;
    for (u64 group = blockIdx.x; group < groups; group += gridDim.x) {
        u32* from_keys = keys + scratch;
        u32* from_places = places + scratch;
        u32* to_keys = from_keys + len;
        u32* to_places = from_places + len;
        for (u32 i = threadIdx.x; i < len; i += THREADS) {
            float score = fabsf(widen(weight[group * group_stride + i * stride]));
            if (norms) score *= norms[i];
            // A zero has one sign only.
            from_keys[i] = __float_as_uint(score + 0.0f);
            from_places[i] = i;
        }
        for (u32 shift = 0; shift < 32; shift += 8) {
            starts[threadIdx.x] = 0;
            __syncthreads();
            for (u32 start = 0; start < len; start += THREADS) {
                u32 i = start + threadIdx.x;
                // Beyond the end: a digit that no key has. Many keys of a warp share a digit, and are counted together.
                u32 digit = i < len ? (from_keys[i] >> shift) & (DIGITS - 1) : DIGITS;
                u32 like = __match_any_sync(ALL_LANES, digit);
                if (i < len && (like & lower) == 0) atomicAdd(&starts[digit], (u32)__popc(like));
            }
            __syncthreads();
            // A block has one thread for each digit.
            u32 total;
            starts[threadIdx.x] = sum_before(starts[threadIdx.x], total);
            // A warp takes `TURNS` times 32 neighbouring keys.
            for (u32 start = 0; start < len; start += THREADS * TURNS) {
                for (u32 w = 0; w < WARPS; w++) of_warp[w][threadIdx.x] = 0;
                __syncthreads();
                u32 first = start + warp * WARP * TURNS + lane;
                u32 key[TURNS];
                // How many keys of the same digit this warp has before each.
                u32 before[TURNS];
                for (u32 turn = 0; turn < TURNS; turn++) {
                    u32 i = first + turn * WARP;
                    key[turn] = i < len ? from_keys[i] : 0;
                    u32 digit = i < len ? (key[turn] >> shift) & (DIGITS - 1) : DIGITS;
                    u32 like = __match_any_sync(ALL_LANES, digit);
                    u32 found = i < len ? of_warp[warp][digit] : 0;
                    before[turn] = found + __popc(like & lower);
                    __syncwarp();
                    if (i < len && (like & lower) == 0) of_warp[warp][digit] = found + __popc(like);
                    __syncwarp();
                }
                __syncthreads();
                u32 next = starts[threadIdx.x];
                for (u32 w = 0; w < WARPS; w++) {
                    u32 count = of_warp[w][threadIdx.x];
                    of_warp[w][threadIdx.x] = next;
                    next += count;
                }
                starts[threadIdx.x] = next;
                __syncthreads();
                for (u32 turn = 0; turn < TURNS; turn++) {
                    u32 i = first + turn * WARP;
                    if (i >= len) continue;
                    u32 to = of_warp[warp][(key[turn] >> shift) & (DIGITS - 1)] + before[turn];
                    to_keys[to] = key[turn];
                    to_places[to] = from_places[i];
                }
                __syncthreads();
            }
            u32* spare = from_keys;
            from_keys = to_keys;
            to_keys = spare;
            spare = from_places;
            from_places = to_places;
            to_places = spare;
        }
        for (u32 i = threadIdx.x; i < len; i += THREADS)
            out[group * group_stride + from_places[i] * stride] = (R)i;
        __syncthreads();
    }
}

#define ENTRY(NAME, W, R)                                                                                              \
    extern "C" __global__ void __launch_bounds__(256, 4)                                                               \
        ranks_##NAME(const W* weight, const float* norms, u64 groups, u32 len, u64 group_stride, u64 stride,           \
                     u32* keys, u32* places, R* out) {                                                                 \
        ranks(weight, norms, groups, len, group_stride, stride, keys, places, out);                                    \
    }
FOR_WEIGHTS_AND_RANKS(ENTRY)
#undef ENTRY

// Sums of squares of the columns of `x [rows, columns]`, over some rows a block: `parts [gridDim.y, columns]`. A lane takes
// `N` neighbouring columns in one load, a warp 32 times as many; the eight warps of a block take rows in turn, and what they
// found is added in their order. `N` divides the columns.
template <u32 N, class W>
__device__ void column_squares(const W* x, u64 rows, u64 columns, double* parts) {
    __shared__ double of_warp[WARPS][WARP];
    u32 lane = threadIdx.x % WARP;
    u32 warp = threadIdx.x / WARP;
    u64 column = ((u64)blockIdx.x * WARP + lane) * N;
    u64 count = (rows + gridDim.y - 1) / gridDim.y;
    u64 end = (blockIdx.y + 1) * count < rows ? (blockIdx.y + 1) * count : rows;
    double sums[N] = {};
    if (column < columns)
        for (u64 row = blockIdx.y * count + warp; row < end; row += WARPS) {
            Several<W, N> values = several<N>(x, row * columns + column);
            for (u32 i = 0; i < N; i++) {
                double value = widen(values.at[i]);
                sums[i] += value * value;
            }
        }
    for (u32 i = 0; i < N; i++) {
        __syncthreads();
        of_warp[warp][lane] = sums[i];
        __syncthreads();
        if (warp != 0 || column >= columns) continue;
        double sum = sums[i];
        for (u32 other = 1; other < WARPS; other++) sum += of_warp[other][lane];
        parts[blockIdx.y * columns + column + i] = sum;
    }
}

// Add the parts of each column in their order, and the whole to what was summed before.
extern "C" __global__ void add_parts(const double* parts, u64 count, u64 columns, double* sums) {
    for (u64 column = first_index(); column < columns; column += index_step()) {
        double sum = 0.0;
        for (u64 part = 0; part < count; part++) sum += parts[part * columns + column];
        sums[column] += sum;
    }
}

// Weights without the `n` lowest scores of every `m` consecutive ones: a thread takes a weight and counts those that go
// before it. `m` divides the columns.
template <class W>
__device__ void few_of_many(const W* weight, const float* norms, u64 len, u64 columns, u32 n, u32 m, W* out) {
    for (u64 at = first_index(); at < len; at += index_step()) {
        u64 column = Place(at, columns).column;
        u64 first = at - (u32)column % m;
        u32 place = (u32)(at - first);
        const float* norm = norms ? norms + (column - (at - first)) : 0;
        float mine = fabsf(widen(weight[at]));
        if (norm) mine *= norm[place];
        u32 before = 0;
        for (u32 i = 0; i < m; i++) {
            float score = fabsf(widen(weight[first + i]));
            if (norm) score *= norm[i];
            before += score < mine || (score == mine && i < place);
        }
        W value = weight[at];
        if (before < n) set_zero(value);
        out[at] = value;
    }
}

#define ENTRY(NAME, W)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        column_squares_##NAME(const W* x, u64 rows, u64 columns, u32 several, double* parts) {                         \
        if (several)                                                                                                   \
            column_squares<16 / sizeof(W)>(x, rows, columns, parts);                                                   \
        else                                                                                                           \
            column_squares<1>(x, rows, columns, parts);                                                                \
    }                                                                                                                  \
    extern "C" __global__ void few_of_many_##NAME(const W* weight, const float* norms, u64 len, u64 columns, u32 n,    \
                                                  u32 m, W* out) {                                                     \
        few_of_many(weight, norms, len, columns, n, m, out);                                                           \
    }
FOR_WEIGHTS(ENTRY)
#undef ENTRY
