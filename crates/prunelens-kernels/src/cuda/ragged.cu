// Texts of any lengths side by side, read on from the keys and values that each has, and gradients back through a transformer's
// layers. All in f32. Twins: `kernels::{kv_cache, attention, gradient}`.

#include "act.cuh"
#include "common.cuh"

// A token's row has heads of queries, of keys and of values, `width` numbers each.
struct Row {
    u32 heads, kv_heads, width;

    __device__ __forceinline__ u64 len() const { return (u64)(heads + 2 * kv_heads) * width; }
};

// Number `i` of a head rotated by a position's angles in pairs `(i, i + half)`, backwards if `sign` is -1.
template <class F>
__device__ __forceinline__ float turned(F value, u32 i, u32 half, const float* cos, const float* sin, float sign) {
    if (i >= 2 * half) return value(i);
    u32 pair = i < half ? i : i - half;
    float other = i < half ? -value(i + half) : value(i - half);
    return value(i) * cos[pair] + sign * other * sin[pair];
}

// A warp's head among those of all tokens.
struct Head {
    u64 item, position;
    // Of the head's norm, if it has one; and pairs that are rotated.
    const float* weight;
    u32 rotated;

    // Whether there is one.
    __device__ bool find(const float* q_norm, const float* k_norm, u32 half, const u32* positions, u64 tokens, u32 heads,
                         u32 kv_heads) {
        item = first_index() / WARP;
        u32 each = heads + 2 * kv_heads;
        if (item >= tokens * each) return false;
        Place place(item, each);
        u32 head = (u32)place.column;
        position = positions[place.row];
        weight = head < heads ? q_norm : head < heads + kv_heads ? k_norm : 0;
        rotated = head < heads + kv_heads ? half : 0;
        return true;
    }
};

// Rows with their queries and keys normed, where there are weights for it, and rotated to `positions`. A warp takes a head.
extern "C" __global__ void prepare_rows(const float* rows, const float* q_norm, const float* k_norm, u32 eps,
                                        const float* cos, const float* sin, u32 half, const u32* positions, u64 tokens,
                                        u32 heads, u32 kv_heads, u32 width, float* out) {
    Head head;
    if (!head.find(q_norm, k_norm, half, positions, tokens, heads, kv_heads)) return;
    u32 lane = threadIdx.x % WARP;
    u64 item = head.item, at = head.position * half;
    const float* weight = head.weight;
    const float* x = rows + item * width;
    float scale = 1.0f;
    if (weight) {
        float squares = 0.0f;
        for (u32 i = lane; i < width; i += WARP) squares = fmaf(x[i], x[i], squares);
        scale = 1.0f / sqrtf(__shfl_sync(ALL_LANES, warp_sum(squares), 0) / width + __uint_as_float(eps));
    }
    auto normed = [&](u32 i) { return weight ? x[i] * (scale * weight[i]) : x[i]; };
    for (u32 i = lane; i < width; i += WARP)
        out[item * width + i] = turned(normed, i, head.rotated, cos + at, sin + at, 1.0f);
}

// From gradients by prepared rows to those by `rows`.
extern "C" __global__ void prepare_rows_vjp(const float* rows, const float* g, const float* q_norm, const float* k_norm,
                                            u32 eps, const float* cos, const float* sin, u32 half,
                                            const u32* positions, u64 tokens, u32 heads, u32 kv_heads, u32 width,
                                            float* out) {
    Head head;
    if (!head.find(q_norm, k_norm, half, positions, tokens, heads, kv_heads)) return;
    u32 lane = threadIdx.x % WARP;
    u64 item = head.item, at = head.position * half;
    const float* weight = head.weight;
    const float* x = rows + item * width;
    const float* by = g + item * width;
    auto given = [&](u32 i) { return by[i]; };
    auto back = [&](u32 i) { return turned(given, i, head.rotated, cos + at, sin + at, -1.0f) * (weight ? weight[i] : 1.0f); };
    float scale = 1.0f, along = 0.0f;
    if (weight) {
        float squares = 0.0f;
        for (u32 i = lane; i < width; i += WARP) {
            squares = fmaf(x[i], x[i], squares);
            along = fmaf(x[i], back(i), along);
        }
        scale = 1.0f / sqrtf(__shfl_sync(ALL_LANES, warp_sum(squares), 0) / width + __uint_as_float(eps));
        along = __shfl_sync(ALL_LANES, warp_sum(along), 0) * scale * scale / width;
    }
    for (u32 i = lane; i < width; i += WARP)
        out[item * width + i] = weight ? scale * (back(i) - x[i] * along) : back(i);
}

__device__ __forceinline__ float dot(const float* a, const float* b, u32 width) {
    float sum = 0.0f;
    for (u32 i = threadIdx.x % WARP; i < width; i += WARP) sum = fmaf(a[i], b[i], sum);
    return __shfl_sync(ALL_LANES, warp_sum(sum), 0);
}

// A query of one head, and the keys and values that it sees: `count` of them from `start` on. A block takes one; the grid has
// some tokens, from `first_token` on, and all heads.
struct Query {
    u64 token, head, kv;
    u64 start;
    u32 count;
    // Its place among the queries of the grid.
    u64 place;

    __device__ Query(const u32* first, const u32* keys, u64 first_token, u32 heads, u32 kv_heads) {
        token = first_token + blockIdx.x;
        head = blockIdx.y;
        kv = head / (heads / kv_heads);
        start = first[token];
        count = keys[token];
        place = (u64)blockIdx.x * heads + head;
    }
};

// What a layer adds for each head, `z [tokens, heads, width]`, of prepared queries and of the keys and values of all texts. A
// token sees `keys[token]` of them, from `first[token]` on, the last `window` alone. `weights [.., heads, stride]` of the
// grid's queries are scratch that the gradient reads.
extern "C" __global__ void __launch_bounds__(128)
    attend_ragged(const float* q, const float* k, const float* v, const u32* first, const u32* keys, u64 first_token,
                  u32 heads, u32 kv_heads, u32 width, u32 scale_bits, u32 cap_bits, u32 window, u32 stride,
                  float* weights, float* z) {
    Query at(first, keys, first_token, heads, kv_heads);
    float scale = __uint_as_float(scale_bits), cap = __uint_as_float(cap_bits);
    float* mine = weights + at.place * stride;
    const float* query = q + (at.token * heads + at.head) * width;
    u32 begin = at.count > window ? at.count - window : 0;
    float max = -INFINITY;
    for (u32 key = threadIdx.x / WARP; key < at.count; key += blockDim.x / WARP) {
        float score = dot(query, k + ((at.start + key) * kv_heads + at.kv) * width, width) * scale;
        if (cap > 0.0f) score = cap * tanhf(score / cap);
        if (key < begin) score = -INFINITY;
        max = fmaxf(max, score);
        if (threadIdx.x % WARP == 0) mine[key] = score;
    }
    max = block_max(max);
    float sum = 0.0f;
    for (u32 key = threadIdx.x; key < at.count; key += blockDim.x) {
        mine[key] = expf(mine[key] - max);
        sum += mine[key];
    }
    sum = block_sum(sum);
    for (u32 key = threadIdx.x; key < at.count; key += blockDim.x) mine[key] /= sum;
    __syncthreads();
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        float out = 0.0f;
        // Sums take one after the other; what they add is fetched ahead.
#pragma unroll 8
        for (u32 key = begin; key < at.count; key++)
            out = fmaf(mine[key], v[((at.start + key) * kv_heads + at.kv) * width + i], out);
        z[(at.token * heads + at.head) * width + i] = out;
    }
}

// Gradients by the grid's queries, in their columns of `rows`, and by their scores, from those by `z`.
extern "C" __global__ void __launch_bounds__(128)
    attend_ragged_vjp(const float* q, const float* k, const float* v, const float* g, const u32* first, const u32* keys,
                      u64 first_token, u32 heads, u32 kv_heads, u32 width, u32 scale_bits, u32 cap_bits, u32 stride,
                      const float* weights, float* by_scores, float* rows) {
    Query at(first, keys, first_token, heads, kv_heads);
    Row row{heads, kv_heads, width};
    float scale = __uint_as_float(scale_bits), cap = __uint_as_float(cap_bits);
    const float* weight = weights + at.place * stride;
    float* mine = by_scores + at.place * stride;
    const float* query = q + (at.token * heads + at.head) * width;
    const float* by_z = g + (at.token * heads + at.head) * width;
    float along = 0.0f;
    for (u32 key = threadIdx.x / WARP; key < at.count; key += blockDim.x / WARP) {
        float by = dot(by_z, v + ((at.start + key) * kv_heads + at.kv) * width, width);
        if (threadIdx.x % WARP != 0) continue;
        mine[key] = by;
        along = fmaf(by, weight[key], along);
    }
    along = block_sum(along);
    for (u32 key = threadIdx.x / WARP; key < at.count; key += blockDim.x / WARP) {
        float slope = 1.0f;
        if (cap > 0.0f) {
            float share = tanhf(dot(query, k + ((at.start + key) * kv_heads + at.kv) * width, width) * scale / cap);
            slope = 1.0f - share * share;
        }
        if (threadIdx.x % WARP == 0) mine[key] = weight[key] * (mine[key] - along) * slope;
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        float out = 0.0f;
#pragma unroll 8
        for (u32 key = 0; key < at.count; key++)
            out = fmaf(mine[key], k[((at.start + key) * kv_heads + at.kv) * width + i], out);
        rows[at.token * row.len() + at.head * width + i] = scale * out;
    }
}

// The same by the keys and values of the grid's tokens, which the tokens of their text from there to `ends[token]` have seen. The
// grid has all tokens of some texts, and heads of keys.
extern "C" __global__ void __launch_bounds__(128)
    attend_ragged_vjp_keys(const float* q, const float* g, const u32* keys, const u32* ends, u64 first_token, u32 heads,
                           u32 kv_heads, u32 width, u32 scale_bits, u32 stride, const float* weights,
                           const float* by_scores, float* rows) {
    Row row{heads, kv_heads, width};
    u64 token = first_token + blockIdx.x;
    u64 kv = blockIdx.y;
    u32 share = heads / kv_heads;
    u32 key = keys[token] - 1;
    float scale = __uint_as_float(scale_bits);
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        float by_key = 0.0f, by_value = 0.0f;
        for (u64 later = token; later < ends[token]; later++)
            for (u64 head = kv * share; head < (kv + 1) * share; head++) {
                u64 place = ((later - first_token) * heads + head) * stride + key;
                u64 number = (later * heads + head) * width + i;
                by_key = fmaf(by_scores[place], q[number], by_key);
                by_value = fmaf(weights[place], g[number], by_value);
            }
        rows[token * row.len() + (heads + kv) * width + i] = scale * by_key;
        rows[token * row.len() + (heads + kv_heads + kv) * width + i] = by_value;
    }
}

// LayerNorm (`centred`) or RMS norm: the gradient by each row of `x` from the one by its output. A block takes a row.
extern "C" __global__ void norm_vjp(const float* x, const float* g, const float* weight, u64 width, u32 eps, u32 centred,
                                    float* out) {
    x += blockIdx.x * width;
    g += blockIdx.x * width;
    out += blockIdx.x * width;
    auto given = [&](u64 at) { return weight ? g[at] * weight[at] : g[at]; };
    float mean = 0.0f, by_mean = 0.0f;
    if (centred) {
        float sum = 0.0f, by = 0.0f;
        for (u64 at = threadIdx.x; at < width; at += blockDim.x) {
            sum += x[at];
            by += given(at);
        }
        mean = block_sum(sum) / width;
        by_mean = block_sum(by) / width;
    }
    float squares = 0.0f, along = 0.0f;
    for (u64 at = threadIdx.x; at < width; at += blockDim.x) {
        float value = x[at] - mean;
        squares = fmaf(value, value, squares);
        along = fmaf(value, given(at), along);
    }
    float scale = 1.0f / sqrtf(block_sum(squares) / width + __uint_as_float(eps));
    along = block_sum(along) * scale * scale / width;
    for (u64 at = threadIdx.x; at < width; at += blockDim.x)
        out[at] = scale * (given(at) - by_mean - (x[at] - mean) * along);
}

// The gradient by `x [rows, width]`, or by gates and what they open `[rows, 2 width]`, from the one by the output `[rows, width]`.
extern "C" __global__ void activate_vjp(const float* x, const float* g, u64 len, u64 width, u32 gated, u32 act,
                                        float* out) {
    for (u64 at = first_index(); at < len; at += index_step()) {
        u64 from = gated ? at + Place(at, width).row * width : at;
        Curve curve(x[from], act);
        out[from] = gated ? g[at] * x[from + width] * curve.slope : g[at] * curve.slope;
        if (gated) out[from + width] = g[at] * curve.value;
    }
}
