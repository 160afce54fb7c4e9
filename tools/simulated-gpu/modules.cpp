// Modules, their functions, and the code that these are made into: an entry is translated when it is first launched.
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "driver.h"
#include "settings.h"

extern char** environ;

namespace {

// How a bundle of machine code for several cards begins.
constexpr u32 FAT_BINARY = 0xba55ed50;

std::set<std::string> entries(const std::string& ptx) {
    static const std::string mark = ".entry ";
    std::set<std::string> names;
    for (size_t at = ptx.find(mark); at != std::string::npos; at = ptx.find(mark, at)) {
        at += mark.size();
        names.insert(ptx.substr(at, ptx.find_first_of("( \t\r\n", at) - at));
    }
    return names;
}

// Which file has which of the program's own kernels.
const std::map<std::string, std::string>& own_kernels() {
    static const auto all = [] {
        std::map<std::string, std::string> files;
        for (const std::string& path : settings().kernels) {
            std::ifstream file(path);
            std::string ptx{std::istreambuf_iterator<char>(file), {}};
            for (const std::string& name : entries(ptx))
                if (!files.emplace(name, path).second) say("two files have a kernel %s", name.c_str());
        }
        return files;
    }();
    return all;
}

// PTX that a program brings, as a file named after what is in it.
std::string keep(const std::string& ptx) {
    u64 hash = 0xcbf29ce484222325ull;
    for (unsigned char letter : ptx) hash = (hash ^ letter) * 0x100000001b3ull;
    char name[32];
    snprintf(name, sizeof name, "/%016lx.ptx", hash);
    std::string path = settings().cache + name;
    if (access(path.c_str(), R_OK) == 0) return path;
    std::string beside = path + "." + std::to_string(getpid());
    std::ofstream(beside) << ptx;
    return rename(beside.c_str(), path.c_str()) == 0 ? path : "";
}

// The compiler must not find this library where it looks for its own.
bool compile(const Function& function) {
    std::string tool = settings().tools + "/compile-kernel";
    const char* arguments[] = {
        "env", "-u", "LD_LIBRARY_PATH", tool.c_str(), function.ptx.c_str(), function.name.c_str(), nullptr,
    };
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    pid_t child;
    int status = posix_spawnp(&child, "env", &actions, nullptr, (char* const*)arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return status == 0 && waitpid(child, &status, 0) == child && status == 0;
}

} // namespace

bool load(Function& function) {
    if (function.kernel != nullptr) return true;
    std::string code = function.ptx.substr(0, function.ptx.rfind('.')) + "." + function.name + ".so";
    if (access(code.c_str(), R_OK) != 0 && !compile(function)) {
        say("kernel %s cannot be translated", function.name.c_str());
        return false;
    }
    void* library = dlopen(code.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        say("%s", dlerror());
        return false;
    }
    function.kernel = (const Kernel*)dlsym(library, "kernel");
    return function.kernel != nullptr;
}

API int cuModuleLoadData(void** module, const void* image) {
    NEEDS_CONTEXT;
    u32 magic;
    memcpy(&magic, image, sizeof magic);
    if (magic == FAT_BINARY) {
        *module = new Module{current_context, ""};
        return SUCCESS;
    }
    std::string ptx = (const char*)image;
    if (ptx.find(".version") == std::string::npos) return INVALID_PTX;
    std::string path = keep(ptx);
    if (path.empty()) {
        say("PTX cannot be written to %s", settings().cache.c_str());
        return INVALID_PTX;
    }
    *module = new Module{current_context, path};
    return SUCCESS;
}

API int cuModuleLoad(void**, const char*) { return INVALID_VALUE; }
API int cuModuleUnload(void*) { return SUCCESS; }
API int cuModuleGetGlobal_v2(u64*, size_t*, void*, const char*) { return NOT_FOUND; }

API int cuModuleGetFunction(void** function, void* handle, const char* name) {
    NEEDS_CONTEXT;
    Lock lock(driver_lock);
    Module* module = (Module*)handle;
    if (module->context != current_context)
        say("a module of device %d is asked in the context of device %d", module->context->device,
            current_context->device);
    std::string path = module->ptx;
    bool found;
    if (path.empty()) {
        auto own = own_kernels().find(name);
        found = own != own_kernels().end();
        if (found) path = own->second;
    } else {
        static std::map<std::string, std::set<std::string>> known;
        std::set<std::string>& names = known[path];
        if (names.empty()) {
            std::ifstream file(path);
            names = entries(std::string{std::istreambuf_iterator<char>(file), {}});
        }
        found = names.count(name) != 0;
    }
    if (!found) {
        say("there is no kernel %s", name);
        return NOT_FOUND;
    }
    Function* made = new Function;
    made->module = module;
    made->name = name;
    made->ptx = path;
    *function = made;
    return SUCCESS;
}

API int cuFuncSetAttribute(void* function, int attribute, int value) {
    constexpr int MOST_DYNAMIC = 8;
    NEEDS_CONTEXT;
    if (attribute != MOST_DYNAMIC) return SUCCESS;
    if (value < 0 || (u32)value > MOST_SHARED) return INVALID_VALUE;
    ((Function*)function)->most_dynamic = value;
    return SUCCESS;
}

API int cuFuncGetAttribute(int* value, int attribute, void*) {
    constexpr int THREADS = 0, REGISTERS = 4;
    *value = attribute == THREADS ? (int)MOST_THREADS : attribute == REGISTERS ? 32 : 0;
    return SUCCESS;
}

API int cuFuncSetCacheConfig(void*, int) { return SUCCESS; }

API int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void*, int, size_t) {
    *blocks = 2;
    return SUCCESS;
}

API int cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, void* function, int threads, size_t shared,
                                                             unsigned) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, shared);
}
