// A stand-in for a GPU: the names that the kernels use, for a C++ compiler of the processor. Threads of a block are fibers
// that take turns; each runs until it waits for others.
#pragma once

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <vector>

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
// One block runs at a time.
#define __shared__ static

// Jumps between fibers, which are most of what a kernel does here. The compiler's own keep three addresses where the library's keep
// all registers and look after signals; compilers for other processors do not have them.
#if defined(__x86_64__) && defined(__GNUC__)
using Point = void* [5];
#define MARK(point) __builtin_setjmp(point)
#define GO_TO(point) __builtin_longjmp(point, 1)
#else
using Point = jmp_buf;
#define MARK(point) _setjmp(point)
#define GO_TO(point) _longjmp(point, 1)
#endif

namespace card {

struct Index {
    uint32_t x, y, z;
};

// Threads that wait for each other.
struct Meeting {
    uint32_t members = 0, arrived = 0, turn = 0;

    void release() {
        if (members > 0 && arrived == members) {
            arrived = 0;
            turn++;
        }
    }
};

// What lanes give each other, in turn in one of two places: whoever writes a place again has been met by all who read it.
struct Warp {
    Meeting meeting;
    uint64_t values[2][32];
};

struct Fiber {
    // Where it starts, and where it goes on: jumps take no call to the system, as a switch of contexts does.
    ucontext_t context;
    Point point;
    bool started = false;
    std::vector<char> stack;
    bool done = true;
    uint32_t exchanges = 0;
};

// Kept from block to block, each where it is: a block has no more threads than these.
constexpr uint32_t MOST_THREADS = 1024;
inline Fiber fibers[MOST_THREADS];
inline std::vector<Warp> warps;
inline Meeting block;
inline Point scheduler;
inline uint32_t running;
inline bool moved;
inline void (*body)();

// Shared memory that a launch asks for, which the smallest of cards has, and how much of it there is.
constexpr uint32_t MOST_SHARED = 99 << 10;
alignas(16) inline char shared[MOST_SHARED];
inline uint32_t shared_bytes;

} // namespace card

inline card::Index threadIdx, blockIdx, blockDim, gridDim;

namespace card {

inline Warp& warp() { return warps[threadIdx.x / 32]; }

// By itself: a function that marks a point may not be one that jumps.
[[noreturn]] __attribute__((noinline)) inline void jump(Point& point) { GO_TO(point); }

// Let the others run.
__attribute__((noinline)) inline void pause() {
    if (MARK(fibers[running].point) == 0) jump(scheduler);
}

// Go on with the running fiber until it pauses.
__attribute__((noinline)) inline void resume(Fiber& fiber) {
    if (MARK(scheduler) != 0) return;
    if (fiber.started) jump(fiber.point);
    fiber.started = true;
    setcontext(&fiber.context);
}

inline void wait(Meeting& meeting) {
    uint32_t turn = meeting.turn;
    meeting.arrived++;
    meeting.release();
    moved = true;
    while (meeting.turn == turn) pause();
}

inline void run_fiber() {
    // Once for each block.
    for (;;) {
        body();
        fibers[running].done = true;
        moved = true;
        // Those who have left are not waited for.
        block.members--;
        block.release();
        warp().meeting.members--;
        warp().meeting.release();
        pause();
    }
}

inline void run_block(uint32_t threads) {
    block = Meeting{threads};
    warps.assign((threads + 31) / 32, Warp{});
    for (uint32_t at = 0; at < threads; at++) warps[at / 32].meeting.members++;
    if (threads > MOST_THREADS) {
        fprintf(stderr, "a block of %u threads: a card takes %u\n", threads, MOST_THREADS);
        abort();
    }
    for (uint32_t at = 0; at < threads; at++) {
        Fiber& fiber = fibers[at];
        fiber.done = false;
        fiber.exchanges = 0;
        if (fiber.started) continue;
        fiber.stack.resize(64 << 10);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, run_fiber, 0);
    }
    for (bool left = true; left;) {
        left = moved = false;
        for (running = 0; running < threads; running++) {
            if (fibers[running].done) continue;
            left = true;
            threadIdx = {running, 0, 0};
            resume(fibers[running]);
        }
        // Whoever was released either met others again or left.
        if (left && !moved) {
            fprintf(stderr, "threads of a block wait for each other for ever\n");
            abort();
        }
    }
}

// What all lanes of this warp give.
inline const uint64_t* give(uint64_t value) {
    Warp& mine = warp();
    uint64_t* place = mine.values[fibers[running].exchanges++ % 2];
    place[threadIdx.x % 32] = value;
    wait(mine.meeting);
    return place;
}

// What lane `lane` of this warp gives; all lanes take part.
template <class T>
T exchange(T value, uint32_t lane) {
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    const uint64_t* given = give(bits);
    memcpy(&value, &given[lane % 32], sizeof value);
    return value;
}

} // namespace card

inline void __syncthreads() { card::wait(card::block); }

template <class T>
T __shfl_down_sync(uint32_t, T value, uint32_t step) {
    uint32_t lane = threadIdx.x % 32;
    return card::exchange(value, lane + step < 32 ? lane + step : lane);
}

template <class T>
T __shfl_up_sync(uint32_t, T value, uint32_t step) {
    uint32_t lane = threadIdx.x % 32;
    return card::exchange(value, lane >= step ? lane - step : lane);
}

template <class T>
T __shfl_sync(uint32_t, T value, uint32_t lane) {
    return card::exchange(value, lane);
}

template <class T>
T __shfl_xor_sync(uint32_t, T value, uint32_t mask) {
    return card::exchange(value, threadIdx.x % 32 ^ mask);
}

inline void __syncwarp() { card::give(0); }

// The lanes for which `holds(value of the lane)`.
template <class T, class F>
uint32_t card_lanes(T value, F holds) {
    const uint64_t* given = card::give(value);
    uint32_t lanes = 0;
    for (uint32_t lane = 0; lane < 32; lane++) lanes |= (uint32_t)holds(given[lane]) << lane;
    return lanes;
}

inline uint32_t __ballot_sync(uint32_t, bool flag) {
    return card_lanes(flag, [](uint64_t other) { return other != 0; });
}

inline uint32_t __match_any_sync(uint32_t, uint32_t value) {
    return card_lanes(value, [=](uint64_t other) { return other == value; });
}

inline uint32_t __popc(uint32_t bits) { return __builtin_popcount(bits); }

template <class T>
T atomicAdd(T* at, T value) {
    T before = *at;
    *at += value;
    return before;
}

template <class T>
T atomicOr(T* at, T value) {
    T before = *at;
    *at |= value;
    return before;
}

template <class T>
T atomicMax(T* at, T value) {
    T before = *at;
    if (value > before) *at = value;
    return before;
}

inline float __fdividef(float a, float b) { return a / b; }

inline float __uint_as_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline uint32_t __float_as_uint(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

inline double __longlong_as_double(long long bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

struct __half {
    uint16_t bits;
};

inline __half __ushort_as_half(uint16_t bits) { return {bits}; }
inline uint16_t __half_as_ushort(__half half) { return half.bits; }

inline __half __float2half_rn(float value) {
    uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    float size = std::fabs(value);
    if (std::isnan(value)) return {(uint16_t)(sign | 0x7e00)};
    if (size >= 65520.0f) return {(uint16_t)(sign | 0x7c00)};
    if (size == 0.0f) return {sign};
    int exponent;
    std::frexp(size, &exponent);
    exponent = std::max(exponent - 1, -14);
    // In units of the last place; the highest carries into the exponent by itself.
    int units = (int)std::nearbyint(std::ldexp(size, 10 - exponent));
    return {(uint16_t)(sign | (exponent == -14 ? units : ((exponent + 15) << 10) + units - 1024))};
}

inline float __half2float(__half half) {
    int exponent = (half.bits >> 10) & 31;
    float fraction = (half.bits & 1023) / 1024.0f;
    float size = exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1.0f + fraction, exponent - 15);
    if (exponent == 31) size = fraction == 0.0f ? INFINITY : NAN;
    return half.bits >> 15 ? -size : size;
}

// Run a kernel whose arguments are pointers and unsigned integers: each travels in a word of its own.
extern "C" __global__ void card_launch(void* kernel, const uint32_t* grid, uint32_t threads, uint32_t shared,
                                       const uint64_t* arguments) {
    static void* function;
    static const uint64_t* a;
    function = kernel;
    a = arguments;
    card::body = [] {
        using Kernel = void (*)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
        ((Kernel)function)(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13],
                           a[14], a[15]);
    };
    if (shared > card::MOST_SHARED) {
        fprintf(stderr, "%u bytes of shared memory: not every card has as much\n", shared);
        abort();
    }
    card::shared_bytes = shared;
    memset(card::shared, 0xab, shared);
    gridDim = {grid[0], grid[1], 1};
    blockDim = {threads, 1, 1};
    for (uint32_t y = 0; y < grid[1]; y++)
        for (uint32_t x = 0; x < grid[0]; x++) {
            blockIdx = {x, y, 0};
            card::run_block(threads);
        }
}
