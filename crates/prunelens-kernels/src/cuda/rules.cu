// A step of an SAE's training where many latents fire: what each kind makes of pre-activations and of the gradients by its
// latents, between the library's matrix products. Twins: `core::train::{relu, gated, jumprelu}`.

#include "common.cuh"

// From products `f W_dec` to `2 (x̂ - x) / tokens`, in place; of each token the squares of the error and of the input.
extern "C" __global__ void __launch_bounds__(256)
    errors(const float* x, const float* b_dec, u32 d_in, float* out, double* squares) {
    u64 first = (u64)blockIdx.x * d_in;
    float scale = 2.0f / (float)gridDim.x;
    double of_error = 0, of_input = 0;
    for (u32 i = threadIdx.x; i < d_in; i += blockDim.x) {
        float input = x[first + i];
        float error = out[first + i] + (b_dec[i] - input);
        of_error += (double)error * error;
        of_input += (double)input * input;
        out[first + i] = error * scale;
    }
    of_error = block_sum(of_error);
    of_input = block_sum(of_input);
    if (threadIdx.x != 0) return;
    squares[2 * (u64)blockIdx.x] = of_error;
    squares[2 * (u64)blockIdx.x + 1] = of_input;
}

// --- Products to pre-activations, and to latents.

extern "C" __global__ void relu_forward(float* pre, const float* bias, u64 len, u64 d_sae, float* latents) {
    for (u64 at = first_index(); at < len; at += index_step()) {
        pre[at] += bias[Place(at, d_sae).column];
        latents[at] = fmaxf(pre[at], 0.0f);
    }
}

extern "C" __global__ void gated_forward(float* pre, const float* b_gate, const float* r_mag, const float* b_mag,
                                         u64 len, u64 d_sae, float* latents, float* gates) {
    for (u64 at = first_index(); at < len; at += index_step()) {
        u64 latent = Place(at, d_sae).column;
        float product = pre[at];
        float value = product + b_gate[latent];
        pre[at] = value;
        gates[at] = fmaxf(value, 0.0f);
        float magnitude = (value - b_gate[latent]) * expf(r_mag[latent]) + b_mag[latent];
        latents[at] = value > 0.0f ? fmaxf(magnitude, 0.0f) : 0.0f;
    }
}

extern "C" __global__ void jumprelu_forward(float* pre, const float* bias, const float* threshold, u64 len, u64 d_sae,
                                            float* latents) {
    for (u64 at = first_index(); at < len; at += index_step()) {
        u64 latent = Place(at, d_sae).column;
        pre[at] += bias[latent];
        latents[at] = pre[at] > threshold[latent] ? pre[at] : 0.0f;
    }
}

// --- The way back.

// Sums over tokens of one latent.
struct Column {
    // By the pre-activation, by the length of the decoder's row, by the kind's vectors, by the bias.
    float by_pre = 0, by_length = 0, vectors[2] = {0, 0}, by_b_enc = 0;
    double penalty = 0, auxiliary = 0;
    u64 active = 0;
};

constexpr u32 FLOATS = 5;
constexpr u32 DOUBLES = 3;

// A thread takes a latent on some of the tokens: `floats [parts, FLOATS, d_sae]` and `doubles [parts, DOUBLES, d_sae]` get
// what it sums.
template <class Rule>
__device__ void backward(Rule rule, float* by_latent, u64 tokens, u64 d_sae, float* floats, double* doubles) {
    u64 latent = first_index();
    if (latent >= d_sae) return;
    u64 count = (tokens + gridDim.y - 1) / gridDim.y;
    u64 end = (blockIdx.y + 1) * count < tokens ? (blockIdx.y + 1) * count : tokens;
    Column column;
    for (u64 token = blockIdx.y * count; token < end; token++)
        by_latent[token * d_sae + latent] =
            rule.step(by_latent[token * d_sae + latent], token * d_sae + latent, token, latent, column);
    float* to = floats + (u64)blockIdx.y * FLOATS * d_sae + latent;
    to[0] = column.by_pre;
    to[d_sae] = column.by_length;
    to[2 * d_sae] = column.vectors[0];
    to[3 * d_sae] = column.vectors[1];
    to[4 * d_sae] = column.by_b_enc;
    double* wide = doubles + (u64)blockIdx.y * DOUBLES * d_sae + latent;
    wide[0] = column.penalty;
    wide[d_sae] = column.auxiliary;
    wide[2 * d_sae] = (double)column.active;
}

// Each step takes the gradient by a latent on a token, adds to the column, and gives the gradient by the pre-activation.

struct Relu {
    const float *latents, *lengths;
    float l1;
    u64 tokens;

    __device__ float step(float by, u64 at, u64 token, u64 latent, Column& column) const {
        float by_one = l1 / (float)tokens;
        float f = latents[at];
        by = f > 0.0f ? by + by_one * lengths[latent] : 0.0f;
        column.by_length += by_one * f;
        column.penalty += (double)(l1 * f * lengths[latent]);
        column.by_pre += by;
        column.by_b_enc += by;
        column.active += f != 0.0f;
        return by;
    }
};

struct Gated {
    const float *pre, *latents, *by_gate, *lengths, *r_mag, *b_gate;
    float l1;
    u64 tokens;

    __device__ float step(float by, u64 at, u64 token, u64 latent, Column& column) const {
        float by_one = l1 / (float)tokens;
        float scale = expf(r_mag[latent]);
        float gate = fmaxf(pre[at], 0.0f);
        float by_magnitude = latents[at] > 0.0f ? by : 0.0f;
        float by_pre = pre[at] > 0.0f ? by_gate[at] + by_one * lengths[latent] : 0.0f;
        column.vectors[1] += by_magnitude;
        column.vectors[0] += by_magnitude * scale * (pre[at] - b_gate[latent]);
        column.by_length += by_one * gate;
        column.penalty += (double)(l1 * gate * lengths[latent]);
        by = by_magnitude * scale + by_pre;
        column.by_pre += by;
        // Magnitudes read the input past the gates' bias.
        column.by_b_enc += by_pre;
        column.active += latents[at] != 0.0f;
        return by;
    }
};

// Sparsity losses.
enum : u32 { STEP = 0, TANH = 1, QUADRATIC = 2 };

struct JumpRelu {
    const float *pre, *latents, *lengths, *threshold;
    // Latents that fire on each token; which latents are dead, if those are pulled.
    const u64* active;
    const u32* dead;
    u64 tokens;
    u32 sparsity;
    // The scale of tanh or the target; weights; the inverse width of the band; whether the step's gradient reaches the input.
    float number, l0, per_band, to_input, pull;

    __device__ float step(float by, u64 at, u64 token, u64 latent, Column& column) const {
        float count = (float)tokens;
        float by_count = 0;
        if (sparsity == STEP) {
            by_count = l0;
            if (latent == 0) column.penalty += (double)(l0 * (float)active[token]);
        } else if (sparsity == QUADRATIC) {
            float over = (float)active[token] - number;
            by_count = l0 * 4.0f / number * over;
            if (latent == 0) column.penalty += (double)(l0 * 2.0f / number * over * over);
        } else {
            float steepest = l0 / count * number;
            float f = latents[at];
            float tanh = f == 0.0f ? 0.0f : tanhf(number * f * lengths[latent]);
            float slope = steepest * (1.0f - tanh * tanh);
            column.penalty += (double)(l0 * tanh);
            by += slope * lengths[latent];
            column.by_length += slope * f;
        }
        float above = pre[at] - threshold[latent];
        bool inside = fabsf(above * per_band) < 0.5f;
        float ramp = inside ? threshold[latent] * per_band * by + by_count / count * per_band : 0.0f;
        column.vectors[0] -= ramp;
        by = (pre[at] > threshold[latent] ? by : 0.0f) + to_input * ramp;
        if (dead && dead[latent] != 0 && above < 0.0f) {
            float pulled = pull * lengths[latent] / count;
            column.auxiliary += (double)(pull * -above * lengths[latent]);
            column.vectors[0] += pulled;
            by -= pulled;
            column.by_length += pull * -above / count;
        }
        column.by_pre += by;
        column.by_b_enc += by;
        column.active += latents[at] != 0.0f;
        return by;
    }
};

extern "C" __global__ void __launch_bounds__(256)
    relu_backward(const float* latents, const float* lengths, u32 l1, u64 tokens, u64 d_sae, float* by_latent,
                  float* floats, double* doubles) {
    backward(Relu{latents, lengths, __uint_as_float(l1), tokens}, by_latent, tokens, d_sae, floats, doubles);
}

extern "C" __global__ void __launch_bounds__(256)
    gated_backward(const float* pre, const float* latents, const float* by_gate, const float* lengths,
                   const float* r_mag, const float* b_gate, u32 l1, u64 tokens, u64 d_sae, float* by_latent,
                   float* floats, double* doubles) {
    Gated rule{pre, latents, by_gate, lengths, r_mag, b_gate, __uint_as_float(l1), tokens};
    backward(rule, by_latent, tokens, d_sae, floats, doubles);
}

// `numbers`: those of the rule, in its order.
extern "C" __global__ void __launch_bounds__(256)
    jumprelu_backward(const float* pre, const float* latents, const float* lengths, const float* threshold,
                      const u64* active, const u32* dead, u32 sparsity, const float* numbers, u64 tokens, u64 d_sae,
                      float* by_latent, float* floats, double* doubles) {
    JumpRelu rule{pre,    latents,  lengths,    threshold,  active,     dead,      tokens,
                  sparsity, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]};
    backward(rule, by_latent, tokens, d_sae, floats, doubles);
}

template <class T>
__device__ void sum_parts(const T* parts, u64 count, u64 len, T* out) {
    for (u64 at = first_index(); at < len; at += index_step()) {
        T sum = 0;
        for (u64 part = 0; part < count; part++) sum += parts[part * len + at];
        out[at] = sum;
    }
}

extern "C" __global__ void sum_parts_f32(const float* parts, u64 count, u64 len, float* out) {
    sum_parts(parts, count, len, out);
}

extern "C" __global__ void sum_parts_f64(const double* parts, u64 count, u64 len, double* out) {
    sum_parts(parts, count, len, out);
}
