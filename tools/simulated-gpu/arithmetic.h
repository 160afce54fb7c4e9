// What instructions do with numbers, where C++ has no sign for it.
#pragma once

#include <cfenv>
#include <cmath>
#include <limits>

#include "thread.h"

using u128 = unsigned __int128;

template <class T>
constexpr u32 BITS = sizeof(T) * 8;

template <class T>
constexpr bool IS_SIGNED = std::is_signed_v<T>;

// Numbers of 16 bits are reckoned with as f64, which holds their products exactly, and rounded once.
INLINE f64 widen(f16 value) { return (f64)value; }
INLINE f64 widen(bf16 value) { return get<f32>((u32)value.bits << 16); }
INLINE f32 widen(f32 value) { return value; }
INLINE f64 widen(f64 value) { return value; }

// As an f32 that rounds on to fewer bits as the number itself would: what is cut off leaves its trace in the last bit.
INLINE f32 cut(f64 value) {
    f32 near = (f32)value;
    if ((f64)near == value || std::isnan(value)) return near;
    u32 bits = get<u32>(near);
    if (std::fabs((f64)near) > std::fabs(value)) bits--;
    return get<f32>(bits | 1);
}

// The nearest number, the even one of two; one pattern stands for all that are none.
template <class T>
INLINE T narrow(f64 value) {
    if constexpr (std::is_same_v<T, bf16>) {
        if (std::isnan(value)) return bf16{0x7fff};
        u32 bits = get<u32>(cut(value));
        return bf16{(u16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
    } else if constexpr (std::is_same_v<T, f16>) {
        return std::isnan(value) ? get<f16>((u16)0x7fff) : (f16)value;
    } else {
        return (T)value;
    }
}

// Subnormal numbers as zeros of their sign.
template <class T>
INLINE T flushed(T value) {
    return std::fabs(value) < (T)std::numeric_limits<f32>::min() ? std::copysign((T)0, value) : value;
}

// Between zero and one; what is no number is zero.
template <class T>
INLINE T saturated(T value) {
    if constexpr (std::is_same_v<T, f16> || std::is_same_v<T, bf16>)
        return narrow<T>(saturated(widen(value)));
    else
        return value > 0 ? (value < 1 ? value : (T)1) : (T)0;
}

// The one that is a number, where the other is none; a zero below zero is less than one above.
template <class T>
INLINE T lesser(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
        if (a != a) return b;
        if (b != b) return a;
        if (a == b) return std::signbit(a) ? a : b;
    }
    return a < b ? a : b;
}

template <class T>
INLINE T greater(T a, T b) {
    if constexpr (std::is_floating_point_v<T>) {
        if (a != a) return b;
        if (b != b) return a;
        if (a == b) return std::signbit(a) ? b : a;
    }
    return a > b ? a : b;
}

template <class F>
INLINE f64 or_none(F chosen, f64 a, f64 b) {
    return a != a || b != b ? std::numeric_limits<f64>::quiet_NaN() : chosen(a, b);
}

INLINE f64 high_word(f64 value) {
    return get<f64>(get<u64>(value) & 0xffffffff00000000ull);
}

// Another way to round while one of these lives.
struct Rounding {
    int before = fegetround();
    Rounding(int mode) { fesetround(mode); }
    ~Rounding() { fesetround(before); }
};

// What is volatile is not moved out of the span in which the mode is set.
template <int MODE, class F, class T, class... Others>
__attribute__((noinline)) T rounded(F operation, T a, Others... others) {
    volatile T values[] = {a, others...};
    Rounding mode(MODE);
    volatile T result;
    if constexpr (sizeof...(Others) == 0) result = operation(values[0]);
    if constexpr (sizeof...(Others) == 1) result = operation(values[0], values[1]);
    if constexpr (sizeof...(Others) == 2) result = operation(values[0], values[1], values[2]);
    return result;
}

template <int MODE, class To, class From>
__attribute__((noinline)) To rounded_to(From from) {
    volatile From value = from;
    Rounding mode(MODE);
    volatile To result = (To)value;
    return result;
}

// Two numbers in a word, the second operand in its lower half.
template <class T>
INLINE u32 paired(f64 high, f64 low) {
    return (u32)get<u16>(narrow<T>(high)) << 16 | get<u16>(narrow<T>(low));
}

template <class T, class F, class... Words>
INLINE u32 in_pairs(F operation, Words... words) {
    return paired<T>(operation(widen(get<T>(words >> 16))...), operation(widen(get<T>(words))...));
}

// Whole numbers. What a division by zero gives is not laid down: no bit is clear in it.
template <class T>
INLINE T quotient(T a, T b) {
    if (b == 0) return (T)~(T)0;
    if (IS_SIGNED<T> && b == (T)-1) return (T)-a;
    return a / b;
}

template <class T>
INLINE T remainder(T a, T b) {
    if (b == 0) return a;
    if (IS_SIGNED<T> && b == (T)-1) return 0;
    return a % b;
}

template <class T>
INLINE T negative(T a) {
    return (T)-a;
}

template <class T>
INLINE T shifted_left(T a, u32 by) {
    return by >= BITS<T> ? (T)0 : (T)(a << by);
}

template <class T>
INLINE T shifted_right(T a, u32 by) {
    if (by >= BITS<T>) return IS_SIGNED<T> && a < 0 ? (T)-1 : (T)0;
    return (T)(a >> by);
}

template <class T>
INLINE T low_product(T a, T b) {
    return (T)(a * b);
}

template <class T>
INLINE T high_product(T a, T b) {
    using Wide = std::conditional_t<IS_SIGNED<T>, __int128, u128>;
    return (T)((Wide)a * b >> BITS<T>);
}

template <class T>
INLINE T sum(T a, T b, u32 comes, u32& goes) {
    u128 whole = (u128)a + b + comes;
    goes = (u32)(whole >> BITS<T>) & 1;
    return (T)whole;
}

template <class T>
INLINE T difference(T a, T b, u32 comes, u32& goes) {
    u128 whole = (u128)a - b - comes;
    goes = (u32)(whole >> BITS<T>) & 1;
    return (T)whole;
}

template <class T>
INLINE u32 bits_set(T a) {
    return __builtin_popcountll(a);
}

template <class T>
INLINE u32 leading_zeros(T a) {
    return a == 0 ? BITS<T> : __builtin_clzll(a) - (64 - BITS<T>);
}

template <class T>
INLINE T low_bits(u32 count) {
    return count >= BITS<T> ? (T)~(T)0 : (T)(((T)1 << count) - 1);
}

// The lowest `count` bits of `a` in the place of those of `b` from `at` on.
template <class T>
INLINE T field_set(T a, T b, u32 at, u32 count) {
    at &= 255;
    T mask = shifted_left(low_bits<T>(count & 255), at);
    return (b & ~mask) | (shifted_left(a, at) & mask);
}

INLINE u32 bytes_chosen(u32 a, u32 b, u32 choice) {
    u64 all = (u64)b << 32 | a;
    u32 chosen = 0;
    for (u32 at = 0; at < 4; at++) {
        u32 which = choice >> (4 * at) & 15;
        u32 byte = all >> (8 * (which & 7)) & 255;
        if (which & 8) byte = byte & 128 ? 255 : 0;
        chosen |= byte << (8 * at);
    }
    return chosen;
}

INLINE s32 products_of_bytes(u32 a, u32 b, s32 sum) {
    for (u32 at = 0; at < 32; at += 8) sum += (s32)(s8)(a >> at) * (s32)(s8)(b >> at);
    return sum;
}

// The nearest that the type holds, of a number that is whole already.
template <class T, class F>
INLINE T whole(F value) {
    if (value != value) return sizeof(T) == 8 ? (T)((u64)1 << 63) : (T)0;
    const F least = (F)std::numeric_limits<T>::min(), most = (F)std::numeric_limits<T>::max();
    if (value <= least) return std::numeric_limits<T>::min();
    return value >= most ? std::numeric_limits<T>::max() : (T)value;
}
