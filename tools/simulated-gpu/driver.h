// What the parts of libcuda share.
#pragma once

#include <mutex>
#include <string>

#include "block.h"

#define API extern "C" EXPORTED

// CUresult, as far as it is given.
enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    PEER_ACCESS_UNSUPPORTED = 217,
    INVALID_PTX = 218,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    LAUNCH_OUT_OF_RESOURCES = 701,
    PEER_ACCESS_ALREADY_ENABLED = 704,
};

constexpr u32 MOST_SHARED = 232448;
// More than this must be asked for.
constexpr u32 COMMON_SHARED = 48 << 10;

// Each device has one: the primary context.
struct Context {
    int device = 0;
    bool peers[MOST_DEVICES] = {};
};

struct Stream {
    Context* context;
};

struct Event {
    Context* context;
    double at = 0;
};

struct Module;

struct Function {
    Module* module;
    std::string name, ptx;
    u32 most_dynamic = 0;
    const Kernel* kernel = nullptr;
};

struct Module {
    Context* context;
    // Empty: the program's own kernels, in machine code; their PTX is looked up by name.
    std::string ptx;
};

// The calling thread's.
extern thread_local Context* current_context;
Context& context_of_device(int device);
// A stream's; the current one for those that have no handle of their own.
Context* context_of(void* stream);

// Guards what follows: allocations, modules and contexts.
extern std::recursive_mutex driver_lock;
using Lock = std::lock_guard<std::recursive_mutex>;

// What a call needs that works in a context.
#define NEEDS_CONTEXT \
    if (current_context == nullptr) return INVALID_CONTEXT

// Finds or makes the kernel's code.
bool load(Function& function);

// Since when, in milliseconds, does not matter.
double milliseconds();

// For the report at the end, in memory.cpp.
void report_memory();
