// Whether two threads of a block touch a byte of shared memory, one of them writing, with nothing that orders the two:
// no barrier, and no operation of their warp that both take part in. Of several readers of a byte, the last one is
// remembered.
#pragma once

#include <algorithm>
#include <array>

#include "thread.h"

class Races {
    struct Touch {
        u64 span = 0;
        u32 thread = 0, time = 0;
    };
    struct Byte {
        Touch written, read;
    };
    // How far each lane of its warp has come, as far as a thread knows; its own lane's is its time.
    using Times = std::array<u32, 32>;

    std::vector<Byte> bytes;
    std::vector<Times> heard;
    // Counts barriers, and goes on from block to block.
    u64 span = 0;

    bool ordered(const Touch& touch, u32 thread) const {
        if (touch.span != span || touch.thread == thread) return true;
        return touch.thread / 32 == thread / 32 && heard[thread][touch.thread % 32] > touch.time;
    }

public:
    void start(u32 threads, u32 shared_bytes) {
        span++;
        heard.assign((threads + 31) / 32 * 32, Times{});
        if (bytes.size() < shared_bytes) bytes.resize(shared_bytes);
    }

    void barrier() { span++; }

    void meet(u32 warp, u32 mask) {
        Times all{};
        for (u32 lane = 0; lane < 32; lane++) {
            if (!(mask >> lane & 1)) continue;
            Times& own = heard[warp * 32 + lane];
            own[lane]++;
            for (u32 at = 0; at < 32; at++) all[at] = std::max(all[at], own[at]);
        }
        for (u32 lane = 0; lane < 32; lane++)
            if (mask >> lane & 1) heard[warp * 32 + lane] = all;
    }

    // The thread that this one races, or none: -1. Atomic changes do not race each other.
    int touch(u32 thread, u32 address, u32 count, Use use) {
        Touch now{span, thread, heard[thread][thread % 32]};
        for (Byte* byte = &bytes[address]; byte < &bytes[address] + count; byte++) {
            if (!ordered(byte->written, thread)) return (int)byte->written.thread;
            if (use != READ && !ordered(byte->read, thread)) return (int)byte->read.thread;
            if (use == READ) byte->read = now;
            if (use == WRITE) byte->written = now;
        }
        return -1;
    }
};
