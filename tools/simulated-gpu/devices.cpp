// Devices, contexts, streams and events. All work is done before a call returns: there is nothing to wait for.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <map>

#include "driver.h"
#include "settings.h"

thread_local Context* current_context;
std::recursive_mutex driver_lock;

static bool initialized;

Context& context_of_device(int device) {
    static Context contexts[MOST_DEVICES];
    contexts[device].device = device;
    return contexts[device];
}

// The streams 0, 1 and 2 are those of the context, and of the thread.
Context* context_of(void* stream) { return (u64)stream > 2 ? ((Stream*)stream)->context : current_context; }

double milliseconds() {
    using namespace std::chrono;
    return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

static bool is_device(int device) { return device >= 0 && device < settings().devices; }

API int cuInit(unsigned) {
    // Kernels are loaded later and find here what they call, however the program has loaded this library.
    dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
    initialized = true;
    return settings().devices > 0 ? SUCCESS : NO_DEVICE;
}

API int cuDriverGetVersion(int* version) {
    *version = settings().cuda;
    return SUCCESS;
}

API int cuGetProcAddress_v2(const char* name, void** address, int, u64, int* status) {
    *address = dlsym(RTLD_DEFAULT, name);
    if (status != nullptr) *status = *address == nullptr;
    return *address == nullptr ? NOT_FOUND : SUCCESS;
}

API int cuDeviceGetCount(int* count) {
    if (!initialized) return NOT_INITIALIZED;
    *count = settings().devices;
    return SUCCESS;
}

API int cuDeviceGet(int* device, int number) {
    if (!initialized) return NOT_INITIALIZED;
    if (!is_device(number)) return INVALID_DEVICE;
    *device = number;
    return SUCCESS;
}

API int cuDeviceGetName(char* name, int bytes, int) {
    snprintf(name, bytes, "Simulated GPU");
    return SUCCESS;
}

API int cuDeviceTotalMem_v2(size_t* bytes, int) {
    *bytes = settings().memory;
    return SUCCESS;
}

API int cuDeviceGetUuid_v2(void* id, int device) {
    memset(id, device, 16);
    return SUCCESS;
}

API int cuDeviceGetUuid(void* id, int device) { return cuDeviceGetUuid_v2(id, device); }

API int cuDeviceGetAttribute(int* value, int attribute, int) {
    // By the numbers of CUdevice_attribute; those of a large card of compute capability 9.0.
    static const std::map<int, int> known = {
        {1, 1024},     {2, 1024},     {3, 1024},      // threads of a block, and along its x and y
        {4, 64},                                      // and z
        {5, INT32_MAX}, {6, 65535},   {7, 65535},     // blocks along x, y and z
        {8, COMMON_SHARED},                           // shared memory of a block
        {9, 65536},                                   // constant memory
        {10, 32},                                     // lanes of a warp
        {12, 65536},                                  // registers of a block
        {13, 1980000},                                // clock in kHz
        {16, 132},                                    // multiprocessors
        {31, 1},                                      // several kernels at once
        {36, 3201000}, {37, 6144},                    // clock and width of memory
        {38, 62914560},                               // second cache
        {39, 2048},                                   // threads of a multiprocessor
        {40, 3},       {41, 1},                       // copies at once, addresses of one space
        {75, 9},       {76, 0},                       // compute capability
        {78, 1},                                      // priorities of streams
        {81, 233472},                                 // shared memory of a multiprocessor
        {82, 65536},                                  // registers of one
        {83, 1},                                      // managed memory
        {97, MOST_SHARED},                            // shared memory of a block, when asked for
        {106, 32},                                    // blocks of a multiprocessor
        {115, 1},                                     // pools of memory
    };
    auto found = known.find(attribute);
    *value = found == known.end() ? 0 : found->second;
    return SUCCESS;
}

API int cuDevicePrimaryCtxRetain(void** context, int device) {
    if (!is_device(device)) return INVALID_DEVICE;
    *context = &context_of_device(device);
    return SUCCESS;
}

API int cuDevicePrimaryCtxRelease_v2(int device) { return is_device(device) ? SUCCESS : INVALID_DEVICE; }
API int cuDevicePrimaryCtxRelease(int device) { return cuDevicePrimaryCtxRelease_v2(device); }
API int cuDevicePrimaryCtxSetFlags_v2(int, unsigned) { return SUCCESS; }

API int cuCtxSetFlags(unsigned) {
    NEEDS_CONTEXT;
    return SUCCESS;
}

API int cuCtxSetCurrent(void* context) {
    current_context = (Context*)context;
    return SUCCESS;
}

API int cuCtxGetCurrent(void** context) {
    *context = current_context;
    return SUCCESS;
}

API int cuCtxGetDevice(int* device) {
    NEEDS_CONTEXT;
    *device = current_context->device;
    return SUCCESS;
}

API int cuCtxSynchronize() {
    NEEDS_CONTEXT;
    return SUCCESS;
}

API int cuDeviceCanAccessPeer(int* can, int device, int other) {
    *can = device != other && settings().peers;
    return SUCCESS;
}

API int cuCtxEnablePeerAccess(void* other, unsigned) {
    NEEDS_CONTEXT;
    Lock lock(driver_lock);
    if (!settings().peers || other == current_context) return PEER_ACCESS_UNSUPPORTED;
    bool& peer = current_context->peers[((Context*)other)->device];
    if (peer) return PEER_ACCESS_ALREADY_ENABLED;
    peer = true;
    return SUCCESS;
}

API int cuGetErrorName(int result, const char** name) {
    static const std::map<int, const char*> names = {
        {SUCCESS, "CUDA_SUCCESS"},
        {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
        {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED"},
        {NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},
        {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE"},
        {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
        {PEER_ACCESS_UNSUPPORTED, "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED"},
        {INVALID_PTX, "CUDA_ERROR_INVALID_PTX"},
        {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE"},
        {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
        {LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"},
        {PEER_ACCESS_ALREADY_ENABLED, "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED"},
    };
    auto found = names.find(result);
    *name = found == names.end() ? "CUDA_ERROR_UNKNOWN" : found->second;
    return SUCCESS;
}

API int cuGetErrorString(int result, const char** text) { return cuGetErrorName(result, text); }

API int cuStreamCreate(void** stream, unsigned) {
    NEEDS_CONTEXT;
    *stream = new Stream{current_context};
    return SUCCESS;
}

API int cuStreamCreateWithPriority(void** stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }

API int cuStreamDestroy_v2(void* stream) {
    delete (Stream*)stream;
    return SUCCESS;
}

API int cuStreamSynchronize(void*) {
    NEEDS_CONTEXT;
    return SUCCESS;
}

API int cuStreamQuery(void*) {
    NEEDS_CONTEXT;
    return SUCCESS;
}

API int cuStreamWaitEvent(void*, void* event, unsigned) {
    NEEDS_CONTEXT;
    return event == nullptr ? INVALID_HANDLE : SUCCESS;
}

API int cuStreamIsCapturing(void*, int* capturing) {
    *capturing = 0;
    return SUCCESS;
}

API int cuStreamGetCtx(void* stream, void** context) {
    *context = context_of(stream);
    return SUCCESS;
}

API int cuLaunchHostFunc(void*, void (*function)(void*), void* data) {
    function(data);
    return SUCCESS;
}

API int cuEventCreate(void** event, unsigned) {
    NEEDS_CONTEXT;
    *event = new Event{current_context};
    return SUCCESS;
}

API int cuEventDestroy_v2(void* event) {
    delete (Event*)event;
    return SUCCESS;
}

API int cuEventRecord(void* handle, void* stream) {
    NEEDS_CONTEXT;
    Event* event = (Event*)handle;
    Context* context = context_of(stream);
    if (context != event->context) {
        say("an event of device %d is recorded in a stream of device %d", event->context->device, context->device);
        return INVALID_HANDLE;
    }
    event->at = milliseconds();
    return SUCCESS;
}

API int cuEventSynchronize(void*) {
    NEEDS_CONTEXT;
    return SUCCESS;
}

API int cuEventQuery(void*) {
    NEEDS_CONTEXT;
    return SUCCESS;
}

API int cuEventElapsedTime_v2(float* elapsed, void* from, void* to) {
    NEEDS_CONTEXT;
    *elapsed = (float)(((Event*)to)->at - ((Event*)from)->at);
    return SUCCESS;
}

API int cuEventElapsedTime(float* elapsed, void* from, void* to) { return cuEventElapsedTime_v2(elapsed, from, to); }
