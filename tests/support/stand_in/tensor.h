// What `tensor.cuh` has of a card's own instructions. Copies come as late as they may: who reads before they are waited for
// finds nonsense.
#pragma once

#include "../../../crates/prunelens-kernels/src/cuda/common.cuh"

namespace card {

struct Copy {
    void* to;
    const void* from;
    bool zeros;
};

inline std::vector<Copy> copies[MOST_THREADS];

[[noreturn]] inline void refuse(const char* what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

// Sixteen bytes of what the launch asked for.
inline void expect_shared(const void* at) {
    uintptr_t byte = (uintptr_t)at - (uintptr_t)shared;
    if (byte % 16 != 0 || byte + 16 > shared_bytes) refuse("shared memory that is not aligned, or was not asked for");
}

inline u32 pair(u16 low, u16 high) { return low | (u32)high << 16; }

} // namespace card

#define SHARED(NAME) void* NAME = card::shared

inline void copy_later(void* to, const void* from, bool zeros) {
    card::expect_shared(to);
    if (!zeros && (uintptr_t)from % 16 != 0) card::refuse("sixteen bytes are read from where they cannot be");
    card::copies[threadIdx.x].push_back({to, from, zeros});
}

inline void copies_done() {
    for (const card::Copy& copy : card::copies[threadIdx.x])
        copy.zeros ? memset(copy.to, 0, 16) : memcpy(copy.to, copy.from, 16);
    card::copies[threadIdx.x].clear();
}

inline void load_quarters(u32* quarters, const void* row) {
    card::expect_shared(row);
    const uint64_t* rows = card::give((uint64_t)row);
    u32 lane = threadIdx.x % 32;
    for (u32 i = 0; i < 4; i++) memcpy(&quarters[i], (const u32*)rows[8 * i + lane / 4] + lane % 4, 4);
}

inline void load_turned_quarters(u32* quarters, const void* row) {
    card::expect_shared(row);
    const uint64_t* rows = card::give((uint64_t)row);
    u32 lane = threadIdx.x % 32;
    auto number = [&](u32 row) { return ((const u16*)rows[row])[lane / 4]; };
    for (u32 i = 0; i < 4; i++)
        quarters[i] = card::pair(number(8 * i + lane % 4 * 2), number(8 * i + lane % 4 * 2 + 1));
}

template <class T>
u32 pack(float low, float high, T) {
    T numbers[2];
    store(numbers[0], low);
    store(numbers[1], high);
    return card::pair(numbers[0].bits, numbers[1].bits);
}

template <class T>
void add_product(float* sums, const u32* left, u32 upper, u32 lower, T) {
    // By lane: four quarters of the left matrix and two of the right.
    u32 quarters[6][32];
    const u32 mine[6] = {left[0], left[1], left[2], left[3], upper, lower};
    for (u32 two = 0; two < 6; two += 2) {
        const uint64_t* given = card::give(mine[two] | (uint64_t)mine[two + 1] << 32);
        for (u32 lane = 0; lane < 32; lane++) {
            quarters[two][lane] = (u32)given[lane];
            quarters[two + 1][lane] = (u32)(given[lane] >> 32);
        }
    }
    auto number = [&](u32 quarter, u32 row, u32 column) {
        return widen(T{(u16)(quarters[quarter][row * 4 + column / 2] >> 16 * (column % 2))});
    };
    u32 lane = threadIdx.x % 32;
    for (u32 at = 0; at < 4; at++) {
        u32 row = lane / 4, column = lane % 4 * 2 + at % 2;
        for (u32 k = 0; k < 16; k++)
            sums[at] += number(k / 8 * 2 + at / 2, row, k % 8) * number(4 + k / 8, column, k % 8);
    }
}
