// Allocations and copies. Each allocation is a mapping of its own, filled with nonsense, and gone when it is freed.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sys/mman.h>

#include "driver.h"
#include "settings.h"

namespace {

constexpr int NONSENSE = 0xab;
// Larger allocations are left as zeros: filling them would make them take memory.
constexpr u64 MOST_FILLED = 256 << 20;

struct Allocation {
    u64 bytes;
    int device;
};

struct Memory {
    // By address.
    std::map<u64, Allocation> allocations;
    u64 used[MOST_DEVICES] = {}, peak = 0;
    std::atomic<u64> readbacks{0}, bytes_read{0};

    // The allocation that begins at an address, or before it.
    const std::pair<const u64, Allocation>* before(u64 address) const {
        auto next = allocations.upper_bound(address);
        return next == allocations.begin() ? nullptr : &*std::prev(next);
    }

    const std::pair<const u64, Allocation>* around(u64 address, u64 bytes) const {
        auto found = before(address);
        return found != nullptr && Range{found->first, found->second.bytes}.holds(address, bytes) ? found : nullptr;
    }
};

// Never destroyed: what a program frees at its end comes late.
Memory& memory() {
    static Memory& all = *new Memory;
    return all;
}

// A page more than asked for, so that no two allocations touch.
u64 mapped(u64 bytes) { return (bytes + 511) / 512 * 512 + 4096; }

int allocate(u64* address, u64 bytes, int device) {
    Lock lock(driver_lock);
    if (bytes == 0) return INVALID_VALUE;
    if (bytes > settings().memory - memory().used[device]) return OUT_OF_MEMORY;
    constexpr int KIND = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void* place = mmap(nullptr, mapped(bytes), PROT_READ | PROT_WRITE, KIND, -1, 0);
    if (place == MAP_FAILED) return OUT_OF_MEMORY;
    if (bytes <= MOST_FILLED) memset(place, NONSENSE, bytes);
    memory().allocations[(u64)place] = {bytes, device};
    memory().used[device] += bytes;
    memory().peak = std::max(memory().peak, memory().used[device]);
    *address = (u64)place;
    return SUCCESS;
}

int release(u64 address, int device) {
    Lock lock(driver_lock);
    if (address == 0) return SUCCESS;
    auto found = memory().allocations.find(address);
    if (found == memory().allocations.end()) {
        say("freed twice, or never allocated: 0x%lx", address);
        return INVALID_VALUE;
    }
    Allocation freed = found->second;
    if (freed.device != device) say("memory of device %d is freed in a context of device %d", freed.device, device);
    memory().used[freed.device] -= freed.bytes;
    munmap((void*)address, mapped(freed.bytes));
    memory().allocations.erase(found);
    return SUCCESS;
}

// Whether a copy stays in one allocation, of any device.
bool within(u64 address, u64 bytes, const char* what) {
    Lock lock(driver_lock);
    if (bytes == 0 || memory().around(address, bytes) != nullptr) return true;
    say("%s out of bounds: %lu bytes at 0x%lx", what, bytes, address);
    return false;
}

} // namespace

bool find_allocation(u64 address, u64 bytes, int device, Range& range) {
    Lock lock(driver_lock);
    auto found = memory().around(address, bytes);
    if (found == nullptr) return false;
    int owner = found->second.device;
    if (owner != device && !context_of_device(device).peers[owner]) return false;
    range = {found->first, found->second.bytes};
    return true;
}

void say_nearest(u64 address, u32 bytes) {
    Lock lock(driver_lock);
    if (auto found = memory().before(address))
        say("%u bytes are accessed %lu behind the start of an allocation of %lu, on device %d", bytes,
            address - found->first, found->second.bytes, found->second.device);
}

// For the libraries beside this one.
API bool simulated_memory_holds(u64 address, u64 bytes) {
    Range range;
    return current_context != nullptr && find_allocation(address, bytes, current_context->device, range);
}

API bool simulated_context() { return current_context != nullptr; }

void report_memory() {
    Lock lock(driver_lock);
    u64 held = 0;
    for (u64 used : memory().used) held += used;
    say("peak memory %lu MiB; at the end %lu bytes held in %zu allocations; %lu readbacks of %lu KiB",
        memory().peak >> 20, held, memory().allocations.size(), memory().readbacks.load(),
        memory().bytes_read.load() >> 10);
}

API int cuMemAlloc_v2(u64* address, size_t bytes) {
    NEEDS_CONTEXT;
    return allocate(address, bytes, current_context->device);
}

API int cuMemAllocAsync(u64* address, size_t bytes, void* stream) {
    NEEDS_CONTEXT;
    return allocate(address, bytes, context_of(stream)->device);
}

API int cuMemAllocFromPoolAsync(u64* address, size_t bytes, void*, void* stream) {
    return cuMemAllocAsync(address, bytes, stream);
}

API int cuMemFree_v2(u64 address) {
    NEEDS_CONTEXT;
    return release(address, current_context->device);
}

API int cuMemFreeAsync(u64 address, void* stream) {
    NEEDS_CONTEXT;
    return release(address, context_of(stream)->device);
}

API int cuMemHostAlloc(void** address, size_t bytes, unsigned) {
    NEEDS_CONTEXT;
    *address = malloc(bytes);
    return *address == nullptr ? OUT_OF_MEMORY : SUCCESS;
}

API int cuMemFreeHost(void* address) {
    free(address);
    return SUCCESS;
}

API int cuMemGetInfo_v2(size_t* free, size_t* total) {
    NEEDS_CONTEXT;
    Lock lock(driver_lock);
    *total = settings().memory;
    *free = *total - memory().used[current_context->device];
    return SUCCESS;
}

API int cuMemcpyHtoD_v2(u64 to, const void* from, size_t bytes) {
    NEEDS_CONTEXT;
    if (!within(to, bytes, "a copy to the device")) return INVALID_VALUE;
    memcpy((void*)to, from, bytes);
    return SUCCESS;
}

API int cuMemcpyHtoDAsync_v2(u64 to, const void* from, size_t bytes, void*) { return cuMemcpyHtoD_v2(to, from, bytes); }

API int cuMemcpyDtoH_v2(void* to, u64 from, size_t bytes) {
    NEEDS_CONTEXT;
    if (!within(from, bytes, "a copy from the device")) return INVALID_VALUE;
    memcpy(to, (const void*)from, bytes);
    memory().readbacks++;
    memory().bytes_read += bytes;
    return SUCCESS;
}

API int cuMemcpyDtoHAsync_v2(void* to, u64 from, size_t bytes, void*) { return cuMemcpyDtoH_v2(to, from, bytes); }

static int copy(u64 to, u64 from, u64 bytes) {
    NEEDS_CONTEXT;
    if (!within(from, bytes, "a copy's source") || !within(to, bytes, "a copy's target")) return INVALID_VALUE;
    memmove((void*)to, (const void*)from, bytes);
    return SUCCESS;
}

API int cuMemcpyDtoD_v2(u64 to, u64 from, size_t bytes) {
    Lock lock(driver_lock);
    auto source = memory().before(from), target = memory().before(to);
    if (source != nullptr && target != nullptr && source->second.device != target->second.device)
        say("a copy within a device leads from device %d to device %d", source->second.device, target->second.device);
    return copy(to, from, bytes);
}

API int cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, void*) { return cuMemcpyDtoD_v2(to, from, bytes); }

API int cuMemcpyPeerAsync(u64 to, void*, u64 from, void*, size_t bytes, void*) {
    int result = copy(to, from, bytes);
    if (result == SUCCESS && settings().lost_copies) memset((void*)to, 0, bytes);
    return result;
}

API int cuMemsetD8_v2(u64 to, unsigned char value, size_t bytes) {
    NEEDS_CONTEXT;
    if (!within(to, bytes, "memory that is set")) return INVALID_VALUE;
    memset((void*)to, value, bytes);
    return SUCCESS;
}

API int cuMemsetD8Async(u64 to, unsigned char value, size_t bytes, void*) { return cuMemsetD8_v2(to, value, bytes); }

API int cuMemsetD32Async(u64 to, unsigned value, size_t count, void*) {
    NEEDS_CONTEXT;
    if (to % 4 != 0 || !within(to, 4 * count, "memory that is set")) return INVALID_VALUE;
    std::fill_n((u32*)to, count, value);
    return SUCCESS;
}

// A pool by its device: all of its memory.
API int cuDeviceGetDefaultMemPool(void** pool, int device) {
    *pool = (void*)(u64)(device + 1);
    return SUCCESS;
}

API int cuDeviceGetMemPool(void** pool, int device) { return cuDeviceGetDefaultMemPool(pool, device); }
API int cuMemPoolSetAttribute(void*, int, void*) { return SUCCESS; }

API int cuMemPoolGetAttribute(void* pool, int attribute, void* value) {
    constexpr int FIRST_OF_BYTES = 5;
    Lock lock(driver_lock);
    if (attribute >= FIRST_OF_BYTES)
        *(u64*)value = memory().used[(u64)pool - 1];
    else if (attribute == FIRST_OF_BYTES - 1)
        *(u64*)value = 0;
    else
        *(int*)value = 1;
    return SUCCESS;
}

API int cuMemPoolTrimTo(void*, size_t) { return SUCCESS; }
API int cuPointerGetAttribute(void*, int, u64) { return INVALID_VALUE; }
