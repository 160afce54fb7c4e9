// Cross-entropy of rows of logits, and Kullback-Leibler divergence of up to four others from each, all read once and as they are
// stored: sums of exponentials are taken over the largest number so far, and corrected where a larger one comes. No softmax and no
// capped copy is ever written.

#include "common.cuh"

// Below every logit but minus infinity, whose exponential is then zero.
constexpr float LOWEST = -3.402823466e38f;
// Rows that are compared with one at a time.
constexpr u32 OTHERS = 4;

__device__ __forceinline__ float capped(float logit, float cap) { return cap > 0.0f ? cap * tanhf(logit / cap) : logit; }

// Rows of logits: p, and those that are compared with it, null where there are fewer. Rows of these follow each other as p's do,
// unless bit v of `single` says that one stands for all.
template <class T>
struct Rows {
    const T* p;
    const T* others[OTHERS];
    u64 width;
    float cap;

    __device__ Rows(const T* p, const T* a, const T* b, const T* c, const T* d, u32 single, u64 width, u32 cap, u64 row)
        : p(p + row * width), others{a, b, c, d}, width(width), cap(__uint_as_float(cap)) {
#pragma unroll
        for (u32 v = 0; v < OTHERS; v++)
            if (others[v] && !(single >> v & 1)) others[v] += row * width;
    }
};

// What is known of a row's exponentials: they add up to e^max times `sum`.
struct Exponentials {
    float max;
    float sum;
};

// What a thread has found in its part of the rows.
struct Found {
    Exponentials p = {LOWEST, 0.0f};
    Exponentials q[OTHERS];
    // p - q of the likeliest token under p: rows may lie any distance apart and say the same.
    float apart[OTHERS];
    // Of e^(p - p.max) (p - q - apart).
    float between[OTHERS];

    __device__ Found() {
#pragma unroll
        for (u32 v = 0; v < OTHERS; v++) {
            q[v] = {LOWEST, 0.0f};
            apart[v] = between[v] = 0.0f;
        }
    }
};

// Capped logits, and the largest of them.
template <u32 N>
struct Logits {
    float at[N];
    float top;

    template <class T>
    __device__ __forceinline__ Logits(const Several<T, N>& stored, float cap) : top(LOWEST) {
#pragma unroll
        for (u32 i = 0; i < N; i++) {
            at[i] = capped(widen(stored.at[i]), cap);
            top = fmaxf(top, at[i]);
        }
    }
};

// A part of the rows, `N` logits of each at a time, of which all numbers are then multiples. A thread adds a few hundred terms in
// f32; across threads the sums are wider, so that a large vocabulary loses no digits.
template <u32 N, class T>
__device__ Found read(const Rows<T>& rows, u64 begin, u64 end) {
    Found found;
    for (u64 at = begin + threadIdx.x * N; at < end; at += blockDim.x * N) {
        Several<T, N> stored = several<N>(rows.p, at);
        Several<T, N> of_others[OTHERS];
        // All are fetched before the first is waited for.
#pragma unroll
        for (u32 v = 0; v < OTHERS; v++)
            if (rows.others[v]) of_others[v] = several<N>(rows.others[v], at);
        Logits<N> p(stored, rows.cap);
        bool larger = p.top > found.p.max;
        float factor = larger ? expf(found.p.max - p.top) : 1.0f;
        float earlier = found.p.sum;
        if (larger) found.p = {p.top, factor * earlier};
        float weights[N];
#pragma unroll
        for (u32 i = 0; i < N; i++) {
            weights[i] = expf(p.at[i] - found.p.max);
            found.p.sum += weights[i];
        }
#pragma unroll
        for (u32 v = 0; v < OTHERS; v++) {
            if (!rows.others[v]) continue;
            Logits<N> q(of_others[v], rows.cap);
            if (q.top > found.q[v].max) found.q[v] = {q.top, found.q[v].sum * expf(found.q[v].max - q.top)};
#pragma unroll
            for (u32 i = 0; i < N; i++) found.q[v].sum += expf(q.at[i] - found.q[v].max);
            if (larger) {
                float apart = 0.0f;
#pragma unroll
                for (u32 i = N; i-- > 0;)
                    if (p.at[i] == p.top) apart = p.at[i] - q.at[i];
                found.between[v] = factor * fmaf(earlier, found.apart[v] - apart, found.between[v]);
                found.apart[v] = apart;
            }
#pragma unroll
            for (u32 i = 0; i < N; i++)
                found.between[v] = fmaf(weights[i], p.at[i] - q.at[i] - found.apart[v], found.between[v]);
        }
    }
    return found;
}

// Numbers that a block leaves of its part: max and sum of p; of each other max and sum, and what lies between, by p's max.
constexpr u32 LEFT = 2 + 3 * OTHERS;

// Part `blockIdx.y` of row `blockIdx.x`, of `length` logits.
template <class T>
__device__ void read_part(const Rows<T>& rows, u64 length, double* left) {
    constexpr u32 N = 16 / sizeof(T);
    u64 begin = blockIdx.y * length;
    u64 end = begin + length < rows.width ? begin + length : rows.width;
    Found found = rows.width % N == 0 ? read<N>(rows, begin, end) : read<1>(rows, begin, end);
    left += ((u64)blockIdx.x * gridDim.y + blockIdx.y) * LEFT;
    float p_max = block_max(found.p.max);
    double of_p = expf(found.p.max - p_max);
    double p_sum = block_sum(of_p * found.p.sum);
    if (threadIdx.x == 0) {
        left[0] = p_max;
        left[1] = p_sum;
    }
#pragma unroll
    for (u32 v = 0; v < OTHERS; v++) {
        if (!rows.others[v]) continue;
        float q_max = block_max(found.q[v].max);
        double q_sum = block_sum((double)expf(found.q[v].max - q_max) * found.q[v].sum);
        double between = block_sum(of_p * (found.between[v] + (double)found.apart[v] * found.p.sum));
        if (threadIdx.x != 0) continue;
        left[2 + 3 * v] = q_max;
        left[3 + 3 * v] = q_sum;
        left[4 + 3 * v] = between;
    }
}

// A row's exponentials, of those of its parts. A warp takes a part with each lane.
struct Total {
    float max = LOWEST;
    double sum = 0.0;

    __device__ Total(const double* left, u32 parts) {
        for (u32 part = threadIdx.x; part < parts; part += WARP) max = fmaxf(max, (float)left[part * LEFT]);
        max = block_max(max);
        for (u32 part = threadIdx.x; part < parts; part += WARP) sum += share(left, part) * left[part * LEFT + 1];
        sum = block_sum(sum);
    }

    // What a part's sum is multiplied by to be one of the row.
    __device__ double share(const double* left, u32 part) const { return expf((float)left[part * LEFT] - max); }
    __device__ double log_sum() const { return max + log(sum); }
};

// Of row `blockIdx.x`: the cross-entropy of its target under p and under each other, and the divergence of the other from p. A row
// without a target (beyond the vocabulary) has no cross-entropies. `out` has two rows of numbers for each other.
template <class T>
__device__ void sum_parts(const Rows<T>& rows, const double* left, u32 parts, u32 target, float* of_p, float* out) {
    left += (u64)blockIdx.x * parts * LEFT;
    out += blockIdx.x;
    auto entropy = [&](const T* logits, double log_sum) {
        return target < rows.width ? (float)(log_sum - capped(widen(logits[target]), rows.cap)) : NAN;
    };
    Total p(left, parts);
    if (threadIdx.x == 0) of_p[blockIdx.x] = entropy(rows.p, p.log_sum());
#pragma unroll
    for (u32 v = 0; v < OTHERS; v++) {
        if (!rows.others[v]) continue;
        const double* of_q = left + 2 + 3 * v;
        Total q(of_q, parts);
        double between = 0.0;
        for (u32 part = threadIdx.x; part < parts; part += WARP) between += p.share(left, part) * of_q[part * LEFT + 2];
        between = block_sum(between);
        if (threadIdx.x != 0) continue;
        out[2 * v * (u64)gridDim.x] = entropy(rows.others[v], q.log_sum());
        out[(2 * v + 1) * (u64)gridDim.x] = (float)(between / p.sum - p.log_sum() + q.log_sum());
    }
}

#define ENTRY(NAME, T)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(128)                                                                  \
        losses_##NAME(const T* p, const T* a, const T* b, const T* c, const T* d, u32 single, u64 width, u32 cap,      \
                      u64 length, double* left) {                                                                      \
        read_part(Rows<T>(p, a, b, c, d, single, width, cap, blockIdx.x), length, left);                               \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(32)                                                                   \
        sum_losses_##NAME(const T* p, const T* a, const T* b, const T* c, const T* d, u32 single, u64 width, u32 cap,  \
                          const double* left, u32 parts, const u32* targets, float* of_p, float* out) {                \
        Rows<T> rows(p, a, b, c, d, single, width, cap, blockIdx.x);                                                   \
        sum_parts(rows, left, parts, targets[blockIdx.x], of_p, out);                                                  \
    }
FOR_WEIGHTS(ENTRY)
#undef ENTRY
