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

// Lists of latents counted, `rows` tokens from token `first` on: of each latent the tokens that count on which it fires, and the
// texts, of `length` tokens each, in which it does; of each token the sum of its latents. `seen` has a bit for each latent of each
// text, in `words` words a text. A warp takes a token.
extern "C" __global__ void count_firing(const u64* spans, const Latent* latents, u64 rows, u64 first, u64 length,
                                        const u8* kept, u64 words, u32* seen, u32* tokens, u32* texts, double* sums) {
    u64 row = first_index() / WARP;
    if (row >= rows) return;
    u64 token = first + row;
    u64 end = kept[token] ? spans[2 * row + 1] : 0;
    u32* of_text = seen + token / length * words;
    double sum = 0.0;
    for (u64 at = spans[2 * row] + threadIdx.x % WARP; at < end; at += WARP) {
        Latent latent = latents[at];
        sum += latent.value;
        if (!(latent.value > 0.0f)) continue;
        atomicAdd(&tokens[latent.index], 1u);
        u32 bit = 1u << latent.index % 32;
        if ((atomicOr(&of_text[latent.index / 32], bit) & bit) == 0) atomicAdd(&texts[latent.index], 1u);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) sums[token] = sum;
}
