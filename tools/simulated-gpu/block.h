// Running the blocks of a launch.
#pragma once

#include "thread.h"

constexpr int MOST_DEVICES = 8;
constexpr u32 MOST_THREADS = 1024;
// How the process ends where a check fails.
constexpr int CHECK_FAILED = 86;

struct Launch {
    const Kernel* kernel;
    const char* name;
    u32 grid[3], size[3];
    u32 dynamic_bytes;
    const u8* parameters;
    int device;
};

// Returns when all blocks have ended.
void run_blocks(const Launch& launch);

// The allocation of a device, or of one that it has access to, with these bytes. In memory.cpp.
bool find_allocation(u64 address, u64 bytes, int device, Range& found);
// Says which allocation is nearest to an address that is in none.
void say_nearest(u64 address, u32 bytes);
