// How activations lie about zero and about their mean. Twin: `kernels::spread`.

#include "common.cuh"

// Sum of each column of `x [tokens, width]` over the tokens that count, in their order: `part` tokens for each row of blocks, to be
// added up. `parts [rows of blocks, width]`.
extern "C" __global__ void sums_of_kept(const float* x, const u8* kept, u64 tokens, u64 part, u64 width, double* parts) {
    u64 first = blockIdx.y * part;
    u64 end = first + part < tokens ? first + part : tokens;
    for (u64 column = first_index(); column < width; column += index_step()) {
        double sum = 0.0;
        // Read of all, so that no load waits for whether a token counts.
#pragma unroll 8
        for (u64 token = first; token < end; token++) {
            double value = x[token * width + column];
            sum += kept[token] ? value : 0.0;
        }
        parts[blockIdx.y * width + column] = sum;
    }
}

// |x|^2 and |x - mean|^2 of each token, the mean by the sums over `count` of them. A block takes a token.
extern "C" __global__ void spread(const float* x, const double* sums, u64 count, u32 width, double* out) {
    x += (u64)blockIdx.x * width;
    double size = 0.0, apart = 0.0;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        double value = x[i], off = value - sums[i] / (double)count;
        size += value * value;
        apart += off * off;
    }
    size = block_sum(size);
    apart = block_sum(apart);
    if (threadIdx.x != 0) return;
    out[2 * (u64)blockIdx.x] = size;
    out[2 * (u64)blockIdx.x + 1] = apart;
}
