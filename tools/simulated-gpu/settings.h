// What the environment says of the card.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

// In which order threads and blocks run, where nothing lays it down.
enum class Order { FORWARD, REVERSE, RANDOM };

struct Settings {
    int devices = 1;
    uint64_t memory = (uint64_t)142000 << 20;
    Order order = Order::FORWARD;
    uint64_t seed = 0;
    bool peers = true;
    // Copies between devices are said to be done, and nothing arrives, as with some IOMMUs.
    bool lost_copies = false;
    int cuda = 13000;
    // How many kernels the report names; -1: there is no report.
    int report = -1;
    bool trace = false;
    bool races = false;
    // The folder of this tool, the one for what is built, and the PTX of the program's own kernels.
    std::string tools, cache;
    std::vector<std::string> kernels;
};

const Settings& settings();

// A line on the standard error output.
__attribute__((format(printf, 1, 2), visibility("default"))) void say(const char* format, ...);
