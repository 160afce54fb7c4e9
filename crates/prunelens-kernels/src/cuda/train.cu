// A step of an SAE's training where few latents fire, between the library's matrix products: the choice of latents, the losses
// and gradients of what was chosen, and the weights' steps. A sum's order depends on nothing but the batch.
//
// Lists have a token's latents, ascending, from `starts[token]` to `ends[token]`. What the decoder multiplies, `values`, are
// latents by themselves; chosen are latents times the lengths of the decoder's rows.

#include "common.cuh"

constexpr u32 DIGITS = 256;

// Products to pre-activations times the lengths of the decoder's rows.
extern "C" __global__ void pre_activations(float* pre, const float* bias, const float* lengths, u64 len, u64 d_sae) {
    for (u64 at = first_index(); at < len; at += index_step()) {
        u64 latent = Place(at, d_sae).column;
        pre[at] = (pre[at] + bias[latent]) * lengths[latent];
    }
}

// --- The largest of a whole batch. A search holds the bits that are known of the last one to take, and how many are left to
// take of the values that share them: none once it is known that too few are above zero, and then the bits are zero as well.

// How often each next byte occurs among the values that share the bits found.
extern "C" __global__ void __launch_bounds__(256)
    tally(const float* values, u64 len, const u64* search, u32 shift, u64* tallies) {
    __shared__ u32 mine[DIGITS];
    if (search[1] == 0) return;
    mine[threadIdx.x] = 0;
    __syncthreads();
    u32 prefix = (u32)search[0];
    for (u64 start = (u64)blockIdx.x * blockDim.x; start < len; start += index_step()) {
        u64 at = start + threadIdx.x;
        u32 key = at < len ? positive_bits(values[at]) : 0;
        // A shift by 32 means nothing.
        bool counts = key != 0 && (shift == 24 || key >> (shift + 8) == prefix >> (shift + 8));
        u32 digit = counts ? (key >> shift) & (DIGITS - 1) : DIGITS;
        // Nearly all share their first byte with others: a warp counts them together.
        u32 like = __match_any_sync(ALL_LANES, digit);
        bool first_of_them = (like & ((1u << threadIdx.x % WARP) - 1)) == 0;
        if (counts && first_of_them) atomicAdd(&mine[digit], (u32)__popc(like));
    }
    __syncthreads();
    if (mine[threadIdx.x] > 0) atomicAdd(&tallies[threadIdx.x], (u64)mine[threadIdx.x]);
}

// The next byte of a search, by one block of 256 threads; tallies are empty afterwards.
extern "C" __global__ void __launch_bounds__(256) narrow(u64* tallies, u32 shift, u64* search) {
    if (threadIdx.x == 0 && search[1] > 0) {
        u64 left = search[1];
        u32 digit = DIGITS;
        while (digit > 0 && tallies[digit - 1] < left) left -= tallies[--digit];
        search[0] = digit > 0 ? search[0] | (u64)(digit - 1) << shift : 0;
        search[1] = digit > 0 ? left : 0;
    }
    __syncthreads();
    tallies[threadIdx.x] = 0;
}

// Of each row, how many values lie above the last one to take, and how many equal it.
extern "C" __global__ void __launch_bounds__(1024)
    count_chosen(const float* values, u64 d_sae, const u64* search, u64* above, u64* equal) {
    const float* row = values + blockIdx.x * d_sae;
    u32 last = (u32)search[0];
    u64 larger = 0;
    u64 same = 0;
    for (u64 at = threadIdx.x; at < d_sae; at += blockDim.x) {
        u32 key = positive_bits(row[at]);
        larger += key > last;
        same += last != 0 && key == last;
    }
    larger = block_sum(larger);
    same = block_sum(same);
    if (threadIdx.x == 0) {
        above[blockIdx.x] = larger;
        equal[blockIdx.x] = same;
    }
}

// Where each row's chosen ones begin, `starts [rows + 1]`, and how many of its equals are among them: of the batch the first.
// One block does it.
extern "C" __global__ void __launch_bounds__(1024)
    row_starts(const u64* above, const u64* equal, const u64* search, u64 rows, u64* starts, u64* taken) {
    u64 wanted = search[1];
    u64 same = 0;
    u64 written = 0;
    for (u64 first = 0; first < rows; first += blockDim.x) {
        u64 row = first + threadIdx.x;
        u64 equals = row < rows ? equal[row] : 0;
        u64 total;
        u64 before = same + sum_before(equals, total);
        same += total;
        u64 take = before >= wanted ? 0 : equals < wanted - before ? equals : wanted - before;
        u64 start = written + sum_before(row < rows ? above[row] + take : 0, total);
        written += total;
        if (row < rows) {
            starts[row] = start;
            taken[row] = take;
        }
    }
    if (threadIdx.x == 0) starts[rows] = written;
}

// What a chosen latent is multiplied by to be without the length of its decoder row.
__device__ __forceinline__ float shrink(float length) { return length > 0.0f ? 1.0f / length : 0.0f; }

// The chosen latents of each row. `least` becomes the largest complement of a chosen one's bits: zero if there is none.
extern "C" __global__ void __launch_bounds__(1024)
    gather_chosen(const float* values, u64 d_sae, const u64* search, const u64* starts, const u64* taken,
                  const float* lengths, u32* indices, float* out, u32* least) {
    const float* row = values + blockIdx.x * d_sae;
    u32 last = (u32)search[0];
    u64 take_equal = taken[blockIdx.x];
    u64 written = starts[blockIdx.x];
    u64 same = 0;
    u32 low = 0;
    for (u64 first = 0; first < d_sae; first += blockDim.x) {
        u64 at = first + threadIdx.x;
        u32 key = at < d_sae ? positive_bits(row[at]) : 0;
        bool equal = last != 0 && key == last;
        u32 total_equal, total;
        u64 before_equal = same + flags_before(equal, total_equal);
        bool take = key > last || (equal && before_equal < take_equal);
        u32 before = flags_before(take, total);
        if (take) {
            indices[written + before] = (u32)at;
            out[written + before] = row[at] * shrink(lengths[at]);
            low = ~key > low ? ~key : low;
        }
        same += total_equal;
        written += total;
    }
    for (u32 step = WARP / 2; step > 0; step /= 2) {
        u32 other = __shfl_down_sync(ALL_LANES, low, step);
        low = other > low ? other : low;
    }
    if (threadIdx.x % WARP == 0 && low > 0) atomicMax(least, low);
}

// Some columns of `rows [.., width]`, side by side.
extern "C" __global__ void gather_columns(const float* rows, u64 width, const u32* columns, u64 count, u64 len,
                                          float* out) {
    for (u64 at = first_index(); at < len; at += index_step()) {
        Place place(at, count);
        out[at] = rows[place.row * width + columns[place.column]];
    }
}

// The k largest of each row, which have `k` places, as lists; what they are called, if they are places in `names`.
extern "C" __global__ void to_lists(const u64* counts, u32 k, const u32* names, const float* lengths, u32* indices,
                                    float* values, u64* starts, u64* ends) {
    u64 start = (u64)blockIdx.x * k;
    u64 count = counts[blockIdx.x];
    for (u64 at = start + threadIdx.x; at < start + count; at += blockDim.x) {
        u32 latent = names ? names[indices[at]] : indices[at];
        indices[at] = latent;
        values[at] *= shrink(lengths[latent]);
    }
    if (threadIdx.x == 0) {
        starts[blockIdx.x] = start;
        ends[blockIdx.x] = start + count;
    }
}

// --- Losses and gradients of what was chosen.

constexpr u32 AHEAD = 4;

// `sum` and some latents times their decoder rows, in one column.
__device__ __forceinline__ float add_rows(float sum, const u32* indices, const float* values, u64 at, u64 end,
                                          const float* w_dec, u32 d_in, u32 column) {
    // Some rows are fetched before the sum, which takes one after the other, waits for them.
    for (; at + AHEAD <= end; at += AHEAD) {
        float rows[AHEAD];
#pragma unroll
        for (u32 n = 0; n < AHEAD; n++) rows[n] = w_dec[(u64)indices[at + n] * d_in + column];
#pragma unroll
        for (u32 n = 0; n < AHEAD; n++) sum = fmaf(values[at + n], rows[n], sum);
    }
    for (; at < end; at++) sum = fmaf(values[at], w_dec[(u64)indices[at] * d_in + column], sum);
    return sum;
}

// The set that a latent is in: the first whose width is above it. Dead latents have no widths, and the place behind all sets.
__device__ __forceinline__ u32 set_of(const u32* widths, u32 sets, u32 latent) {
    u32 set = widths ? 0 : sets;
    while (set < sets && widths[set] <= latent) set++;
    return set;
}

// Figures of a token.
constexpr u32 FIGURES = 5;

// Reconstructs a token for each set of latents and all before it. Plane p of `planes [sets, tokens, d_in]` gets the gradients
// by the reconstructions that latents of set p have a part in; a plane more, if there are dead latents, those of what these
// make of the error. `figures`: squares of the error, of the input, of the errors of all sets but the last, the loss of
// the dead latents, and how many latents fire.
extern "C" __global__ void __launch_bounds__(256)
    reconstruct(const float* x, const float* b_dec, const float* w_dec, const u64* starts, const u64* ends,
                const u32* indices, const float* values, const u32* dead_indices, const float* dead_values, u32 dead_k,
                const u32* widths, u32 sets, u32 d_in, u32 auxiliary_bits, float* planes, double* figures) {
    u64 token = blockIdx.x;
    float auxiliary = __uint_as_float(auxiliary_bits);
    float scale = 2.0f / (float)gridDim.x;
    u64 plane = (u64)gridDim.x * d_in;
    const float* input = x + token * d_in;
    float* mine = planes + token * d_in;
    u64 start = starts[token];
    u64 end = ends[token];
    double error_squares = 0, input_squares = 0, inner = 0, by_dead = 0;
    for (u32 column = threadIdx.x; column < d_in; column += blockDim.x) {
        float error = b_dec[column] - input[column];
        u64 at = start;
        for (u32 set = 0; set < sets; set++) {
            u64 stop = at;
            if (set + 1 == sets)
                stop = end;
            else
                while (stop < end && indices[stop] < widths[set]) stop++;
            error = add_rows(error, indices, values, at, stop, w_dec, d_in, column);
            mine[set * plane + column] = error;
            if (set + 1 < sets) inner += (double)error * error;
            at = stop;
        }
        error_squares += (double)error * error;
        input_squares += (double)input[column] * input[column];
        if (dead_k > 0) {
            u64 first = token * dead_k;
            float left = add_rows(error, dead_indices, dead_values, first, first + dead_k, w_dec, d_in, column);
            by_dead += (double)left * left;
            mine[sets * plane + column] = left * (scale * auxiliary);
        }
        // What comes out of a set goes into all later reconstructions.
        float later = 0;
        for (u32 set = sets; set-- > 0;) {
            later = mine[set * plane + column] * scale + later;
            mine[set * plane + column] = later;
        }
    }
    error_squares = block_sum(error_squares);
    input_squares = block_sum(input_squares);
    inner = block_sum(inner);
    by_dead = block_sum(by_dead);
    if (threadIdx.x != 0) return;
    double* of_token = figures + token * FIGURES;
    of_token[0] = error_squares;
    of_token[1] = input_squares;
    of_token[2] = inner;
    of_token[3] = (double)auxiliary * by_dead;
    of_token[4] = (double)(end - start);
}

// Gradients by the pre-activations of listed latents, L1 penalty included; the penalty of each token.
extern "C" __global__ void __launch_bounds__(256)
    back(const float* planes, const float* w_dec, const float* lengths, const u64* starts, const u64* ends,
         const u32* indices, const float* values, const u32* widths, u32 sets, u32 d_in, u32 l1_bits, float* gradients,
         double* penalties) {
    u64 token = blockIdx.x;
    u64 tokens = gridDim.x;
    float l1 = __uint_as_float(l1_bits);
    float by_one = l1 / (float)tokens;
    double penalty = 0;
    for (u64 at = starts[token] + threadIdx.x / WARP; at < ends[token]; at += blockDim.x / WARP) {
        u32 latent = indices[at];
        const float* by_output = planes + (set_of(widths, sets, latent) * tokens + token) * d_in;
        const float* row = w_dec + (u64)latent * d_in;
        float sum = 0;
        for (u32 i = threadIdx.x % WARP; i < d_in; i += WARP) sum = fmaf(by_output[i], row[i], sum);
        sum = warp_sum(sum);
        if (threadIdx.x % WARP != 0) continue;
        gradients[at] = sum + by_one * lengths[latent];
        penalty += (double)(l1 * values[at] * lengths[latent]);
    }
    penalty = block_sum(penalty);
    if (threadIdx.x == 0) penalties[token] = penalty;
}

// --- Lists of tokens to lists of latents: each latent's entries in the order of tokens, the dead ones' after them. A tile of
// tokens counts its entries of each latent, so that it knows where they go.

constexpr u32 TILE = 64;

__device__ __forceinline__ u64 tile_end(u64 tokens) {
    u64 end = ((u64)blockIdx.x + 1) * TILE;
    return end < tokens ? end : tokens;
}

extern "C" __global__ void __launch_bounds__(256)
    tile_counts(const u64* starts, const u64* ends, const u32* indices, u64 tokens, u64 d_sae, u64 first_tile,
                u32* counts) {
    u32* mine = counts + (first_tile + blockIdx.x) * d_sae;
    for (u64 token = (u64)blockIdx.x * TILE; token < tile_end(tokens); token++)
        for (u64 at = starts[token] + threadIdx.x; at < ends[token]; at += blockDim.x) atomicAdd(&mine[indices[at]], 1u);
}

// From counts to how many entries of the latent earlier tiles have; and how many there are in all.
extern "C" __global__ void tile_starts(u32* counts, u64 tiles, u64 d_sae, u64* totals) {
    for (u64 latent = first_index(); latent < d_sae; latent += index_step()) {
        u32 sum = 0;
        for (u64 tile = 0; tile < tiles; tile++) {
            u32 count = counts[tile * d_sae + latent];
            counts[tile * d_sae + latent] = sum;
            sum += count;
        }
        totals[latent] = sum;
    }
}

// Sums of all before, and of all: `starts [len + 1]`. One block does it.
extern "C" __global__ void __launch_bounds__(1024) sums_before(const u64* counts, u64 len, u64* starts) {
    u64 sum = sums_of_counts(counts, len, [&](u64 at, u64 before) { starts[at] = before; });
    if (threadIdx.x == 0) starts[len] = sum;
}

// Entries to their places. `rows` says which row of `planes` a latent had its gradient from; modulo the tokens, its token.
extern "C" __global__ void __launch_bounds__(256)
    place(const u64* starts, const u64* ends, const u32* indices, const float* values, const float* gradients,
          u64 tokens, u64 d_sae, u64 first_tile, u32* counts, const u64* latent_starts, const u32* widths, u32 sets,
          u32* rows, float* row_values, float* row_gradients) {
    u32* mine = counts + (first_tile + blockIdx.x) * d_sae;
    for (u64 token = (u64)blockIdx.x * TILE; token < tile_end(tokens); token++) {
        // A token has a latent once.
        for (u64 at = starts[token] + threadIdx.x; at < ends[token]; at += blockDim.x) {
            u32 latent = indices[at];
            u64 to = latent_starts[latent] + mine[latent]++;
            rows[to] = (u32)(set_of(widths, sets, latent) * tokens + token);
            row_values[to] = values[at];
            row_gradients[to] = gradients[at];
        }
        __syncthreads();
    }
}

// Gradients of both rows of a latent and of its bias; those by the length of its decoder row, of an L1 penalty. Columns have blocks
// of their own: a latent that fires on most tokens would keep one block busy with all of them after the others are done.
extern "C" __global__ void __launch_bounds__(256)
    add_entries(const u64* latent_starts, const u32* rows, const float* values, const float* gradients,
                const float* planes, const float* centred, u32 tokens, u32 d_in, u32 sets, u32 l1_bits, float* by_enc,
                float* by_dec, float* by_b_enc, float* by_length, u32* fired) {
    u64 latent = blockIdx.x;
    u64 start = latent_starts[latent];
    u64 end = latent_starts[latent + 1];
    u32 column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column < d_in) {
        float encoder = 0, decoder = 0;
        for (u64 at = start; at < end; at++) {
            decoder = fmaf(values[at], planes[(u64)rows[at] * d_in + column], decoder);
            encoder = fmaf(gradients[at], centred[(u64)(rows[at] % tokens) * d_in + column], encoder);
        }
        by_enc[latent * d_in + column] = encoder;
        by_dec[latent * d_in + column] = decoder;
    }
    if (blockIdx.y != 0) return;
    float bias = 0, length = 0;
    u64 alive = 0;
    for (u64 at = start + threadIdx.x; at < end; at += blockDim.x) {
        bias += gradients[at];
        length += values[at];
        alive += rows[at] / tokens < sets;
    }
    bias = block_sum(bias);
    length = block_sum(length);
    alive = block_sum(alive);
    if (threadIdx.x != 0) return;
    by_b_enc[latent] = bias;
    by_length[latent] = length * __uint_as_float(l1_bits) / (float)tokens;
    fired[latent] = alive > 0;
}

// --- The weights' steps.

// What a decoder row's gradient is without its part along the row, if rows keep length 1; else with that of the losses that have
// the row's length in them. Each thread knows of its own columns only: the numbers are the block's.
struct Along {
    float factor;

    __device__ Along(const float* row, const float* by_row, float by_length, u32 unit, u32 d_in) {
        float sum = 0;
        for (u32 i = threadIdx.x; i < d_in; i += blockDim.x) sum = fmaf(unit ? by_row[i] : row[i], row[i], sum);
        sum = block_sum(sum);
        if (unit)
            factor = -sum;
        else
            factor = sum > 0.0f ? by_length / sqrtf(sum) : 0.0f;
    }

    __device__ __forceinline__ float gradient(float by_weight, float weight) const {
        return fmaf(factor, weight, by_weight);
    }
};

// Squares of the gradients of each latent's rows.
extern "C" __global__ void __launch_bounds__(256)
    squares_of_rows(const float* w_dec, const float* by_enc, const float* by_dec, const float* by_length, u32 unit,
                    u32 d_in, double* squares) {
    u64 first = (u64)blockIdx.x * d_in;
    Along along(w_dec + first, by_dec + first, by_length[blockIdx.x], unit, d_in);
    double sum = 0;
    for (u32 i = threadIdx.x; i < d_in; i += blockDim.x) {
        float decoder = along.gradient(by_dec[first + i], w_dec[first + i]);
        float encoder = by_enc[first + i];
        sum += (double)decoder * decoder + (double)encoder * encoder;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

// The same of one vector, by one block.
extern "C" __global__ void __launch_bounds__(1024) squares_of(const float* values, u64 len, double* square) {
    double sum = 0;
    for (u64 at = threadIdx.x; at < len; at += blockDim.x) sum += (double)values[at] * values[at];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *square = sum;
}

// What all gradients are multiplied by to be no longer than `clip` together. One block does it.
extern "C" __global__ void __launch_bounds__(1024)
    clip_factor(const double* squares, u64 len, u64 clip_bits, float* factor) {
    double sum = 0;
    for (u64 at = threadIdx.x; at < len; at += blockDim.x) sum += squares[at];
    sum = block_sum(sum);
    if (threadIdx.x != 0) return;
    double clip = __longlong_as_double((long long)clip_bits);
    // As PyTorch has it.
    double cut = clip / (sqrt(sum) + 1e-6);
    *factor = (float)(cut < 1.0 ? cut : 1.0);
}

// Adam's step of one weight; `factor` is on gradients, `correction` the inverse of 1 - beta2^t.
struct Step {
    float factor, rate, correction;

    __device__ __forceinline__ float apply(float weight, float* first, float* second, float gradient) const {
        constexpr float KEEP_FIRST = 0.9f, KEEP_SECOND = 0.999f, EPSILON = 1e-8f;
        gradient = factor * gradient;
        float m = KEEP_FIRST * *first + (1.0f - KEEP_FIRST) * gradient;
        float v = KEEP_SECOND * *second + (1.0f - KEEP_SECOND) * gradient * gradient;
        *first = m;
        *second = v;
        return weight - rate * m / (sqrtf(v * correction) + EPSILON);
    }
};

__device__ __forceinline__ Step step_of(const float* factor, u32 rate_bits, u32 correction_bits) {
    return {factor ? *factor : 1.0f, __uint_as_float(rate_bits), __uint_as_float(correction_bits)};
}

// Of both rows of a latent; `unit` rows of the decoder end with length 1.
extern "C" __global__ void __launch_bounds__(256)
    adam_rows(float* w_enc, float* enc_first, float* enc_second, const float* by_enc, float* w_dec, float* dec_first,
              float* dec_second, const float* by_dec, const float* by_length, const float* factor, u32 rate_bits,
              u32 correction_bits, u32 unit, u32 d_in) {
    Step step = step_of(factor, rate_bits, correction_bits);
    u64 first = (u64)blockIdx.x * d_in;
    Along along(w_dec + first, by_dec + first, by_length[blockIdx.x], unit, d_in);
    float squares = 0;
    for (u32 i = threadIdx.x; i < d_in; i += blockDim.x) {
        u64 at = first + i;
        w_enc[at] = step.apply(w_enc[at], &enc_first[at], &enc_second[at], by_enc[at]);
        float gradient = along.gradient(by_dec[at], w_dec[at]);
        float weight = step.apply(w_dec[at], &dec_first[at], &dec_second[at], gradient);
        w_dec[at] = weight;
        squares = fmaf(weight, weight, squares);
    }
    if (!unit) return;
    float length = sqrtf(block_sum(squares));
    if (length > 0.0f)
        for (u32 i = threadIdx.x; i < d_in; i += blockDim.x) w_dec[first + i] /= length;
}

// Of a vector; `floor` says whether it may not fall below zero.
extern "C" __global__ void adam(float* weights, float* first, float* second, const float* gradients, const float* factor,
                                u32 rate_bits, u32 correction_bits, u32 floor, u64 len) {
    Step step = step_of(factor, rate_bits, correction_bits);
    for (u64 at = first_index(); at < len; at += index_step()) {
        float weight = step.apply(weights[at], &first[at], &second[at], gradients[at]);
        weights[at] = floor ? fmaxf(weight, 0.0f) : weight;
    }
}
