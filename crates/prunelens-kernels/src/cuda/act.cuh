// What stands between an MLP's two matrices, and its slope: a kernel that needs no slope takes none.
#pragma once

#include "common.cuh"

// In the order of the launcher's names.
enum Act { GELU_TANH, GELU, SILU, RELU };

struct Curve {
    float value, slope;

    __device__ __forceinline__ Curve(float x, u32 act) {
        if (act == GELU_TANH) {
            float square = x * x;
            float u = 0.7978845608f * fmaf(0.044715f * x, square, x);
            float share = 1.0f / (1.0f + expf(-2.0f * u));
            float by_x = 2.0f * share * (1.0f - share) * 0.7978845608f * fmaf(3.0f * 0.044715f, square, 1.0f);
            value = x * share;
            slope = fmaf(x, by_x, share);
        } else if (act == GELU) {
            float share = 0.5f * (1.0f + erff(x * 0.7071067812f));
            value = x * share;
            // The density of the standard normal distribution.
            slope = share + x * 0.3989422804f * expf(-0.5f * x * x);
        } else if (act == SILU) {
            float share = 1.0f / (1.0f + expf(-x));
            value = x * share;
            slope = share * fmaf(x, 1.0f - share, 1.0f);
        } else {
            value = fmaxf(x, 0.0f);
            slope = x > 0.0f ? 1.0f : 0.0f;
        }
    }
};
