// The path of a latent: its pre-activation at every ratio of the grid, in one pass over its weights and ranks, of chosen
// latents or of all; and how many of a prompt's latents survive at each ratio.

#include "common.cuh"

constexpr u32 STEPS = 100;
// Terms that are staged at a time.
constexpr u32 TERMS = 256;

// One block takes a (token, latent) pair, and a thread of it one step: it adds the terms of the weights that this step is
// the last to keep. What a step leaves is then the sum of these from the step on. `steps_of` gives the last step that keeps
// a weight of a rank; ranks beyond its end are kept by all. Terms are added in the order of the CPU.
template <class W, class R>
__device__ void paths(const float* x, const W* weight, const R* ranks, const u8* steps_of, u32 top, const u32* tokens,
                      const u32* latents, const float* bias, const float* scales, u64 pairs, u32 d_in, u64 d_sae,
                      float* out) {
    __shared__ float inputs[TERMS];
    __shared__ float weights[TERMS];
    __shared__ u8 steps[TERMS];
    __shared__ float sums[STEPS];
    for (u64 pair = blockIdx.x; pair < pairs; pair += gridDim.x) {
        u64 latent = latents[pair];
        const float* input = x + (u64)tokens[pair] * d_in;
        float sum = 0.0f;
        for (u32 start = 0; start < d_in; start += TERMS) {
            u32 count = d_in - start < TERMS ? d_in - start : TERMS;
            for (u32 i = threadIdx.x; i < count; i += blockDim.x) {
                u64 at = latent * d_in + start + i;
                u32 rank = ranks[at];
                steps[i] = steps_of[rank < top ? rank : top];
                weights[i] = widen(weight[at]);
                inputs[i] = input[start + i];
            }
            __syncthreads();
            for (u32 i = 0; i < count; i++)
                if (steps[i] == threadIdx.x) sum = fmaf(weights[i], inputs[i], sum);
            __syncthreads();
        }
        if (threadIdx.x < STEPS) sums[threadIdx.x] = sum;
        __syncthreads();
        if (threadIdx.x == 0) {
            float total = 0.0f;
            for (u32 step = STEPS; step-- > 0;) {
                total += sums[step];
                sums[step] = total;
            }
        }
        __syncthreads();
        if (threadIdx.x < STEPS) {
            float scale = scales ? scales[threadIdx.x * d_sae + latent] : 1.0f;
            out[pair * STEPS + threadIdx.x] = (sums[threadIdx.x] + bias[latent]) * scale;
        }
        __syncthreads();
    }
}

#define ENTRY(NAME, W, R)                                                                                              \
    extern "C" __global__ void paths_##NAME(const float* x, const W* weight, const R* ranks, const u8* steps_of,       \
                                            u32 top, const u32* tokens, const u32* latents, const float* bias,         \
                                            const float* scales, u64 pairs, u32 d_in, u64 d_sae, float* out) {         \
        paths(x, weight, ranks, steps_of, top, tokens, latents, bias, scales, pairs, d_in, d_sae, out);                \
    }
FOR_WEIGHTS_AND_RANKS(ENTRY)
#undef ENTRY

// The same for all latents of up to a warp's tokens, zero where one does not fire: a warp takes a latent, and a lane of it a
// token, of which `x [d_in, WARP]` has a column. Terms are added as for a path, to the same sums bit by bit, so that a path
// compares with the latents here. `out` is `[tokens, STEPS, d_sae]`.
template <class W, class R>
__device__ void all_paths(const float* x, const W* weight, const R* ranks, const u8* steps_of, u32 top, const float* bias,
                          const float* scales, u32 tokens, u32 d_in, u64 d_sae, float* out) {
    __shared__ float sums[STEPS * WARP];
    u32 lane = threadIdx.x;
    for (u64 latent = blockIdx.x; latent < d_sae; latent += gridDim.x) {
        for (u32 step = 0; step < STEPS; step++) sums[step * WARP + lane] = 0.0f;
        for (u32 i = 0; i < d_in; i++) {
            u64 at = latent * d_in + i;
            u32 rank = ranks[at];
            u32 step = steps_of[rank < top ? rank : top];
            float* sum = sums + step * WARP + lane;
            *sum = fmaf(widen(weight[at]), x[(u64)i * WARP + lane], *sum);
        }
        float total = 0.0f;
        for (u32 step = STEPS; step-- > 0;) {
            total += sums[step * WARP + lane];
            float value = (total + bias[latent]) * (scales ? scales[step * d_sae + latent] : 1.0f);
            if (lane < tokens) out[((u64)lane * STEPS + step) * d_sae + latent] = value > 0.0f ? value : 0.0f;
        }
    }
}

#define ENTRY(NAME, W, R)                                                                                              \
    extern "C" __global__ void all_paths_##NAME(const float* x, const W* weight, const R* ranks, const u8* steps_of,   \
                                                u32 top, const float* bias, const float* scales, u32 tokens, u32 d_in, \
                                                u64 d_sae, float* out) {                                               \
        all_paths(x, weight, ranks, steps_of, top, bias, scales, tokens, d_in, d_sae, out);                            \
    }
FOR_WEIGHTS_AND_RANKS(ENTRY)
#undef ENTRY

// How many pairs fire at each step: those above their floor, on tokens that count. A block takes a step.
extern "C" __global__ void survivors(const float* paths, const u32* tokens, const u32* latents, const float* floors,
                                     const u8* counted, u64 pairs, u64* alive) {
    u32 step = blockIdx.x;
    u64 count = 0;
    for (u64 pair = threadIdx.x; pair < pairs; pair += blockDim.x) {
        float floor = floors ? fmaxf(floors[latents[pair]], 0.0f) : 0.0f;
        count += counted[tokens[pair]] && paths[pair * STEPS + step] > floor;
    }
    count = block_sum(count);
    if (threadIdx.x == 0) alive[step] = count;
}
