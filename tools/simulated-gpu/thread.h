// What a translated kernel has: its types, its registers, its block, and memory that is checked.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#define INLINE static inline __attribute__((always_inline))
#define EXPORTED __attribute__((visibility("default")))

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using s8 = int8_t;
using s16 = int16_t;
using s32 = int32_t;
using s64 = int64_t;
using b8 = u8;
using b16 = u16;
using b32 = u32;
using b64 = u64;
using f32 = float;
using f64 = double;
using f16 = _Float16;
struct bf16 {
    u16 bits;
};

struct Range {
    u64 start, bytes;

    bool holds(u64 address, u64 count) const {
        return address >= start && address - start <= bytes && count <= bytes - (address - start);
    }
};

struct Parameter {
    u32 offset, bytes;
};

struct Thread;

// What a translated kernel says of itself.
struct Kernel {
    void (*run)(Thread*);
    const Parameter* parameters;
    u32 parameter_count, parameter_bytes;
    // Variables with given values, which kernels only read.
    const Range* constants;
    u32 constant_count;
    // Shared memory: what the kernel's own variables take, and where what a launch adds begins, if the kernel uses it.
    u32 shared_bytes, dynamic_at, takes_dynamic;
    u32 most_threads;
    // Whether its threads wait for each other.
    u32 meets;
};

struct Block {
    u32 index[3], size[3], grid[3];
    u8* shared;
    u32 shared_bytes;
    const u8* parameters;
    const Kernel* kernel;
    const char* name;
    int device;
    bool checks_races;
};

// A copy that takes effect when it is waited for.
struct Copy {
    u64 to, from;
    u32 given, bytes;
};

struct Thread {
    Block* block;
    u32 index[3];
    u32 number, lane, warp;
    // The memory that was met last.
    Range known;
    std::vector<Copy> copies;
    void* stack_pointer;
};

enum Use { READ, WRITE, ATOMIC };

// In block.cpp.
[[noreturn]] EXPORTED void fail(Thread* t, const char* what);
[[noreturn]] EXPORTED void fail_at(Thread* t, const char* what, u64 address);
EXPORTED void find_memory(Thread* t, u64 address, u32 bytes, Use use);
EXPORTED void check_race(Thread* t, u32 address, u32 bytes, Use use);
EXPORTED void barrier(Thread* t);

// The low bits of a register, as a type.
template <class T, class R>
INLINE T get(R value) {
    static_assert(sizeof(R) >= sizeof(T), "a register is too narrow");
    T low;
    memcpy(&low, &value, sizeof low);
    return low;
}

// Into a register that may be wider: signed numbers keep their sign, all else is filled up with zeros.
template <class T, class R>
INLINE void set(R& to, T value) {
    static_assert(sizeof(R) >= sizeof(T), "a register is too narrow");
    if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
        to = (R)(s64)value;
    } else {
        R wide = 0;
        memcpy(&wide, &value, sizeof value);
        to = wide;
    }
}

template <class T>
INLINE T immediate(u64 bits) {
    return get<T>(bits);
}

template <class T>
INLINE T loaded(const u8* at) {
    T value;
    memcpy(&value, at, sizeof value);
    return value;
}

template <class T>
INLINE void stored(u8* at, T value) {
    memcpy(at, &value, sizeof value);
}

INLINE void check_alignment(Thread* t, u64 address, u32 bytes) {
    if (__builtin_expect((address & (bytes - 1)) != 0, 0)) fail_at(t, "misaligned access", address);
}

// Each of these is for an access of 1, 2, 4, 8 or 16 bytes, a vector's as a whole.
INLINE u8* global_memory(Thread* t, u64 address, u32 bytes, Use use) {
    check_alignment(t, address, bytes);
    if (__builtin_expect(!t->known.holds(address, bytes), 0)) find_memory(t, address, bytes, use);
    return (u8*)address;
}

INLINE u8* shared_memory(Thread* t, u64 address, u32 bytes, Use use) {
    Block* block = t->block;
    check_alignment(t, address, bytes);
    if (__builtin_expect(address > block->shared_bytes || bytes > block->shared_bytes - address, 0))
        fail_at(t, "shared memory out of bounds", address);
    if (__builtin_expect(block->checks_races, 0)) check_race(t, address, bytes, use);
    return block->shared + address;
}

// What a thread keeps for itself lies on its stack, as the compiler of the translated code has it.
INLINE u8* local_memory(Thread* t, u64 address, u32 bytes, Use) {
    check_alignment(t, address, bytes);
    return (u8*)address;
}

// An address that may be of any memory.
INLINE u8* generic_memory(Thread* t, u64 address, u32 bytes, Use use) {
    u64 within = address - (u64)t->block->shared;
    if (within < t->block->shared_bytes) return shared_memory(t, within, bytes, use);
    return global_memory(t, address, bytes, use);
}

// An atomic change: what was there before. Blocks run at the same time.
template <class T, class F>
INLINE T changed(u8* at, F change) {
    using Bits = std::conditional_t<sizeof(T) == 2, u16, std::conditional_t<sizeof(T) == 4, u32, u64>>;
    Bits* place = (Bits*)at;
    Bits old = __atomic_load_n(place, __ATOMIC_SEQ_CST);
    for (;;) {
        Bits next = get<Bits>(change(get<T>(old)));
        if (__atomic_compare_exchange_n(place, &old, next, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return get<T>(old);
    }
}

// From global memory to shared: the bytes given, and zeros for the others.
INLINE void copy_later(Thread* t, u64 to, u64 from, u32 bytes, u32 given) {
    check_alignment(t, from, bytes);
    shared_memory(t, to, bytes, WRITE);
    if (given > bytes) fail(t, "a copy is given more than it takes");
    if (given > 0 && !t->known.holds(from, given)) find_memory(t, from, given, READ);
    t->copies.push_back({to, from, given, bytes});
}

INLINE void copies_done(Thread* t) {
    for (const Copy& copy : t->copies) {
        u8* to = shared_memory(t, copy.to, copy.bytes, WRITE);
        memset(to, 0, copy.bytes);
        memcpy(to, (const void*)copy.from, copy.given);
    }
    t->copies.clear();
}

INLINE void assertion_failed(Thread* t, const u8* message) {
    fail(t, loaded<const char*>(message));
}
