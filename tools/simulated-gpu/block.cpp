#include "block.h"

#include <atomic>
#include <deque>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <unistd.h>

#include "fiber.h"
#include "races.h"
#include "settings.h"
#include "warp.h"

namespace {

// What shared memory holds before a kernel writes there.
constexpr u8 UNWRITTEN = 0xcd;
// Launches of fewer threads are run by one worker.
constexpr u64 FEW_THREADS = 4096;
constexpr u64 MOST_WORKERS = 8;
// Of a warp: they are kept for the next launch, unless there are more.
constexpr size_t MOST_MEETINGS = 16;

// The lanes that a mask names, on their way to each other.
struct Meeting {
    u32 mask;
    u32 arrived = 0, turn = 0;
    Together what = Together::SYNC;
    // In turn: whoever writes one again has met all who read it.
    Given given[2];
};

struct Warp {
    // Where they are, they stay.
    std::deque<Meeting> meetings;
    std::vector<Thread*> waiting;

    Meeting& meeting(u32 mask) {
        for (Meeting& one : meetings)
            if (one.mask == mask) return one;
        meetings.emplace_back();
        meetings.back().mask = mask;
        return meetings.back();
    }
};

// The numbers below `count` in the order that is set.
class Numbers {
    Order order;
    u64 count, step = 1, start = 0;

public:
    Numbers(u64 count, u64 seed) : order(settings().order), count(count) {
        seed = (seed + settings().seed + 1) * 0x9e3779b97f4a7c15ull;
        start = (seed >> 33) % count;
        // A step that has no divisor in common with the count leads through all of them.
        for (step = (seed >> 13) % count | 1; std::gcd(step, count) != 1;) step++;
    }

    u64 operator[](u64 at) const {
        if (order == Order::FORWARD) return at;
        if (order == Order::REVERSE) return count - 1 - at;
        return (u64)((start + (unsigned __int128)at * step) % count);
    }
};

// Runs one block after the other.
class Worker : public Block {
public:
    void start(const Launch& launch, u64 seed);
    void run(u64 number);
    void wait_for_all(Thread* t);
    void leave(Thread* t);
    const Given& meet(Thread* t, Together what, u32 mask, const u64* values, u32 count);
    bool find(u64 address, u32 bytes, Range& range);
    int race(Thread* t, u32 address, u32 bytes, Use use) { return races.touch(t->number, address, bytes, use); }
    Thread* running = nullptr;

private:
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<char*> stacks;
    std::vector<u64> memory;
    std::vector<Range> met;
    std::deque<Thread*> ready;
    std::vector<Thread*> at_barrier;
    void* scheduler = nullptr;
    u32 count = 0, living = 0;
    u64 random = 0;
    Races races;

    void place(Thread& thread, u32 number);
    void run_in_turns();
    void make_ready(Thread* t);
    Thread* next();
    void pause(Thread* t) { switch_stacks(&t->stack_pointer, scheduler); }
    void open_barrier();
    [[noreturn]] void deadlock();
};

// The one that runs blocks on this thread of the process.
thread_local Worker* current;

Worker& worker_of(Thread* t) { return *static_cast<Worker*>(t->block); }

void run_fiber() {
    Thread* t = current->running;
    t->block->kernel->run(t);
    current->leave(t);
}

void Worker::start(const Launch& launch, u64 seed) {
    kernel = launch.kernel;
    name = launch.name;
    device = launch.device;
    parameters = launch.parameters;
    std::copy_n(launch.size, 3, size);
    std::copy_n(launch.grid, 3, grid);
    shared_bytes = kernel->takes_dynamic ? kernel->dynamic_at + launch.dynamic_bytes : kernel->shared_bytes;
    checks_races = settings().races;
    count = size[0] * size[1] * size[2];
    random = seed + settings().seed;
    met.clear();
    memory.resize(shared_bytes / 8 + 3);
    shared = (u8*)(((u64)memory.data() + 15) / 16 * 16);
    if (threads.size() < count) threads.resize(count);
    if (warps.size() < (count + LANES - 1) / LANES) warps.resize((count + LANES - 1) / LANES);
    for (Warp& warp : warps)
        if (warp.meetings.size() > MOST_MEETINGS) warp.meetings.clear();
    while (kernel->meets && stacks.size() < count) {
        stacks.push_back(new_stack());
        if (stacks.back() != nullptr) continue;
        say("there is no memory for the stacks of %u threads", count);
        _exit(CHECK_FAILED);
    }
}

void Worker::place(Thread& thread, u32 number) {
    thread.block = this;
    thread.number = number;
    thread.index[0] = number % size[0];
    thread.index[1] = number / size[0] % size[1];
    thread.index[2] = number / size[0] / size[1];
    thread.lane = number % LANES;
    thread.warp = number / LANES;
}

void Worker::run(u64 number) {
    current = this;
    index[0] = (u32)(number % grid[0]);
    index[1] = (u32)(number / grid[0] % grid[1]);
    index[2] = (u32)(number / grid[0] / grid[1]);
    memset(shared, UNWRITTEN, shared_bytes);
    if (checks_races) races.start(count, shared_bytes);
    if (kernel->meets) return run_in_turns();
    Thread& thread = threads[0];
    thread.known = {};
    Numbers order(count, number);
    for (u32 at = 0; at < count; at++) {
        place(thread, (u32)order[at]);
        kernel->run(&thread);
        if (!thread.copies.empty()) fail(&thread, "ends with copies that are not waited for");
    }
}

void Worker::run_in_turns() {
    ready.clear();
    living = count;
    for (u32 number = 0; number < count; number++) {
        Thread& thread = threads[number];
        place(thread, number);
        thread.known = {};
        thread.stack_pointer = prepare_stack(stacks[number], number, run_fiber);
        make_ready(&thread);
    }
    while (living > 0) {
        if (ready.empty()) deadlock();
        running = next();
        switch_stacks(&scheduler, running->stack_pointer);
    }
}

void Worker::make_ready(Thread* t) {
    if (settings().order == Order::REVERSE)
        ready.push_front(t);
    else
        ready.push_back(t);
}

Thread* Worker::next() {
    if (settings().order == Order::RANDOM) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        std::swap(ready.front(), ready[(random >> 33) % ready.size()]);
    }
    Thread* t = ready.front();
    ready.pop_front();
    return t;
}

void Worker::wait_for_all(Thread* t) {
    at_barrier.push_back(t);
    if (at_barrier.size() == living) open_barrier();
    pause(t);
}

void Worker::open_barrier() {
    if (checks_races) races.barrier();
    for (Thread* t : at_barrier) make_ready(t);
    at_barrier.clear();
}

// Those who have left are not waited for.
void Worker::leave(Thread* t) {
    if (!t->copies.empty()) fail(t, "ends with copies that are not waited for");
    living--;
    if (living > 0 && at_barrier.size() == living) open_barrier();
    pause(t);
}

const Given& Worker::meet(Thread* t, Together what, u32 mask, const u64* values, u32 number) {
    if (!(mask >> t->lane & 1)) fail(t, "a warp operation whose mask leaves out its own lane");
    Warp& warp = warps[t->warp];
    Meeting& meeting = warp.meeting(mask);
    if (meeting.arrived == 0) meeting.what = what;
    if (meeting.what != what) fail(t, "lanes of a warp meet at different operations");
    Given& given = meeting.given[meeting.turn & 1];
    memcpy(given[t->lane], values, number * sizeof *values);
    meeting.arrived |= 1u << t->lane;
    if (meeting.arrived != mask) {
        warp.waiting.push_back(t);
        pause(t);
        return given;
    }
    meeting.arrived = 0;
    meeting.turn++;
    if (checks_races) races.meet(t->warp, mask);
    // A lane waits at one meeting at a time, so that whoever is named waits at this one.
    auto released = [&](Thread* other) { return (mask >> other->lane & 1) != 0; };
    for (Thread* other : warp.waiting)
        if (released(other)) make_ready(other);
    warp.waiting.erase(std::remove_if(warp.waiting.begin(), warp.waiting.end(), released), warp.waiting.end());
    return given;
}

void Worker::deadlock() {
    std::string what = "deadlock: of " + std::to_string(living) + " threads, " + std::to_string(at_barrier.size()) +
                       " wait at a barrier";
    Thread* first = at_barrier.empty() ? nullptr : at_barrier[0];
    for (u32 warp = 0; warp < warps.size(); warp++) {
        if (warps[warp].waiting.empty()) continue;
        first = warps[warp].waiting[0];
        what += ", " + std::to_string(warps[warp].waiting.size()) + " of warp " +
                std::to_string(warp) + " for others of it";
    }
    fail(first, what.c_str());
}

// The allocation with these bytes, if the device has access to it.
bool Worker::find(u64 address, u32 bytes, Range& range) {
    for (const Range& one : met) {
        if (!one.holds(address, bytes)) continue;
        range = one;
        return true;
    }
    if (!find_allocation(address, bytes, device, range)) return false;
    met.push_back(range);
    return true;
}

} // namespace

void fail(Thread* t, const char* what) {
    const u32* index = t->block->index;
    say("kernel %s, block (%u,%u), thread %u: %s", t->block->name, index[0], index[1], t->number, what);
    // At once: other threads are in the middle of the launch.
    _exit(CHECK_FAILED);
}

void fail_at(Thread* t, const char* what, u64 address) {
    char line[128];
    snprintf(line, sizeof line, "%s at 0x%lx", what, address);
    fail(t, line);
}

void find_memory(Thread* t, u64 address, u32 bytes, Use use) {
    if (worker_of(t).find(address, bytes, t->known)) return;
    const Kernel& kernel = *t->block->kernel;
    for (const Range* constant = kernel.constants; constant < kernel.constants + kernel.constant_count; constant++) {
        if (!constant->holds(address, bytes)) continue;
        // They are searched each time: what is known may be written.
        if (use == READ) return;
        fail_at(t, "a variable that kernels only read is written", address);
    }
    // What a thread keeps for itself, whose address has been taken, lies on its stack.
    u64 here = (u64)__builtin_frame_address(0);
    if (address > here && address - here < STACK_BYTES) {
        t->known = {address, bytes};
        return;
    }
    say_nearest(address, bytes);
    fail_at(t, "illegal address", address);
}

void check_race(Thread* t, u32 address, u32 bytes, Use use) {
    int other = worker_of(t).race(t, address, bytes, use);
    if (other < 0) return;
    char line[128];
    snprintf(line, sizeof line, "races thread %d for byte %u of shared memory", other, address);
    fail(t, line);
}

void barrier(Thread* t) { worker_of(t).wait_for_all(t); }

const Given& meet(Thread* t, Together what, u32 mask, const u64* values, u32 count) {
    return worker_of(t).meet(t, what, mask, values, count);
}

void run_blocks(const Launch& launch) {
    static std::vector<std::unique_ptr<Worker>> workers;
    static u64 launches = 0;
    launches++;
    u64 blocks = (u64)launch.grid[0] * launch.grid[1] * launch.grid[2];
    u64 threads = blocks * launch.size[0] * launch.size[1] * launch.size[2];
    u64 useful = threads > FEW_THREADS ? std::max(1u, std::thread::hardware_concurrency()) : 1;
    useful = std::min({useful, blocks, MOST_WORKERS});
    while (workers.size() < useful) workers.push_back(std::make_unique<Worker>());

    Numbers order(blocks, launches);
    std::atomic<u64> next{0};
    auto work = [&](u64 number) {
        Worker& worker = *workers[number];
        worker.start(launch, launches * useful + number);
        for (u64 at = next++; at < blocks; at = next++) worker.run(order[at]);
    };
    std::vector<std::thread> others;
    for (u64 number = 1; number < useful; number++) others.emplace_back(work, number);
    work(0);
    for (std::thread& other : others) other.join();
}
