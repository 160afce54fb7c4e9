// What feeds tensor cores, and their product, of numbers in 16 bits. A matrix of 16 x 16 lies over a warp as PTX has it: four
// quarters of 8 x 8, of each of which lane `l` holds numbers `2 (l % 4)` and the next of row `l / 4`, in one word.
//
// The tests have each of these for the processor (tests/support/stand_in/tensor.h).
#pragma once

#include "common.cuh"

// What launches ask shared memory for.
#ifdef __CUDACC__
#define SHARED(NAME) extern __shared__ uint4 NAME[]

__device__ __forceinline__ u32 shared_address(const void* at) { return (u32)__cvta_generic_to_shared(at); }

// Sixteen bytes from global memory to shared, or as many zeros, by the time of `copies_done`.
__device__ __forceinline__ void copy_later(void* to, const void* from, bool zeros) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(zeros ? 0 : 16)
                 : "memory");
}

// What this thread copies is there, for itself.
__device__ __forceinline__ void copies_done() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Four quarters from shared memory, of which lanes 8 i .. 8 i + 7 give the rows of number i.
__device__ __forceinline__ void load_quarters(u32* quarters, const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(quarters[0]), "=r"(quarters[1]), "=r"(quarters[2]), "=r"(quarters[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// The same, each quarter with its rows for columns.
__device__ __forceinline__ void load_turned_quarters(u32* quarters, const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(quarters[0]), "=r"(quarters[1]), "=r"(quarters[2]), "=r"(quarters[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// Two numbers, rounded to the nearest, in one word: the first in its lower half.
__device__ __forceinline__ u32 pack(float low, float high, bf16) {
    u32 word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
}
__device__ __forceinline__ u32 pack(float low, float high, f16) {
    u32 word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
}

// `sums [16, 8]` grow by the product of `left [16, 16]`, its quarters down the columns, and `[16, 8]`, whose two quarters lie
// turned: a lane has a column. Of the sums a lane has two of row `l / 4`, and the two of the eighth row after it.
#define PRODUCT(TYPE, NAME)                                                                                            \
    __device__ __forceinline__ void add_product(float* sums, const u32* left, u32 upper, u32 lower, TYPE) {            \
        asm("mma.sync.aligned.m16n8k16.row.col.f32." NAME "." NAME ".f32 "                                             \
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                          \
            : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                                               \
            : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(upper), "r"(lower));                         \
    }
PRODUCT(bf16, "bf16")
PRODUCT(f16, "f16")
#undef PRODUCT
#endif
