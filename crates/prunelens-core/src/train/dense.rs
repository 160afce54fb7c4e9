//! Loss and gradients of a ReLU SAE where many latents fire: matrix products throughout.

use prunelens_kernels::{matmul::View, simd::dispatch};
use rayon::prelude::*;

use super::{
    figures::Sums,
    gradients::{ByLatent, Gradients, Loss, Matrices, encoder_path},
    linalg::{dot, product},
    weights::Weights,
};

/// Latents held at a time, in numbers; two matrices of this size.
const BLOCK: usize = 1 << 23;

/// Loss and gradients of a batch `x` (rows of `d_in`); no auxiliary loss.
pub fn gradients(weights: &Weights, x: &[f32], loss: &Loss) -> (Sums, Gradients) {
    let Weights { d_in, d_sae, .. } = *weights;
    let batch = x.len() / d_in;
    let mut matrices = Matrices { encoder: vec![0.0; d_sae * d_in], decoder: vec![0.0; d_sae * d_in], d_in };
    let (mut sums, mut by_output) = (Sums::new(d_in), vec![0.0; x.len()]);
    let (mut b_enc, mut fired) = (vec![0.0; d_sae], vec![false; d_sae]);

    let block = (BLOCK / d_sae).clamp(1, batch.max(1));
    let mut latents = vec![0.0; block * d_sae];
    let mut by_latent = vec![0.0; block * d_sae];
    for first in (0..batch).step_by(block) {
        let n = block.min(batch - first);
        let x = &x[first * d_in..(first + n) * d_in];
        let by_output = &mut by_output[first * d_in..(first + n) * d_in];
        let (latents, by_latent) = (&mut latents[..n * d_sae], &mut by_latent[..n * d_sae]);
        let encoder = View::contiguous(&weights.w_enc, d_sae, d_in);
        let decoder = View::contiguous(&weights.w_dec, d_sae, d_in);

        let mut centred = x.to_vec();
        centred.chunks_exact_mut(d_in).for_each(|row| row.iter_mut().zip(&weights.b_dec).for_each(|(x, b)| *x -= b));
        product(latents, d_sae, View::contiguous(&centred, n, d_in), encoder.t(), false);
        latents.par_chunks_mut(d_sae).for_each(|row| {
            row.iter_mut().zip(&weights.b_enc).for_each(|(f, b)| *f = (*f + b).max(0.0));
        });
        product(by_output, d_in, View::contiguous(latents, n, d_sae), decoder, false);
        errors(x, &weights.b_dec, by_output, &mut sums);
        by_output.iter_mut().for_each(|e| *e *= 2.0 / batch as f32);
        product(by_latent, d_sae, View::contiguous(by_output, n, d_in), decoder.t(), false);
        let penalty = loss.l1 / batch as f32;
        by_latent.par_chunks_mut(d_sae).zip(latents.par_chunks(d_sae)).for_each(|(by, f)| {
            by.iter_mut().zip(f).for_each(|(by, f)| *by = if *f > 0.0 { *by + penalty } else { 0.0 });
        });
        for (f, by) in latents.chunks_exact(d_sae).zip(by_latent.chunks_exact(d_sae)) {
            let (mut active, mut l1) = (0u32, 0.0f32);
            for (((f, by), fired), b_enc) in f.iter().zip(by).zip(&mut fired).zip(&mut b_enc) {
                active += u32::from(*f > 0.0);
                l1 += f;
                *fired |= *f > 0.0;
                *b_enc += by;
            }
            sums.tokens += 1.0;
            sums.active += f64::from(active);
            sums.l1 += f64::from(l1);
        }
        product(
            &mut matrices.decoder,
            d_in,
            View::contiguous(latents, n, d_sae).t(),
            View::contiguous(by_output, n, d_in),
            true,
        );
        product(
            &mut matrices.encoder,
            d_in,
            View::contiguous(by_latent, n, d_sae).t(),
            View::contiguous(&centred, n, d_in),
            true,
        );
    }
    let b_dec = encoder_path(&by_output, &b_enc, weights);
    (sums, Gradients { b_enc, b_dec, fired, latents: ByLatent::Dense(matrices) })
}

dispatch! {
    /// From `f W_dec` to errors `x̂ - x`, in place.
    fn errors(x: &[f32], b_dec: &[f32], out: &mut [f32], sums: &mut Sums) {
        for (out, x) in out.chunks_exact_mut(b_dec.len()).zip(x.chunks_exact(b_dec.len())) {
            out.iter_mut().zip(x).zip(b_dec).for_each(|((o, x), b)| *o += b - x);
            sums.squared_error += f64::from(dot::<FMA>(out, out));
            sums.squared_input += f64::from(dot::<FMA>(x, x));
            sums.input.iter_mut().zip(x).for_each(|(sum, x)| *sum += f64::from(*x));
        }
    }
}
