// libcublas and libcublasLt: products of matrices, by columns, each sum in one go.
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "settings.h"
#include "thread.h"

#define API extern "C" EXPORTED

// In memory.cpp, of libcuda.
API bool simulated_memory_holds(u64 address, u64 bytes);
API bool simulated_context();

namespace {

enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
// cudaDataType.
enum Type { F32 = 0, F64 = 1, F16 = 2, BF16 = 14 };
constexpr int VERSION = 130000;
// Products of fewer multiplications are not worth a second thread.
constexpr u64 FEW = 2000000;

struct Handle {
    void* stream = nullptr;
};

struct Matrix {
    u8* at;
    int type;
    s64 leading;
    s64 stride = 0;
};

// Zero: it is not known.
u64 bytes_of(int type) {
    switch (type) {
    case F64: return 8;
    case F32: return 4;
    case F16:
    case BF16: return 2;
    }
    return 0;
}

template <class Sum>
Sum element(const Matrix& matrix, u64 at) {
    const u8* from = matrix.at + at * bytes_of(matrix.type);
    switch (matrix.type) {
    case F64: return (Sum)loaded<f64>(from);
    case F32: return (Sum)loaded<f32>(from);
    case F16: return (Sum)loaded<f16>(from);
    default: return (Sum)get<f32>((u32)loaded<u16>(from) << 16);
    }
}

template <class Sum>
void set_element(const Matrix& matrix, u64 at, Sum value) {
    u8* to = matrix.at + at * bytes_of(matrix.type);
    u32 bits = get<u32>((f32)value);
    // By its bits: this file is compiled as if all numbers were finite.
    bool none = (bits & 0x7fffffff) > 0x7f800000;
    switch (matrix.type) {
    case F64: return stored<f64>(to, (f64)value);
    case F32: return stored<f32>(to, (f32)value);
    case F16: return stored<f16>(to, (f16)value);
    default: return stored<u16>(to, none ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}

// A matrix with its rows, or its columns, one after the other.
template <class Sum>
std::vector<Sum> gathered(const Matrix& matrix, u64 lines, u64 length, bool contiguous) {
    std::vector<Sum> all(lines * length);
    for (u64 line = 0; line < lines; line++)
        for (u64 at = 0; at < length; at++)
            all[line * length + at] =
                element<Sum>(matrix, contiguous ? line * matrix.leading + at : at * matrix.leading + line);
    return all;
}

struct Product {
    bool turns_a, turns_b;
    s64 m, n, k;
    Matrix a, b, c;
    int batch = 1;
};

template <class Sum>
void multiply(const Product& p, Sum alpha, Sum beta) {
    std::vector<Sum> a = gathered<Sum>(p.a, p.m, p.k, p.turns_a), b = gathered<Sum>(p.b, p.n, p.k, !p.turns_b);
    auto columns = [&](s64 from, s64 to) {
        for (s64 column = from; column < to; column++)
            for (s64 row = 0; row < p.m; row++) {
                const Sum *x = a.data() + row * p.k, *y = b.data() + column * p.k;
                Sum sum = 0;
                for (s64 at = 0; at < p.k; at++) sum += x[at] * y[at];
                u64 to = column * p.c.leading + row;
                // What is multiplied by zero is not read: it may be nonsense.
                set_element<Sum>(p.c, to, beta == 0 ? alpha * sum : alpha * sum + beta * element<Sum>(p.c, to));
            }
    };
    if ((u64)(p.m * p.n * p.k) < FEW || p.n < 2) return columns(0, p.n);
    std::thread half(columns, 0, p.n / 2);
    columns(p.n / 2, p.n);
    half.join();
}

int check(const char* name, const Matrix& matrix, s64 rows, s64 columns) {
    if (bytes_of(matrix.type) == 0) {
        say("product of matrices: %s is of type %d, which is not known", name, matrix.type);
        return INVALID_VALUE;
    }
    if (matrix.leading < rows || matrix.leading < 1) {
        say("product of matrices: %s has %ld rows, and a leading dimension of %ld", name, rows, matrix.leading);
        return INVALID_VALUE;
    }
    if (rows == 0 || columns == 0) return SUCCESS;
    u64 bytes = bytes_of(matrix.type) * (matrix.leading * (columns - 1) + rows);
    if (simulated_memory_holds((u64)matrix.at, bytes)) return SUCCESS;
    say("product of matrices: %s of %ld x %ld, leading dimension %ld, is out of bounds or on another device", name, rows,
        columns, matrix.leading);
    return INVALID_VALUE;
}

template <class Sum>
int run(Product p, Sum alpha, Sum beta) {
    if (p.m < 0 || p.n < 0 || p.k < 0 || p.batch < 0) {
        say("product of matrices: sizes below zero");
        return INVALID_VALUE;
    }
    for (int number = 0; number < p.batch; number++) {
        int a = check("a", p.a, p.turns_a ? p.k : p.m, p.turns_a ? p.m : p.k);
        int b = check("b", p.b, p.turns_b ? p.n : p.k, p.turns_b ? p.k : p.n);
        int c = check("c", p.c, p.m, p.n);
        if (a || b || c) return INVALID_VALUE;
        multiply<Sum>(p, alpha, beta);
        for (Matrix* matrix : {&p.a, &p.b, &p.c}) matrix->at += (s64)bytes_of(matrix->type) * matrix->stride;
    }
    return SUCCESS;
}

// By the type of the sums, which is that of both factors, too.
int run_as(int compute, const Product& p, const void* alpha, const void* beta) {
    switch (compute) {
    case 64: // 16 bits
    case 65: return run<f32>(p, (f32)loaded<f16>((const u8*)alpha), (f32)loaded<f16>((const u8*)beta));
    case 68: // 32 bits, and those in which the card may take fewer for the multiplications
    case 69:
    case 74:
    case 75:
    case 77: return run<f32>(p, loaded<f32>((const u8*)alpha), loaded<f32>((const u8*)beta));
    case 70: // 64 bits
    case 71: return run<f64>(p, loaded<f64>((const u8*)alpha), loaded<f64>((const u8*)beta));
    }
    say("product of matrices: sums of type %d are not known", compute);
    return NOT_SUPPORTED;
}

} // namespace

API int cublasCreate_v2(void** handle) {
    if (!simulated_context()) return NOT_INITIALIZED;
    *handle = new Handle;
    return SUCCESS;
}

API int cublasDestroy_v2(void* handle) {
    delete (Handle*)handle;
    return SUCCESS;
}

API int cublasSetStream_v2(void* handle, void* stream) {
    ((Handle*)handle)->stream = stream;
    return SUCCESS;
}

API int cublasGetStream_v2(void* handle, void** stream) {
    *stream = ((Handle*)handle)->stream;
    return SUCCESS;
}

API int cublasGetVersion_v2(void*, int* version) {
    *version = VERSION;
    return SUCCESS;
}

API int cublasSetMathMode(void*, int) { return SUCCESS; }
// Factors are read from the program's own memory.
API int cublasSetPointerMode_v2(void*, int mode) { return mode == 0 ? SUCCESS : NOT_SUPPORTED; }
API int cublasSetWorkspace_v2(void*, void*, size_t) { return SUCCESS; }

API const char* cublasGetStatusName(int status) {
    return status == SUCCESS ? "CUBLAS_STATUS_SUCCESS" : "CUBLAS_STATUS_ERROR";
}

API const char* cublasGetStatusString(int status) { return cublasGetStatusName(status); }

API int cublasGemmStridedBatchedEx(void*, int turns_a, int turns_b, int m, int n, int k, const void* alpha,
                                   const void* a, int a_type, int a_leading, long long a_stride,
                                   const void* b, int b_type, int b_leading, long long b_stride, const void* beta,
                                   void* c, int c_type, int c_leading, long long c_stride, int batch, int compute,
                                   int) {
    Matrix left = {(u8*)a, a_type, a_leading, a_stride}, right = {(u8*)b, b_type, b_leading, b_stride};
    Matrix result = {(u8*)c, c_type, c_leading, c_stride};
    return run_as(compute, {turns_a != 0, turns_b != 0, m, n, k, left, right, result, batch}, alpha, beta);
}

API int cublasGemmEx(void* handle, int turns_a, int turns_b, int m, int n, int k, const void* alpha,
                     const void* a, int a_type, int a_leading, const void* b, int b_type, int b_leading,
                     const void* beta, void* c, int c_type, int c_leading, int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, turns_a, turns_b, m, n, k, alpha, a, a_type, a_leading, 0, b, b_type,
                                      b_leading, 0, beta, c, c_type, c_leading, 0, 1, compute, algorithm);
}

API int cublasSgemm_v2(void*, int turns_a, int turns_b, int m, int n, int k, const float* alpha,
                       const float* a, int a_leading, const float* b, int b_leading,
                       const float* beta, float* c, int c_leading) {
    Matrix left = {(u8*)a, F32, a_leading}, right = {(u8*)b, F32, b_leading}, result = {(u8*)c, F32, c_leading};
    return run<f32>({turns_a != 0, turns_b != 0, m, n, k, left, right, result}, *alpha, *beta);
}

API int cublasLtCreate(void** handle) {
    *handle = new Handle;
    return SUCCESS;
}

API int cublasLtDestroy(void* handle) { return cublasDestroy_v2(handle); }
