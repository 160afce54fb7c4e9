// Which numbers of two arrays are the same, a bit each, and the numbers that such bits keep.

#include "common.cuh"

// A byte has eight numbers, which travel in two loads; what is left at the end is looked at one by one.
template <class B>
__device__ void same_bits(const B* before, const B* after, u64 len, u8* out) {
    for (u64 byte = first_index(); byte * 8 < len; byte += index_step()) {
        u64 at = byte * 8;
        u32 same = 0;
        if (at + 8 <= len) {
#pragma unroll
            for (u32 half = 0; half < 8; half += 4) {
                Several<B, 4> a = several<4>(before, at + half), b = several<4>(after, at + half);
#pragma unroll
                for (u32 n = 0; n < 4; n++) same |= (u32)(a.at[n] == b.at[n]) << (half + n);
            }
        } else {
            for (u32 n = 0; at + n < len; n++) same |= (u32)(before[at + n] == after[at + n]) << n;
        }
        out[byte] = (u8)same;
    }
}

template <class B>
__device__ void keep_bits(const B* values, const u8* bits, u64 len, B* out) {
    for (u64 byte = first_index(); byte * 8 < len; byte += index_step()) {
        u64 at = byte * 8;
        u32 keep = bits[byte];
        if (at + 8 <= len) {
#pragma unroll
            for (u32 half = 0; half < 8; half += 4) {
                Several<B, 4> those = several<4>(values, at + half);
#pragma unroll
                for (u32 n = 0; n < 4; n++) those.at[n] = keep >> (half + n) & 1 ? those.at[n] : 0;
                *(Several<B, 4>*)(out + at + half) = those;
            }
        } else {
            for (u32 n = 0; at + n < len; n++) out[at + n] = keep >> n & 1 ? values[at + n] : 0;
        }
    }
}

#define ENTRY(NAME, B)                                                                                                 \
    extern "C" __global__ void same_bits_##NAME(const B* before, const B* after, u64 len, u8* out) {                   \
        same_bits(before, after, len, out);                                                                            \
    }                                                                                                                  \
    extern "C" __global__ void keep_bits_##NAME(const B* values, const u8* bits, u64 len, B* out) {                    \
        keep_bits(values, bits, len, out);                                                                             \
    }
ENTRY(u16, u16)
ENTRY(u32, u32)
#undef ENTRY
