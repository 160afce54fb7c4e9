// What texts that lie end to end amount to.

#include "common.cuh"

// Mean of each text's tokens in each column, `out [texts, width]`; text `t` begins at token `offsets[t]`. Sums are in f64 and in
// the order of the tokens, as on the CPU.
extern "C" __global__ void text_means(const float* x, const u64* offsets, u64 texts, u64 width, float* out) {
    for (u64 at = first_index(); at < texts * width; at += index_step()) {
        Place place(at, width);
        u64 begin = offsets[place.row];
        u64 end = offsets[place.row + 1];
        double sum = 0.0;
        for (u64 token = begin; token < end; token++) sum += x[token * width + place.column];
        out[at] = (float)(sum / (double)(end - begin));
    }
}

// Sums of each text's rows of latents, `out [texts, width]`, each row times its factor; and of a row of zeros' latents, `extra`
// times. All of a text are divided by its divisor.
extern "C" __global__ void text_sums(const float* rows, const u64* offsets, const double* factors, const float* zeros,
                                     const double* extra, const double* divisors, u64 texts, u64 width, float* out) {
    for (u64 at = first_index(); at < texts * width; at += index_step()) {
        Place place(at, width);
        u64 end = offsets[place.row + 1];
        double sum = 0.0;
#pragma unroll 4
        for (u64 token = offsets[place.row]; token < end; token++)
            sum += factors[token] * (double)rows[token * width + place.column];
        if (zeros) sum += extra[place.row] * (double)zeros[place.column];
        out[at] = (float)(sum / divisors[place.row]);
    }
}
