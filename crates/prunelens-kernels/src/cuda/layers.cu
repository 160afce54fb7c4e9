// What stands between a transformer's matrix products, each in one launch: norms, the split into heads with their
// positions, and the weights of attention.

#include "act.cuh"
#include "common.cuh"

// What a row is divided by to be normed, and its mean if it is `centred`.
struct Spread {
    float mean, scale;

    template <class F>
    __device__ Spread(F value, u64 width, u32 eps, u32 centred) : mean(0.0f) {
        if (centred) {
            float sum = 0.0f;
            for (u64 at = threadIdx.x; at < width; at += blockDim.x) sum += value(at);
            mean = block_sum(sum) / width;
        }
        float squares = 0.0f;
        for (u64 at = threadIdx.x; at < width; at += blockDim.x) {
            float off = value(at) - mean;
            squares = fmaf(off, off, squares);
        }
        scale = sqrtf(block_sum(squares) / width + __uint_as_float(eps));
    }

    __device__ float normed(float value, u64 at, const float* weight, const float* bias) const {
        value = (value - mean) / scale;
        if (weight) value *= weight[at];
        if (bias) value += bias[at];
        return value;
    }
};

// LayerNorm (`centred`) or RMS norm of each row, times `weight` and plus `bias` where there are any. A block takes a
// row. What norms multiply with is f32 whatever the rows are: 1 + w of Gemma has no room in 16 bits.
template <class T>
__device__ void norm(const T* x, const float* weight, const float* bias, u64 width, u32 eps, u32 centred, T* out) {
    x += blockIdx.x * width;
    out += blockIdx.x * width;
    auto value = [&](u64 at) { return widen(x[at]); };
    Spread spread(value, width, eps, centred);
    for (u64 at = threadIdx.x; at < width; at += blockDim.x) store(out[at], spread.normed(value(at), at, weight, bias));
}

// Each row's sum of `x` and `delta`, the latter normed first if `post` is set, and the norm of the sum if there is room for it
// in `out`. All is rounded as if each step were launched by itself. A block takes a row, a thread the same columns throughout.
template <class T>
__device__ void add_norm(const T* x, const T* delta, u32 post, const float* post_weight, const float* post_bias,
                         u32 post_eps, u32 post_centred, const float* weight, const float* bias, u32 eps, u32 centred,
                         u64 width, T* sum, T* out) {
    u64 row = blockIdx.x * width;
    x += row;
    delta += row;
    sum += row;
    auto added = [&](u64 at) { return widen(delta[at]); };
    if (post) {
        Spread spread(added, width, post_eps, post_centred);
        for (u64 at = threadIdx.x; at < width; at += blockDim.x) {
            store(sum[at], spread.normed(added(at), at, post_weight, post_bias));
            store(sum[at], widen(x[at]) + widen(sum[at]));
        }
    } else {
        for (u64 at = threadIdx.x; at < width; at += blockDim.x) store(sum[at], widen(x[at]) + added(at));
    }
    if (!out) return;
    out += row;
    auto total = [&](u64 at) { return widen(sum[at]); };
    Spread spread(total, width, eps, centred);
    for (u64 at = threadIdx.x; at < width; at += blockDim.x) store(out[at], spread.normed(total(at), at, weight, bias));
}

// Queries `[texts, heads, time, width]`, and keys and values `[texts, stored, time, width]` each, of rows `qkv [tokens, heads +
// 2 kv_heads, width]`: a head of keys or values stands for `stored / kv_heads` in a row. Queries and keys are normed where there
// are weights for it, and the first `2 half` numbers of each head rotated in pairs `(i, i + half)`. Queries are multiplied by
// `factor`. A warp takes a head of a token.
template <class T>
__device__ void split_heads(const T* qkv, const float* q_norm, const float* k_norm, u32 q_eps, u32 k_eps,
                            const float* cos, const float* sin, u32 half, u64 tokens, u32 time, u32 heads, u32 kv_heads,
                            u32 stored, u32 width, u32 factor, T* out) {
    u64 item = first_index() / WARP;
    u32 all = heads + 2 * stored;
    if (item >= tokens * all) return;
    u32 lane = threadIdx.x % WARP;
    Place of_token(item, all);
    u64 token = of_token.row;
    u32 head = (u32)of_token.column;
    u32 part = head < heads ? 0 : 1 + (head - heads) / stored;
    u32 of = part == 0 ? heads : stored;
    u32 before = part == 0 ? 0 : heads + (part - 1) * stored;
    head -= before;
    u32 from = part == 0 ? head : heads + (part - 1) * kv_heads + head / (stored / kv_heads);
    const T* x = qkv + (token * (heads + 2 * kv_heads) + from) * width;
    const float* weight = part == 0 ? q_norm : part == 1 ? k_norm : 0;
    float scale = 1.0f;
    if (weight) {
        float squares = 0.0f;
        for (u32 i = lane; i < width; i += WARP) squares = fmaf(widen(x[i]), widen(x[i]), squares);
        float mean = __shfl_sync(ALL_LANES, warp_sum(squares), 0) / width;
        scale = sqrtf(mean + __uint_as_float(part == 0 ? q_eps : k_eps));
    }
    auto normed = [&](u32 i) { return weight ? widen(x[i]) / scale * weight[i] : widen(x[i]); };
    Place of_text(token, time);
    u64 t = of_text.column, text = of_text.row;
    T* to = out + (tokens * before + (text * of + head) * time + t) * width;
    for (u32 i = lane; i < width; i += WARP) {
        float value = normed(i);
        if (part < 2 && i < 2 * half) {
            u64 at = t * half + i % half;
            float other = i < half ? -normed(i + half) : normed(i - half);
            value = value * cos[at] + other * sin[at];
        }
        store(to[i], part == 0 ? value * __uint_as_float(factor) : value);
    }
}

// Weights of attention from scaled products of `queries` queries in a row and `keys` keys, `[rows, keys]`: the softmax over
// the keys that row `r` sees, `t - window < s <= t` for its position `t = before + r % queries` among the keys, and zero
// elsewhere. Products are capped first if `cap` is above zero. A warp takes a row.
extern "C" __global__ void attend(const float* products, u64 rows, u32 queries, u32 keys, u32 before, u32 cap_bits, u32 window,
                                  float* out) {
    u64 row = first_index() / WARP;
    if (row >= rows) return;
    u32 lane = threadIdx.x % WARP;
    products += row * keys;
    out += row * keys;
    u32 t = before + (u32)Place(row, queries).column;
    u32 first = t < window ? 0 : t + 1 - window;
    float cap = __uint_as_float(cap_bits);
    auto score = [&](u32 s) {
        float value = products[s];
        return cap > 0.0f ? cap * tanhf(value / cap) : value;
    };
    float max = -INFINITY;
    for (u32 s = first + lane; s <= t; s += WARP) max = fmaxf(max, score(s));
    for (u32 step = WARP / 2; step > 0; step /= 2) max = fmaxf(max, __shfl_down_sync(ALL_LANES, max, step));
    max = __shfl_sync(ALL_LANES, max, 0);
    float sum = 0.0f;
    for (u32 s = first + lane; s <= t; s += WARP) sum += expf(score(s) - max);
    sum = __shfl_sync(ALL_LANES, warp_sum(sum), 0);
    for (u32 s = lane; s < keys; s += WARP) out[s] = s < first || s > t ? 0.0f : expf(score(s) - max) / sum;
}

// `out [rows, width]` of `x [rows, width]`, or of gates and what they open `[rows, 2 width]`.
template <class T>
__device__ void activate(const T* x, u64 len, u64 width, u32 gated, u32 act, T* out) {
    for (u64 at = first_index(); at < len; at += index_step()) {
        u64 from = gated ? at + Place(at, width).row * width : at;
        float value = Curve(widen(x[from]), act).value;
        store(out[at], gated ? value * widen(x[from + width]) : value);
    }
}

#define ENTRY(NAME, T)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(1024) norm_##NAME(const T* x, const float* weight, const float* bias, \
                                                                   u64 width, u32 eps, u32 centred, T* out) {          \
        norm(x, weight, bias, width, eps, centred, out);                                                               \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(1024) add_norm_##NAME(                                                \
        const T* x, const T* delta, u32 post, const float* post_weight, const float* post_bias, u32 post_eps,          \
        u32 post_centred, const float* weight, const float* bias, u32 eps, u32 centred, u64 width, T* sum, T* out) {   \
        add_norm(x, delta, post, post_weight, post_bias, post_eps, post_centred, weight, bias, eps, centred, width,    \
                 sum, out);                                                                                            \
    }                                                                                                                  \
    extern "C" __global__ void split_heads_##NAME(const T* qkv, const float* q_norm, const float* k_norm, u32 q_eps,   \
                                                  u32 k_eps, const float* cos, const float* sin, u32 half,             \
                                                  u64 tokens, u32 time, u32 heads, u32 kv_heads, u32 stored,           \
                                                  u32 width, u32 factor, T* out) {                                     \
        split_heads(qkv, q_norm, k_norm, q_eps, k_eps, cos, sin, half, tokens, time, heads, kv_heads, stored, width,   \
                    factor, out);                                                                                      \
    }                                                                                                                  \
    extern "C" __global__ void activate_##NAME(const T* x, u64 len, u64 width, u32 gated, u32 act, T* out) {           \
        activate(x, len, width, gated, act, out);                                                                      \
    }
FOR_WEIGHTS(ENTRY)
#undef ENTRY
