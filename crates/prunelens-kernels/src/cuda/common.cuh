// What every kernel needs: element types, indices, and sums over a block.
//
// The same files are compiled as C++ for the processor by the tests, with a stand-in for the few built-in names
// (tests/support/stand_in/card.h), so that their logic is checked where there is no GPU.
#pragma once

#ifdef __CUDACC__
#include <cuda_fp16.h>
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

constexpr u32 WARP = 32;
constexpr u32 ALL_LANES = 0xffffffffu;

// Weights and logits are stored as f32, bf16 or f16; sums are always f32 or wider.
struct bf16 {
    u16 bits;
};
struct f16 {
    u16 bits;
};

__device__ __forceinline__ float widen(float value) { return value; }
__device__ __forceinline__ float widen(bf16 value) { return __uint_as_float((u32)value.bits << 16); }
__device__ __forceinline__ float widen(f16 value) { return __half2float(__ushort_as_half(value.bits)); }

__device__ __forceinline__ void set_zero(float& value) { value = 0.0f; }
__device__ __forceinline__ void set_zero(bf16& value) { value.bits = 0; }
__device__ __forceinline__ void set_zero(f16& value) { value.bits = 0; }

// Rounded to the nearest, to even ones among equals.
__device__ __forceinline__ void store(float& to, float value) { to = value; }
__device__ __forceinline__ void store(f16& to, float value) { to.bits = __half_as_ushort(__float2half_rn(value)); }
__device__ __forceinline__ void store(bf16& to, float value) {
    u32 bits = __float_as_uint(value);
    // What is no number stays none: rounding could carry it into the exponent.
    to.bits = value != value ? (u16)(bits >> 16 | 0x40) : (u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// A number as a sum of three in bfloat16, the largest first: eight bits of the 24 in each. Products of two of them are exact in
// f32.
__device__ __forceinline__ void split_in_three(float value, bf16* parts) {
    for (u32 part = 0; part < 3; part++) {
        store(parts[part], value);
        value -= widen(parts[part]);
    }
}

// The bits of a number above zero, which order like it; zero of all others.
__device__ __forceinline__ u32 positive_bits(float value) { return value > 0.0f ? __float_as_uint(value) : 0u; }

// Bits that order like the number, whatever its sign, and are never zero.
__device__ __forceinline__ u32 ordered_bits(float value) {
    u32 bits = __float_as_uint(value);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

// A weight counts where its rank reaches the cut. At a cut of 0 all count, and no ranks are read: there may be none.
// Weight and rank are fetched side by side, whatever the rank says.
template <class W, class R>
__device__ __forceinline__ float kept(const W* weight, const R* ranks, u32 cut, u64 at) {
    float value = widen(weight[at]);
    u32 rank = cut == 0 ? 0 : ranks[at];
    return rank >= cut ? value : 0.0f;
}

// Neighbouring numbers that travel in one load; their address must be a multiple of their size.
template <class T, u32 N>
struct alignas(N * sizeof(T)) Several {
    T at[N];
};

template <u32 N, class T>
__device__ __forceinline__ Several<T, N> several(const T* from, u64 at) {
    return *(const Several<T, N>*)(from + at);
}

// One that fires, as lists have it.
struct alignas(8) Latent {
    u32 index;
    float value;
};

// Where number `at` of rows of `width` is. Both fit 32 bits nearly always, in which a division is several times as fast.
struct Place {
    u64 row, column;

    __device__ __forceinline__ Place(u64 at, u64 width)
        : row((at | width) >> 32 ? at / width : (u32)at / (u32)width), column(at - row * width) {}
};

// First index of this thread in a loop over all threads of the grid, and the step of that loop.
__device__ __forceinline__ u64 first_index() { return (u64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ u64 index_step() { return (u64)gridDim.x * blockDim.x; }

// The sum over a warp, in its first lane.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
    for (u32 step = WARP / 2; step > 0; step /= 2) value += __shfl_down_sync(ALL_LANES, value, step);
    return value;
}

// The same in every lane, to the bit: what two lanes exchange they add in either order.
template <class T>
__device__ __forceinline__ T warp_total(T value) {
    for (u32 step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(ALL_LANES, value, step);
    return value;
}

// The sum over a block of whole warps, in every thread; the order of additions is always the same.
template <class T>
__device__ T block_sum(T value) {
    __shared__ T of_warp[WARP];
    value = warp_sum(value);
    __syncthreads();
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = value;
    __syncthreads();
    T total = 0;
    for (u32 warp = 0; warp < blockDim.x / WARP; warp++) total += of_warp[warp];
    return total;
}

// The largest number of a block of whole warps, in every thread.
__device__ inline float block_max(float value) {
    __shared__ float of_warp[WARP];
    for (u32 step = WARP / 2; step > 0; step /= 2) value = fmaxf(value, __shfl_down_sync(ALL_LANES, value, step));
    __syncthreads();
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = value;
    __syncthreads();
    float max = of_warp[0];
    for (u32 warp = 1; warp < blockDim.x / WARP; warp++) max = fmaxf(max, of_warp[warp]);
    return max;
}

// The sum over all threads of the block before this one; that of all goes to `total`.
template <class T>
__device__ T sum_before(T value, T& total) {
    __shared__ T of_warp[WARP];
    u32 lane = threadIdx.x % WARP;
    T sum = value;
    for (u32 step = 1; step < WARP; step *= 2) {
        T below = __shfl_up_sync(ALL_LANES, sum, step);
        if (lane >= step) sum += below;
    }
    __syncthreads();
    if (lane == WARP - 1) of_warp[threadIdx.x / WARP] = sum;
    __syncthreads();
    total = 0;
    for (u32 warp = 0; warp < blockDim.x / WARP; warp++) {
        if (warp < threadIdx.x / WARP) sum += of_warp[warp];
        total += of_warp[warp];
    }
    return sum - value;
}

// Sums of all counts before each, told to `begins` with the place of the count; the sum of all comes back. One block does it.
template <class F>
__device__ u64 sums_of_counts(const u64* counts, u64 len, F begins) {
    u64 sum = 0;
    for (u64 first = 0; first < len; first += blockDim.x) {
        u64 at = first + threadIdx.x;
        u64 total;
        u64 before = sum + sum_before(at < len ? counts[at] : 0, total);
        if (at < len) begins(at, before);
        sum += total;
    }
    return sum;
}

// How many threads of the block before this one have the flag set; the number in the whole block goes to `total`.
__device__ inline u32 flags_before(bool flag, u32& total) {
    __shared__ u32 of_warp[WARP];
    u32 lane = threadIdx.x % WARP;
    u32 flags = __ballot_sync(ALL_LANES, flag);
    __syncthreads();
    if (lane == 0) of_warp[threadIdx.x / WARP] = __popc(flags);
    __syncthreads();
    u32 before = __popc(flags & ((1u << lane) - 1));
    total = 0;
    for (u32 warp = 0; warp < blockDim.x / WARP; warp++) {
        if (warp < threadIdx.x / WARP) before += of_warp[warp];
        total += of_warp[warp];
    }
    return before;
}

// One entry point for each type of weight: NAME_f32 ... The macro is given (NAME, type).
#define FOR_WEIGHTS(ENTRY)                                                                                             \
    ENTRY(f32, float)                                                                                                  \
    ENTRY(bf16, bf16)                                                                                                  \
    ENTRY(f16, f16)

// One entry point for each type of weight and rank: NAME_f32_u16 ... The macro is given (NAME, weight type, rank type).
#define FOR_WEIGHTS_AND_RANKS(ENTRY)                                                                                   \
    ENTRY(f32_u16, float, u16)                                                                                         \
    ENTRY(f32_u32, float, u32)                                                                                         \
    ENTRY(bf16_u16, bf16, u16)                                                                                         \
    ENTRY(bf16_u32, bf16, u32)                                                                                         \
    ENTRY(f16_u16, f16, u16)                                                                                           \
    ENTRY(f16_u32, f16, u32)
