#include "settings.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <unistd.h>

#include "block.h"

constexpr int WRONG_SETTING = 2;

void say(const char* format, ...) {
    char line[1024];
    va_list values;
    va_start(values, format);
    vsnprintf(line, sizeof line, format, values);
    va_end(values);
    // In one piece: other threads and processes write there too.
    fprintf(stderr, "[simulated gpu] %s\n", line);
}

static void refuse(const char* name, const std::string& value, const char* known) {
    say("%s is %s, and not %s", name, known, value.c_str());
    _exit(WRONG_SETTING);
}

static std::string text(const char* name) {
    const char* value = getenv(name);
    return value == nullptr ? "" : value;
}

static uint64_t number(const char* name, uint64_t otherwise, uint64_t most) {
    std::string value = text(name);
    if (value.empty()) return otherwise;
    bool digits = value.find_first_not_of("0123456789") == std::string::npos && value.size() < 19;
    if (!digits || std::stoull(value) > most) {
        std::string known = "a number up to " + std::to_string(most);
        refuse(name, value, known.c_str());
    }
    return std::stoull(value);
}

static Order order() {
    std::string value = text("SIMULATED_ORDER");
    if (value.empty() || value == "forward") return Order::FORWARD;
    if (value == "reverse") return Order::REVERSE;
    if (value != "random") refuse("SIMULATED_ORDER", value, "forward, reverse or random");
    return Order::RANDOM;
}

static void read_peers(Settings& read) {
    std::string value = text("SIMULATED_PEERS");
    read.peers = value != "0";
    read.lost_copies = value == "broken";
    if (!value.empty() && value != "0" && value != "1" && value != "broken")
        refuse("SIMULATED_PEERS", value, "0, 1 or broken");
}

static Settings read() {
    Settings read;
    read.devices = (int)number("SIMULATED_GPUS", read.devices, MOST_DEVICES);
    read.memory = number("SIMULATED_MEMORY_MIB", read.memory >> 20, 1 << 24) << 20;
    read.order = order();
    read.seed = number("SIMULATED_SEED", 0, INT64_MAX);
    read_peers(read);
    read.cuda = (int)number("SIMULATED_CUDA", read.cuda, 99999);
    read.report = text("SIMULATED_STATS").empty() ? -1 : (int)number("SIMULATED_STATS", 0, 10000);
    read.trace = number("SIMULATED_TRACE", 0, 1) == 1;
    read.races = number("SIMULATED_RACES", 0, 1) == 1;
    read.tools = text("SIMULATED_TOOLS");
    read.cache = text("SIMULATED_KERNEL_CACHE");
    std::stringstream kernels(text("SIMULATED_KERNELS"));
    for (std::string path; std::getline(kernels, path, ':');) read.kernels.push_back(path);
    if (read.tools.empty() || read.cache.empty()) {
        say("programs are started by tools/simulated-gpu/run, which says where its files are");
        _exit(WRONG_SETTING);
    }
    return read;
}

const Settings& settings() {
    static const Settings all = read();
    return all;
}
