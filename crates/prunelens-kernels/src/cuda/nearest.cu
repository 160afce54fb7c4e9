// The largest number of each row and of each column of a table that is there a block at a time.

#include "common.cuh"

// Rows of the table that a block of threads goes through; a thread keeps to one column.
constexpr u32 ROWS = 64;

// A number and its place in one word: a larger number gives a larger word, and among equal numbers the lower place does.
// No number gives zero.
__device__ __forceinline__ u64 word(float value, u32 place) {
    // A zero has one sign only.
    return (u64)ordered_bits(value + 0.0f) << 32 | (u32)~place;
}

__device__ __forceinline__ u64 larger(u64 a, u64 b) { return a > b ? a : b; }

// Raise `in_rows` and `in_columns` by a block `[rows, columns]` of the table that begins at `first_row` and `first_column`.
// Where a table of things with themselves is searched, the diagonal is left out.
extern "C" __global__ void __launch_bounds__(256)
    nearest(const float* block, u32 rows, u32 columns, u32 first_row, u32 first_column, u32 themselves, u64* in_rows,
            u64* in_columns) {
    __shared__ u64 of_row[ROWS];
    for (u32 i = threadIdx.x; i < ROWS; i += blockDim.x) of_row[i] = 0;
    __syncthreads();
    u32 start = blockIdx.y * ROWS;
    u32 count = rows - start < ROWS ? rows - start : ROWS;
    u32 column = blockIdx.x * blockDim.x + threadIdx.x;
    u64 of_column = 0;
    for (u32 i = 0; i < count; i++) {
        u32 row = start + i;
        float value = column < columns ? block[(u64)row * columns + column] : NAN;
        bool counts = value == value && !(themselves && first_row + row == first_column + column);
        if (counts) of_column = larger(of_column, word(value, first_row + row));
        u64 found = counts ? word(value, first_column + column) : 0;
        for (u32 step = WARP / 2; step > 0; step /= 2) found = larger(found, __shfl_down_sync(ALL_LANES, found, step));
        if (threadIdx.x % WARP == 0) atomicMax(&of_row[i], found);
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) atomicMax(&in_rows[first_row + start + i], of_row[i]);
    if (column < columns) atomicMax(&in_columns[first_column + column], of_column);
}
