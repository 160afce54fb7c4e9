// What the lanes of a warp do together: each gives something, and all that a mask names meet.
#pragma once

#include "arithmetic.h"

constexpr u32 LANES = 32;
constexpr u32 ALL_LANES = 0xffffffffu;
constexpr u32 MOST_GIVEN = 6;

enum class Together { SYNC, SHUFFLE, VOTE, MATCH, PRODUCT, QUARTERS };

// What each lane has given.
using Given = u64[LANES][MOST_GIVEN];

// In block.cpp. What is given stays until all lanes meet for the second time after this.
EXPORTED const Given& meet(Thread* t, Together what, u32 mask, const u64* values, u32 count);

INLINE void warp_barrier(Thread* t, u32 mask) {
    u64 nothing = 0;
    meet(t, Together::SYNC, mask, &nothing, 1);
}

enum class Way { up, down, bfly, idx };

// `limits` holds the last lane that is read, and which bits of a lane's number say its segment of the warp.
template <Way WAY>
INLINE u32 shuffle(Thread* t, u32 value, u32 by, u32 limits, u32 mask, bool& took) {
    u64 own = value;
    const Given& given = meet(t, Together::SHUFFLE, mask, &own, 1);
    u32 segment = limits >> 8 & 31;
    s32 first = t->lane & segment, last = first | (limits & 31 & ~segment);
    s32 lane = t->lane, step = by & 31;
    s32 from;
    if (WAY == Way::up) from = lane - step;
    if (WAY == Way::down) from = lane + step;
    if (WAY == Way::bfly) from = lane ^ step;
    if (WAY == Way::idx) from = first | (step & ~segment);
    took = WAY == Way::up ? from >= last : from <= last;
    if (!took) from = lane;
    if (!(mask >> from & 1)) fail(t, "a shuffle reads a lane that does not take part");
    return (u32)given[from][0];
}

// The lanes of a mask for which something holds.
template <class F>
INLINE u32 lanes_where(u32 mask, F holds) {
    u32 lanes = 0;
    for (u32 lane = 0; lane < LANES; lane++)
        if (mask >> lane & 1 && holds(lane)) lanes |= 1u << lane;
    return lanes;
}

INLINE u32 ballot(Thread* t, bool holds, u32 mask) {
    u64 own = holds;
    const Given& given = meet(t, Together::VOTE, mask, &own, 1);
    return lanes_where(mask, [&](u32 lane) { return given[lane][0] != 0; });
}

INLINE u32 matching(Thread* t, u64 value, u32 mask) {
    const Given& given = meet(t, Together::MATCH, mask, &value, 1);
    return lanes_where(mask, [&](u32 lane) { return given[lane][0] == value; });
}

// d = a b + c of matrices of 16 x 16, 16 x 8 and 16 x 8 that lie over the warp: of each quarter of 8 x 8, lane `l`
// holds numbers `2 (l % 4)` and the next of row `l / 4`, or of that column of `b`.
template <class T>
INLINE void matrix_product(Thread* t, f32* d, const u32* a, const u32* b, const f32* c) {
    u64 own[MOST_GIVEN] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const Given& given = meet(t, Together::PRODUCT, ALL_LANES, own, MOST_GIVEN);
    auto number = [&](u32 row, u32 column, u32 word) {
        return widen(get<T>((u32)given[row * 4 + column / 2][word] >> (16 * (column & 1))));
    };
    for (u32 at = 0; at < 4; at++) {
        u32 row = t->lane / 4, column = t->lane % 4 * 2 + (at & 1), lower = at / 2;
        f64 sum = c[at];
        for (u32 k = 0; k < 16; k++) {
            u32 right = k / 8;
            sum += number(row, k % 8, 2 * right + lower) * number(column, k % 8, 4 + right);
        }
        d[at] = (f32)sum;
    }
}

// Four quarters of 8 x 8 from shared memory, of which lanes 8 i .. 8 i + 7 give the rows of number i.
INLINE void load_quarters(Thread* t, u32* d, u64 address, bool turned) {
    shared_memory(t, address, 16, READ);
    const Given& given = meet(t, Together::QUARTERS, ALL_LANES, &address, 1);
    for (u32 quarter = 0; quarter < 4; quarter++) {
        u16 numbers[2];
        for (u32 at = 0; at < 2; at++) {
            u32 row = t->lane / 4, column = t->lane % 4 * 2 + at;
            if (turned) std::swap(row, column);
            u64 from = given[8 * quarter + row][0] + 2 * column;
            numbers[at] = loaded<u16>(shared_memory(t, from, 2, READ));
        }
        d[quarter] = (u32)numbers[1] << 16 | numbers[0];
    }
}
