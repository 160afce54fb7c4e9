//! Vector-Jacobian products of norms and activation functions over rows: the gradient by the input from the gradient by
//! the output. Weights are constants.

use rayon::prelude::*;

use super::{
    attention::Heads,
    simd::{dispatch, exp, madd},
};

/// Values one task works on: enough to outweigh starting it.
const CHUNK: usize = 1 << 13;

dispatch! {
    /// `x` gives `y = weight (x - mean) / sqrt(var + eps)`; `out` holds the gradient by `y` and becomes the one by `x`.
    fn layer_norm_row(x: &[f32], out: &mut [f32], weight: &[f32], eps: f32) {
        let n = x.len() as f32;
        for (g, w) in out.iter_mut().zip(weight) {
            *g *= w;
        }
        let mean = x.iter().sum::<f32>() / n;
        let variance = x.iter().fold(0.0, |sum, v| madd::<FMA>(v - mean, v - mean, sum)) / n;
        let scale = 1.0 / (variance + eps).sqrt();
        let by_mean = out.iter().sum::<f32>() / n;
        let along = x.iter().zip(&*out).fold(0.0, |sum, (v, g)| madd::<FMA>(v - mean, *g, sum)) * scale / n;
        for (g, v) in out.iter_mut().zip(x) {
            *g = scale * (*g - by_mean - (*v - mean) * scale * along);
        }
    }
}

dispatch! {
    /// The same of `y = weight x / sqrt(mean x^2 + eps)`.
    fn rms_norm_row(x: &[f32], out: &mut [f32], weight: &[f32], eps: f32) {
        let n = x.len() as f32;
        for (g, w) in out.iter_mut().zip(weight) {
            *g *= w;
        }
        let square = x.iter().fold(0.0, |sum, v| madd::<FMA>(*v, *v, sum)) / n;
        let scale = 1.0 / (square + eps).sqrt();
        let along = x.iter().zip(&*out).fold(0.0, |sum, (v, g)| madd::<FMA>(*v, *g, sum)) * scale * scale / n;
        for (g, v) in out.iter_mut().zip(x) {
            *g = scale * (*g - *v * along);
        }
    }
}

fn by_rows(x: &[f32], g: &mut [f32], width: usize, row: impl Fn(&[f32], &mut [f32]) + Sync) {
    let rows = (CHUNK / width).max(1);
    g.par_chunks_mut(width * rows).zip(x.par_chunks(width * rows)).for_each(|(g, x)| {
        g.chunks_mut(width).zip(x.chunks(width)).for_each(|(g, x)| row(x, g));
    });
}

/// LayerNorm of rows `x`: the gradient `g` by its output becomes the one by its input. A bias takes no part.
pub fn layer_norm(x: &[f32], g: &mut [f32], width: usize, weight: Option<&[f32]>, eps: f32) {
    let weight = weight.unwrap_or_default();
    by_rows(x, g, width, |x, g| layer_norm_row(x, g, weight, eps));
}

/// The same of the root-mean-square norm.
pub fn rms_norm(x: &[f32], g: &mut [f32], width: usize, weight: Option<&[f32]>, eps: f32) {
    let weight = weight.unwrap_or_default();
    by_rows(x, g, width, |x, g| rms_norm_row(x, g, weight, eps));
}

/// Of the RMS norm of each head's queries and keys in rows of [`Heads::row`]; the values' columns stay as they are.
pub fn head_norms(x: &[f32], g: &mut [f32], heads: Heads, weights: [&[f32]; 2], eps: f32) {
    let (row, width) = (heads.row(), heads.width);
    let (queries, keys) = (heads.heads * width, heads.kv_heads * width);
    g.par_chunks_mut(row).zip(x.par_chunks(row)).for_each(|(g, x)| {
        for (columns, weight) in [(0..queries, weights[0]), (queries..queries + keys, weights[1])] {
            let heads = g[columns.clone()].chunks_mut(width).zip(x[columns].chunks(width));
            heads.for_each(|(g, x)| rms_norm_row(x, g, weight, eps));
        }
    });
}

/// An activation function: `x` to its value there and its slope, in blocks.
pub type Curve = fn(x: &[f32], value: &mut [f32], slope: &mut [f32]);

dispatch! {
    /// GELU in its tanh form.
    pub fn gelu_tanh(x: &[f32], value: &mut [f32], slope: &mut [f32]) {
        for ((x, value), slope) in x.iter().zip(value).zip(slope) {
            let square = x * x;
            let u = 0.797_884_6 * madd::<FMA>(0.044_715 * *x, square, *x);
            // Share of x that passes, (1 + tanh u) / 2, and its slope by x.
            let share = 1.0 / (1.0 + exp::<FMA>(-2.0 * u));
            *value = x * share;
            let by_x = 2.0 * share * (1.0 - share) * 0.797_884_6 * madd::<FMA>(3.0 * 0.044_715, square, 1.0);
            *slope = madd::<FMA>(*x, by_x, share);
        }
    }
}

dispatch! {
    /// `x sigmoid(x)` and its slope.
    pub fn silu(x: &[f32], value: &mut [f32], slope: &mut [f32]) {
        for ((x, value), slope) in x.iter().zip(value).zip(slope) {
            let share = 1.0 / (1.0 + exp::<FMA>(-*x));
            *value = x * share;
            *slope = share * madd::<FMA>(*x, 1.0 - share, 1.0);
        }
    }
}

/// GELU with the error function.
pub fn gelu(x: &[f32], value: &mut [f32], slope: &mut [f32]) {
    for ((x, value), slope) in x.iter().zip(value).zip(slope) {
        let share = 0.5 * (1.0 + candle_core::cpu::erf::erf_f32(x * std::f32::consts::FRAC_1_SQRT_2));
        // The density of the standard normal distribution.
        let density = 0.398_942_3 * (-0.5 * x * x).exp();
        *value = x * share;
        *slope = share + x * density;
    }
}

/// `max(x, 0)` and its slope.
pub fn relu(x: &[f32], value: &mut [f32], slope: &mut [f32]) {
    for ((x, value), slope) in x.iter().zip(value).zip(slope) {
        *value = x.max(0.0);
        *slope = if *x > 0.0 { 1.0 } else { 0.0 };
    }
}

/// Of `y = curve(x)`: `g` by `y` becomes the gradient by `x`.
pub fn plain(x: &[f32], g: &mut [f32], curve: Curve) {
    g.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each_init(
        || [vec![0.0; CHUNK], vec![0.0; CHUNK]],
        |[value, slope], (g, x)| {
            let slope = &mut slope[..x.len()];
            curve(x, &mut value[..x.len()], slope);
            g.iter_mut().zip(slope).for_each(|(g, slope)| *g *= *slope);
        },
    );
}

/// Of `y = curve(gate) up`, with rows `[gate | up]` of `2 width` values: the gradient by `y` to the one by the rows.
pub fn gated(gate_up: &[f32], g: &[f32], width: usize, curve: Curve) -> Vec<f32> {
    let mut out = vec![0.0; gate_up.len()];
    out.par_chunks_mut(2 * width).zip(gate_up.par_chunks(2 * width)).zip(g.par_chunks(width)).for_each_init(
        || [vec![0.0; width], vec![0.0; width]],
        |[value, slope], ((out, gate_up), g)| {
            let (gate, up) = gate_up.split_at(width);
            curve(gate, value, slope);
            let (by_gate, by_up) = out.split_at_mut(width);
            for i in 0..width {
                by_gate[i] = g[i] * up[i] * slope[i];
                by_up[i] = g[i] * value[i];
            }
        },
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_values() {
        let x: Vec<f32> = (0..301).map(|i| (i as f32 - 150.5) * 0.03).collect();
        let value = |curve: Curve, x: &[f32]| {
            let (mut value, mut slope) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            curve(x, &mut value, &mut slope);
            (value, slope)
        };
        for curve in [gelu_tanh as Curve, gelu, silu, relu] {
            let (_, slope) = value(curve, &x);
            let step = 2e-3;
            let up = value(curve, &x.iter().map(|v| v + step).collect::<Vec<_>>()).0;
            let down = value(curve, &x.iter().map(|v| v - step).collect::<Vec<_>>()).0;
            for i in 0..x.len() {
                let want = (up[i] - down[i]) / (2.0 * step);
                assert!((slope[i] - want).abs() < 2e-3, "at {}: {} {want}", x[i], slope[i]);
            }
        }
        let (values, _) = value(gelu, &[1.0, -0.5]);
        assert!((values[0] - 0.841_344_7).abs() < 1e-6 && (values[1] + 0.154_268_7).abs() < 1e-6);
    }
}
