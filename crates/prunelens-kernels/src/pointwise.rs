//! Norms and activation functions over rows, in parallel.

use candle_core::cpu::erf::erf_f32;
use rayon::prelude::*;

use super::simd::{dispatch, exp, madd};

/// Values one task works on: enough to outweigh starting it.
const CHUNK: usize = 1 << 14;

dispatch! {
    /// `(x - mean) / sqrt(var + eps)` of one row, then weight and bias.
    fn layer_norm_row(x: &[f32], out: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
        let n = x.len() as f32;
        let mean = x.iter().sum::<f32>() / n;
        let mut lanes = [0.0_f32; 16];
        let chunks = x.chunks_exact(16);
        let mut rest = 0.0;
        for v in chunks.remainder() {
            rest += (v - mean) * (v - mean);
        }
        for chunk in chunks {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                *lane = madd::<FMA>(v - mean, v - mean, *lane);
            }
        }
        let scale = 1.0 / ((lanes.iter().sum::<f32>() + rest) / n + eps).sqrt();
        for (o, v) in out.iter_mut().zip(x) {
            *o = (*v - mean) * scale;
        }
        for (o, w) in out.iter_mut().zip(weight) {
            *o *= w;
        }
        for (o, b) in out.iter_mut().zip(bias) {
            *o += b;
        }
    }
}

dispatch! {
    fn rms_norm_row(x: &[f32], out: &mut [f32], weight: &[f32], eps: f32) {
        let mut lanes = [0.0_f32; 16];
        let chunks = x.chunks_exact(16);
        let mut rest = 0.0;
        for v in chunks.remainder() {
            rest += v * v;
        }
        for chunk in chunks {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                *lane = madd::<FMA>(*v, *v, *lane);
            }
        }
        let scale = 1.0 / ((lanes.iter().sum::<f32>() + rest) / x.len() as f32 + eps).sqrt();
        for (o, v) in out.iter_mut().zip(x) {
            *o = *v * scale;
        }
        for (o, w) in out.iter_mut().zip(weight) {
            *o *= w;
        }
    }
}

fn by_rows(x: &[f32], width: usize, row: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let rows = (CHUNK / width).max(1);
    out.par_chunks_mut(width * rows).zip(x.par_chunks(width * rows)).for_each(|(out, x)| {
        for (out, x) in out.chunks_mut(width).zip(x.chunks(width)) {
            row(x, out);
        }
    });
    out
}

/// LayerNorm over the last `width` values; a missing weight or bias (folded into what follows) counts as 1 or 0.
pub fn layer_norm(x: &[f32], width: usize, weight: Option<&[f32]>, bias: Option<&[f32]>, eps: f32) -> Vec<f32> {
    let (weight, bias) = (weight.unwrap_or_default(), bias.unwrap_or_default());
    by_rows(x, width, |x, out| layer_norm_row(x, out, weight, bias, eps))
}

/// Root-mean-square norm over the last `width` values.
pub fn rms_norm(x: &[f32], width: usize, weight: Option<&[f32]>, eps: f32) -> Vec<f32> {
    let weight = weight.unwrap_or_default();
    by_rows(x, width, |x, out| rms_norm_row(x, out, weight, eps))
}

dispatch! {
    fn gelu_tanh_values(x: &mut [f32]) {
        // gelu(x) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3): the tanh form rewritten.
        for v in x {
            let u = 0.797_884_6 * madd::<FMA>(0.044_715 * *v * *v, *v, *v);
            *v /= 1.0 + exp::<FMA>(-2.0 * u);
        }
    }
}

dispatch! {
    fn silu_times_values(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = *gate / (1.0 + exp::<FMA>(-*gate)) * *up;
        }
    }
}

dispatch! {
    fn gelu_tanh_times_values(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            let u = 0.797_884_6 * madd::<FMA>(0.044_715 * *gate * *gate, *gate, *gate);
            *out = *gate / (1.0 + exp::<FMA>(-2.0 * u)) * *up;
        }
    }
}

/// Rows `[gate | up]` of `2 width` values to `gelu(gate) * up` of `width`, in the tanh form.
pub fn gelu_tanh_gated(gate_up: &[f32], width: usize) -> Vec<f32> {
    gated(gate_up, width, gelu_tanh_times_values)
}

fn gated(gate_up: &[f32], width: usize, row: impl Fn(&[f32], &[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let mut out = vec![0.0; gate_up.len() / 2];
    out.par_chunks_mut(width).zip(gate_up.par_chunks(2 * width)).for_each(|(out, gate_up)| {
        row(&gate_up[..width], &gate_up[width..], out);
    });
    out
}

/// GELU in its tanh form, in place.
pub fn gelu_tanh(x: &mut [f32]) {
    x.par_chunks_mut(CHUNK).for_each(gelu_tanh_values);
}

/// GELU with the error function, in place.
pub fn gelu(x: &mut [f32]) {
    x.par_chunks_mut(CHUNK).for_each(|chunk| {
        for v in chunk {
            *v = 0.5 * *v * (1.0 + erf_f32(*v * std::f32::consts::FRAC_1_SQRT_2));
        }
    });
}

/// Rows `[gate | up]` of `2 width` values to `silu(gate) * up` of `width`.
pub fn silu_gated(gate_up: &[f32], width: usize) -> Vec<f32> {
    gated(gate_up, width, silu_times_values)
}

dispatch! {
    /// Softmax of the first `keep` values of a row in place; the rest become 0.
    pub fn softmax_prefix(row: &mut [f32], keep: usize) {
        let (head, tail) = row.split_at_mut(keep);
        let mut lanes = [f32::NEG_INFINITY; 16];
        for chunk in head.chunks_exact(16) {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                *lane = if *v > *lane { *v } else { *lane };
            }
        }
        let mut max = lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for v in head.chunks_exact(16).remainder() {
            max = max.max(*v);
        }
        let mut sums = [0.0_f32; 16];
        for chunk in head.chunks_mut(16) {
            for (sum, v) in sums.iter_mut().zip(chunk) {
                *v = exp::<FMA>(*v - max);
                *sum += *v;
            }
        }
        let scale = 1.0 / sums.iter().sum::<f32>();
        for v in head {
            *v *= scale;
        }
        tail.fill(0.0);
    }
}

/// Whether every value is finite.
pub fn all_finite(x: &[f32]) -> bool {
    dispatch! {
        fn finite(x: &[f32]) -> bool {
            // NaN and the infinities are the values whose exponent bits are all set.
            x.iter().fold(true, |ok, v| ok & ((v.to_bits() & 0x7f80_0000) != 0x7f80_0000))
        }
    }
    x.par_chunks(CHUNK).all(finite)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.11).collect()
    }

    #[test]
    fn layer_norm_matches_plain_loops() {
        let (width, x) = (19, values(19 * 3));
        let weight: Vec<f32> = values(19).iter().map(|v| v + 1.0).collect();
        let out = layer_norm(&x, width, Some(&weight), None, 1e-5);
        for (row, out) in x.chunks(width).zip(out.chunks(width)) {
            let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / width as f64;
            let var = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / width as f64;
            for i in 0..width {
                let want = (f64::from(row[i]) - mean) / (var + 1e-5).sqrt() * f64::from(weight[i]);
                assert!((f64::from(out[i]) - want).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn gelu_matches_its_formula() {
        let x = values(301);
        let mut y = x.clone();
        gelu_tanh(&mut y);
        for (x, y) in x.iter().zip(y) {
            let x = f64::from(*x);
            let want = 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
            assert!((f64::from(y) - want).abs() < 2e-6, "{x}: {y} {want}");
        }
    }

    #[test]
    fn gates_multiply_what_they_gate() {
        let (width, x) = (19, values(19 * 2 * 3));
        let (gelu, silu) = (gelu_tanh_gated(&x, width), silu_gated(&x, width));
        for (row, x) in x.chunks(2 * width).enumerate() {
            let mut plain = x[..width].to_vec();
            gelu_tanh(&mut plain);
            for i in 0..width {
                let (gate, up) = (x[i], x[width + i]);
                assert!((gelu[row * width + i] - plain[i] * up).abs() < 1e-5);
                assert!((silu[row * width + i] - gate / (1.0 + (-gate).exp()) * up).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn softmax_of_a_prefix() {
        let mut row = values(40);
        let want: Vec<f64> = row[..23].iter().map(|v| f64::from(*v).exp()).collect();
        softmax_prefix(&mut row, 23);
        let total: f64 = want.iter().sum();
        for i in 0..23 {
            assert!((f64::from(row[i]) - want[i] / total).abs() < 1e-6);
        }
        assert!(row[23..].iter().all(|v| *v == 0.0));
    }

    #[test]
    fn finite_sees_nan_and_infinity() {
        let mut x = values(100);
        assert!(all_finite(&x));
        x[57] = f32::NAN;
        assert!(!all_finite(&x));
        x[57] = f32::INFINITY;
        assert!(!all_finite(&x));
    }
}
