// Launches: within the limits of a card, one after the other; and the report at the end.
#include <algorithm>
#include <cstring>
#include <map>

#include "driver.h"
#include "settings.h"

namespace {

constexpr u32 MOST_BLOCKS_X = INT32_MAX, MOST_BLOCKS = 65535, MOST_DEEP = 64;

struct Timed {
    u64 launches = 0;
    double milliseconds = 0;
};

std::mutex one_launch;

std::map<std::string, Timed>& timed() {
    static auto& all = *new std::map<std::string, Timed>;
    return all;
}

int check_contexts(const Function& function, void* stream) {
    Context* context = function.module->context;
    if (context_of(stream) == context && current_context == context) return SUCCESS;
    say("kernel %s: a function of device %d, a stream of device %d, in the context of device %d", function.name.c_str(),
        context->device, context_of(stream)->device, current_context->device);
    return INVALID_HANDLE;
}

int check_limits(const Function& function, const Launch& launch) {
    const char* name = launch.name;
    auto [x, y, z] = launch.grid;
    auto [width, height, depth] = launch.size;
    u64 threads = (u64)width * height * depth;
    bool blocks_fit = x > 0 && y > 0 && z > 0 && x <= MOST_BLOCKS_X && y <= MOST_BLOCKS && z <= MOST_BLOCKS;
    bool threads_fit = threads > 0 && threads <= MOST_THREADS && depth <= MOST_DEEP;
    if (!blocks_fit || !threads_fit) {
        say("kernel %s: no card takes %u x %u x %u blocks of %u x %u x %u threads", name, x, y, z, width, height,
            depth);
        return INVALID_VALUE;
    }
    if (threads > launch.kernel->most_threads) {
        say("kernel %s: %lu threads, and it is made for %u", name, threads, launch.kernel->most_threads);
        return LAUNCH_OUT_OF_RESOURCES;
    }
    u64 shared = (u64)launch.kernel->shared_bytes + launch.dynamic_bytes;
    u32 allowed = std::max(function.most_dynamic, COMMON_SHARED - std::min(COMMON_SHARED, launch.kernel->shared_bytes));
    if (launch.dynamic_bytes > allowed || shared > MOST_SHARED) {
        say("kernel %s: %u bytes of shared memory beside its own %u, and %u are asked for", name, launch.dynamic_bytes,
            launch.kernel->shared_bytes, function.most_dynamic);
        return INVALID_VALUE;
    }
    return SUCCESS;
}

std::vector<u8> packed(const Kernel& kernel, void** arguments) {
    std::vector<u8> parameters(kernel.parameter_bytes + 16);
    for (u32 at = 0; at < kernel.parameter_count; at++)
        memcpy(&parameters[kernel.parameters[at].offset], arguments[at], kernel.parameters[at].bytes);
    return parameters;
}

__attribute__((destructor)) void report() {
    if (current_context == nullptr && timed().empty()) return;
    if (settings().report < 0) return;
    std::vector<std::pair<std::string, Timed>> slowest(timed().begin(), timed().end());
    std::sort(slowest.begin(), slowest.end(),
              [](const auto& a, const auto& b) { return a.second.milliseconds > b.second.milliseconds; });
    u64 launches = 0;
    for (const auto& [name, times] : slowest) launches += times.launches;
    say("%lu launches of %zu kernels", launches, slowest.size());
    report_memory();
    slowest.resize(std::min(slowest.size(), (size_t)settings().report));
    for (const auto& [name, times] : slowest) say("%9.1f ms %6lu %s", times.milliseconds, times.launches, name.c_str());
}

} // namespace

API int cuLaunchKernel(void* handle, unsigned x, unsigned y, unsigned z, unsigned width, unsigned height,
                       unsigned depth, unsigned dynamic_bytes, void* stream, void** arguments, void** extra) {
    NEEDS_CONTEXT;
    Function& function = *(Function*)handle;
    if (int wrong = check_contexts(function, stream)) return wrong;
    // Parameters that are packed already.
    if (extra != nullptr) return INVALID_VALUE;
    std::lock_guard<std::mutex> guard(one_launch);
    if (!load(function)) return NOT_FOUND;
    Launch launch = {function.kernel, function.name.c_str(), {x, y, z}, {width, height, depth}, dynamic_bytes,
                     nullptr,         function.module->context->device};
    if (int wrong = check_limits(function, launch)) return wrong;
    if (settings().trace)
        say("%s: %u x %u x %u blocks of %u x %u x %u threads, %u bytes shared", launch.name, x, y, z, width, height,
            depth, dynamic_bytes);
    std::vector<u8> parameters = packed(*function.kernel, arguments);
    launch.parameters = parameters.data();
    double before = milliseconds();
    run_blocks(launch);
    Timed& times = timed()[function.name];
    times.launches++;
    times.milliseconds += milliseconds() - before;
    return SUCCESS;
}
