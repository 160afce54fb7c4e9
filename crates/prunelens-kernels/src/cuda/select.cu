// From dense rows of activations (zero where a latent is silent) to lists: all active latents, or the k largest.
// Whatever is written comes in ascending order of the index, as on the CPU.

#include "common.cuh"

// The part of a row that a block takes where a row may be too long for one: values `begin .. end` of `row`, by blocks that
// follow each other.
struct Piece {
    const float* row;
    u64 begin, end;

    __device__ Piece(const float* rows, u64 width, u32 pieces, u32 length) {
        row = rows + blockIdx.x / pieces * width;
        begin = (u64)(blockIdx.x % pieces) * length;
        end = begin + length < width ? begin + length : width;
    }
};

// How many values of each piece of each row are above zero.
extern "C" __global__ void __launch_bounds__(256)
    count_active(const float* rows, u64 width, u32 pieces, u32 length, u64* counts) {
    Piece piece(rows, width, pieces, length);
    u64 count = 0;
    for (u64 at = piece.begin + threadIdx.x; at < piece.end; at += blockDim.x) count += piece.row[at] > 0.0f;
    count = block_sum(count);
    if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

// Where each piece's values begin among those of all, and where each row's begin and end. One block.
extern "C" __global__ void __launch_bounds__(1024)
    begin_lists(const u64* counts, u64 rows, u32 pieces, u64* starts, u64* spans) {
    u64 sum = sums_of_counts(counts, rows * pieces, [&](u64 at, u64 before) {
        starts[at] = before;
        if (at % pieces != 0) return;
        spans[2 * (at / pieces)] = before;
        if (at > 0) spans[2 * (at / pieces) - 1] = before;
    });
    if (threadIdx.x == 0) spans[2 * rows - 1] = sum;
}

// The values above zero of each piece, from its start on; those beyond the room there is are left out.
extern "C" __global__ void __launch_bounds__(256) gather_active(const float* rows, u64 width, u32 pieces, u32 length,
                                                                const u64* starts, u64 room, Latent* latents) {
    Piece piece(rows, width, pieces, length);
    u64 written = starts[blockIdx.x];
    for (u64 start = piece.begin; start < piece.end; start += blockDim.x) {
        u64 at = start + threadIdx.x;
        float value = at < piece.end ? piece.row[at] : 0.0f;
        u32 total;
        u64 place = written + flags_before(value > 0.0f, total);
        if (value > 0.0f && place < room) latents[place] = {(u32)at, value};
        written += total;
    }
}

// The place of each row's largest number, the first of equals; of a row without finite ones the first. Bits that order like a number
// lie above the complement of its place, so that the largest of both together is wanted.
extern "C" __global__ void __launch_bounds__(1024) largest_place(const float* rows, u64 width, u32* places) {
    __shared__ u64 of_warp[WARP];
    const float* row = rows + blockIdx.x * width;
    u64 best = 0;
    for (u64 at = threadIdx.x; at < width; at += blockDim.x) {
        float value = row[at];
        // Zeros are equal whatever their sign.
        u64 key = value > -INFINITY ? (u64)ordered_bits(value + 0.0f) << 32 | ~(u32)at : 0;
        best = key > best ? key : best;
    }
    for (u32 step = WARP / 2; step > 0; step /= 2) {
        u64 other = __shfl_down_sync(ALL_LANES, best, step);
        best = other > best ? other : best;
    }
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = best;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (u32 warp = 1; warp < blockDim.x / WARP; warp++) best = of_warp[warp] > best ? of_warp[warp] : best;
    places[blockIdx.x] = best ? ~(u32)best : 0;
}

constexpr u32 DIGITS = 256;
// Values that a thread fetches before it counts the first of them.
constexpr u32 AHEAD = 4;

// What is not above zero never counts, unless all numbers do.
template <bool ALL>
__device__ __forceinline__ u32 key_of(float value) {
    return ALL ? ordered_bits(value) : positive_bits(value);
}

// The bits of the k-th largest value above zero of a row, by its four bytes, from the first: each pass counts how often each
// next byte occurs among the values that share the bytes found. Of the values equal to it `equals` are among the k largest.
// Whether there are k; if not, `kth` is zero.
template <bool ALL>
__device__ bool find_kth(const float* row, u64 width, u32 k, u32& kth, u32& equals) {
    __shared__ u32 tally[DIGITS];
    __shared__ u32 found;
    __shared__ u32 wanted;
    if (threadIdx.x == 0) {
        found = 0;
        wanted = k;
    }
    bool enough = k > 0;
    for (u32 shift = 24; enough; shift -= 8) {
        for (u32 digit = threadIdx.x; digit < DIGITS; digit += blockDim.x) tally[digit] = 0;
        __syncthreads();
        u32 prefix = found;
        for (u64 start = 0; start < width; start += AHEAD * blockDim.x) {
            u32 keys[AHEAD];
#pragma unroll
            for (u32 n = 0; n < AHEAD; n++) {
                u64 at = start + n * blockDim.x + threadIdx.x;
                keys[n] = at < width ? key_of<ALL>(row[at]) : 0;
            }
#pragma unroll
            for (u32 n = 0; n < AHEAD; n++) {
                u32 key = keys[n];
                // The first pass has no bytes to share; a shift by 32 means nothing.
                bool counts = key != 0 && (shift == 24 || key >> (shift + 8) == prefix >> (shift + 8));
                u32 digit = counts ? (key >> shift) & (DIGITS - 1) : DIGITS;
                if (shift == 24) {
                    // Nearly all values share their first byte with others: a warp counts them together.
                    u32 like = __match_any_sync(ALL_LANES, digit);
                    bool first_of_them = (like & ((1u << threadIdx.x % WARP) - 1)) == 0;
                    if (counts && first_of_them) atomicAdd(&tally[digit], (u32)__popc(like));
                } else if (counts) {
                    atomicAdd(&tally[digit], 1u);
                }
            }
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            u32 left = wanted;
            u32 digit = DIGITS;
            while (digit > 0 && tally[digit - 1] < left) left -= tally[--digit];
            // None is left only in the first pass: fewer than k are above zero, and all of them are taken.
            found = digit > 0 ? prefix | (digit - 1) << shift : 0;
            wanted = digit > 0 ? left : 0;
        }
        __syncthreads();
        enough = wanted > 0;
        if (shift == 0) break;
    }
    __syncthreads();
    kth = found;
    equals = wanted;
    return enough;
}

// The k largest values above zero of a row, the lowest index first among equals: one pass in order takes all above the k-th
// largest and as many equal to it as are left to take. `put` is told the place of each among them. How many there are.
template <bool ALL, class F>
__device__ u32 largest(const float* row, u64 width, u32 k, F put) {
    u32 kth, equals;
    bool enough = find_kth<ALL>(row, width, k, kth, equals);
    u32 written = 0;
    u32 same = 0;
    for (u64 start = 0; start < width && k > 0; start += blockDim.x) {
        u64 at = start + threadIdx.x;
        u32 key = at < width ? key_of<ALL>(row[at]) : 0;
        bool equal = enough && key == kth && key != 0;
        u32 total_equal, total;
        u32 before_equal = same + flags_before(equal, total_equal);
        bool take = key > kth || (equal && before_equal < equals);
        u32 before = written + flags_before(take, total);
        if (take) put(before, (u32)at);
        same += total_equal;
        written += total;
    }
    return written;
}

// Of each row the k-th largest value above zero alone, and its index: the largest u32 if there are fewer than k.
extern "C" __global__ void __launch_bounds__(1024) kth(const float* rows, u64 width, u32 k, u32* last, float* values) {
    const float* row = rows + blockIdx.x * width;
    u32 kth, equals;
    bool enough = find_kth<false>(row, width, k, kth, equals);
    if (threadIdx.x == 0) last[blockIdx.x] = 0xffffffffu;
    __syncthreads();
    u32 same = 0;
    for (u64 start = 0; enough && same < equals && start < width; start += blockDim.x) {
        u64 at = start + threadIdx.x;
        bool equal = at < width && key_of<false>(row[at]) == kth;
        u32 total;
        u32 before = same + flags_before(equal, total);
        if (equal && before + 1 == equals) {
            last[blockIdx.x] = (u32)at;
            values[blockIdx.x] = row[at];
        }
        same += total;
    }
}

// Of each row the k largest above zero, with its span.
extern "C" __global__ void __launch_bounds__(1024)
    top_k(const float* rows, u64 width, u32 k, u64* spans, Latent* latents) {
    const float* row = rows + blockIdx.x * width;
    u64 first = (u64)blockIdx.x * k;
    u32 count = largest<false>(row, width, k, [&](u32 place, u32 at) { latents[first + place] = {at, row[at]}; });
    if (threadIdx.x != 0) return;
    spans[2 * (u64)blockIdx.x] = first;
    spans[2 * (u64)blockIdx.x + 1] = first + count;
}

// The same for training, which goes on with values alone; `counts` says how many there are.
template <bool ALL>
__device__ void largest_apart(const float* rows, u64 width, u32 k, u32* indices, float* values, u64* counts) {
    const float* row = rows + blockIdx.x * width;
    u64 first = (u64)blockIdx.x * k;
    u32 count = largest<ALL>(row, width, k, [&](u32 place, u32 at) {
        indices[first + place] = at;
        values[first + place] = row[at];
    });
    if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

extern "C" __global__ void __launch_bounds__(1024)
    largest_positive(const float* rows, u64 width, u32 k, u32* indices, float* values, u64* counts) {
    largest_apart<false>(rows, width, k, indices, values, counts);
}

// Among all numbers, below zero or not.
extern "C" __global__ void __launch_bounds__(1024)
    largest_of_all(const float* rows, u64 width, u32 k, u32* indices, float* values, u64* counts) {
    largest_apart<true>(rows, width, k, indices, values, counts);
}

// Lists to rows that are zero elsewhere. A block takes a row.
extern "C" __global__ void fill_rows(const u64* spans, const Latent* latents, u64 width, float* rows) {
    u64 end = spans[2 * (u64)blockIdx.x + 1];
    for (u64 at = spans[2 * (u64)blockIdx.x] + threadIdx.x; at < end; at += blockDim.x)
        rows[blockIdx.x * width + latents[at].index] = latents[at].value;
}
