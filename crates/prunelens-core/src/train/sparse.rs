//! Loss and gradients where few latents fire: past the encoder's matrix product, all work is on active latents only.

use prunelens_kernels::{matmul::View, simd::dispatch};
use rayon::prelude::*;

use super::{
    figures::Sums,
    gradients::{ByLatent, Entries, Entry, Gradients, Loss, encoder_path},
    linalg::{axpy, dot, product},
    select::{Scratch, top_k},
    weights::Weights,
};

/// Which latents of a token fire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Selection {
    /// Of the positive ones the k largest.
    TopK(usize),
    Positive,
}

/// Tokens that one thread takes at a time. Sums are formed per part and then in order, so that results do not depend on
/// which thread did what.
const PART: usize = 32;

/// Pre-activations computed at a time, in numbers: enough for fast products, small enough to stay in the cache.
const BLOCK: usize = 1 << 21;

/// What one part's tokens gave: active latents row by row with their gradients.
struct Part {
    sums: Sums,
    main: Active,
    auxiliary: Active,
}

/// Active latents of some tokens, row-compressed.
#[derive(Default)]
struct Active {
    ends: Vec<usize>,
    latents: Vec<(u32, f32)>,
    gradients: Vec<f32>,
}

impl Active {
    fn row(&self, row: usize) -> (std::ops::Range<usize>, &[(u32, f32)]) {
        let range = if row == 0 { 0 } else { self.ends[row - 1] }..self.ends[row];
        (range.clone(), &self.latents[range])
    }
}

/// Loss and gradients of a batch `x` (rows of `d_in`). `dead` lists latents that may take part in the auxiliary loss.
pub fn gradients(weights: &Weights, x: &[f32], selection: Selection, loss: &Loss, dead: &[u32]) -> (Sums, Gradients) {
    let Weights { d_in, d_sae, .. } = *weights;
    let batch = x.len() / d_in;
    let dead = if loss.auxiliary > 0.0 && loss.auxiliary_k > 0 { dead } else { &[] };
    let task = Task { weights, selection, loss, dead, batch };

    let mut centred = x.to_vec();
    centred.par_chunks_mut(d_in).for_each(|row| row.iter_mut().zip(&weights.b_dec).for_each(|(x, b)| *x -= b));
    let mut by_output = vec![0.0; x.len() * if dead.is_empty() { 1 } else { 2 }];
    let (by_main, by_auxiliary) = by_output.split_at_mut(x.len());

    let block = (BLOCK / d_sae / PART * PART).clamp(PART, batch.max(PART));
    let mut pre = vec![0.0; block.min(batch) * d_sae];
    let mut parts = Vec::with_capacity(batch.div_ceil(PART));
    for first in (0..batch).step_by(block) {
        let rows = block.min(batch - first);
        let range = first * d_in..(first + rows) * d_in;
        let pre = &mut pre[..rows * d_sae];
        let encoder = View::contiguous(&weights.w_enc, d_sae, d_in).t();
        product(pre, d_sae, View::contiguous(&centred[range.clone()], rows, d_in), encoder, false);
        let auxiliary = if dead.is_empty() { &mut [][..] } else { &mut by_auxiliary[range.clone()] };
        // Without an auxiliary loss there is nothing to write: each part gets an empty slice.
        let mut auxiliary: Vec<&mut [f32]> = auxiliary.chunks_mut(PART * d_in).collect();
        auxiliary.resize_with(rows.div_ceil(PART), Default::default);
        parts.par_extend(
            pre.par_chunks_mut(PART * d_sae)
                .zip(x[range.clone()].par_chunks(PART * d_in))
                .zip(by_main[range].par_chunks_mut(PART * d_in))
                .zip(auxiliary)
                .map(|(((pre, x), main), auxiliary)| part(&task, pre, x, main, auxiliary)),
        );
    }

    let mut sums = Sums::new(d_in);
    parts.iter().for_each(|part| sums.add(&part.sums));
    let (starts, entries) = by_latent(&parts, d_sae, batch);
    let b_enc: Vec<f32> =
        starts.windows(2).map(|at| entries[at[0]..at[1]].iter().map(|entry| entry.gradient).sum()).collect();
    let mut fired = vec![false; d_sae];
    parts.iter().flat_map(|part| &part.main.latents).for_each(|(latent, _)| fired[*latent as usize] = true);
    let b_dec = encoder_path(&by_output[..x.len()], &b_enc, weights);
    let latents = ByLatent::Sparse(Entries { starts, entries, by_output, centred, d_in });
    (sums, Gradients { b_enc, b_dec, fired, latents })
}

struct Task<'a> {
    weights: &'a Weights,
    selection: Selection,
    loss: &'a Loss,
    dead: &'a [u32],
    batch: usize,
}

dispatch! {
    fn part(task: &Task<'_>, pre: &mut [f32], x: &[f32], by_main: &mut [f32], by_auxiliary: &mut [f32]) -> Part {
        task.part::<FMA>(pre, x, by_main, by_auxiliary)
    }
}

impl Task<'_> {
    /// Choose the latents of some tokens, reconstruct, and go back to the pre-activations.
    #[inline(always)]
    fn part<const FMA: bool>(&self, pre: &mut [f32], x: &[f32], by_main: &mut [f32], by_auxiliary: &mut [f32]) -> Part {
        let Weights { d_in, d_sae, .. } = *self.weights;
        let mut part = Part { sums: Sums::new(d_in), main: Active::default(), auxiliary: Active::default() };
        let mut scratch = Scratch::default();
        let mut dead_pre = vec![0.0; self.dead.len()];
        let mut chosen = Vec::new();
        let scale = 2.0 / self.batch as f32;
        let mut input = vec![0.0f32; d_in];
        let tokens = pre.chunks_exact_mut(d_sae).zip(x.chunks_exact(d_in)).zip(by_main.chunks_exact_mut(d_in));
        for (token, ((pre, x), error)) in tokens.enumerate() {
            pre.iter_mut().zip(&self.weights.b_enc).for_each(|(p, b)| *p += b);
            let Active { ends, latents, gradients } = &mut part.main;
            match self.selection {
                Selection::TopK(k) => top_k(pre, k, &mut scratch, latents),
                Selection::Positive => positive(pre, latents),
            }
            let active = &latents[ends.last().copied().unwrap_or(0)..];
            ends.push(latents.len());

            error.iter_mut().zip(x).zip(&self.weights.b_dec).for_each(|((e, x), b)| *e = b - x);
            self.decode::<FMA>(active, error);
            part.sums.tokens += 1.0;
            part.sums.active += active.len() as f64;
            part.sums.squared_error += f64::from(dot::<FMA>(error, error));
            part.sums.squared_input += f64::from(dot::<FMA>(x, x));
            part.sums.l1 += active.iter().map(|(_, value)| f64::from(*value)).sum::<f64>();
            input.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);

            if !self.dead.is_empty() {
                dead_pre.iter_mut().zip(self.dead).for_each(|(value, latent)| *value = pre[*latent as usize]);
                chosen.clear();
                top_k(&dead_pre, self.loss.auxiliary_k, &mut scratch, &mut chosen);
                let Active { ends, latents, gradients } = &mut part.auxiliary;
                latents.extend(chosen.iter().map(|(at, value)| (self.dead[*at as usize], *value)));
                let active = &latents[ends.last().copied().unwrap_or(0)..];
                ends.push(latents.len());
                // e = x - x̂ is `-error`; the auxiliary error is ê - e.
                let auxiliary = &mut by_auxiliary[token * d_in..][..d_in];
                auxiliary.copy_from_slice(error);
                self.decode::<FMA>(active, auxiliary);
                part.sums.auxiliary += f64::from(dot::<FMA>(auxiliary, auxiliary));
                auxiliary.iter_mut().for_each(|e| *e *= scale * self.loss.auxiliary);
                self.back::<FMA>(active, auxiliary, 0.0, gradients);
            }
            error.iter_mut().for_each(|e| *e *= scale);
            self.back::<FMA>(active, error, self.loss.l1 / self.batch as f32, gradients);
        }
        part.sums.input.iter_mut().zip(&input).for_each(|(sum, x)| *sum = f64::from(*x));
        part
    }

    #[inline(always)]
    fn decode<const FMA: bool>(&self, active: &[(u32, f32)], out: &mut [f32]) {
        let d_in = self.weights.d_in;
        for &(latent, value) in active {
            axpy::<FMA>(out, value, &self.weights.w_dec[latent as usize * d_in..][..d_in]);
        }
    }

    /// Gradients by the active latents, given those by the output.
    #[inline(always)]
    fn back<const FMA: bool>(&self, active: &[(u32, f32)], by_output: &[f32], l1: f32, gradients: &mut Vec<f32>) {
        let d_in = self.weights.d_in;
        // A plain loop: closures handed to iterators may be compiled apart, for the baseline CPU.
        for &(latent, _) in active {
            let row = &self.weights.w_dec[latent as usize * d_in..][..d_in];
            gradients.push(dot::<FMA>(by_output, row) + l1);
        }
    }
}

#[inline(always)]
fn positive(pre: &[f32], out: &mut Vec<(u32, f32)>) {
    for (latent, value) in pre.iter().enumerate() {
        if *value > 0.0 {
            out.push((latent as u32, *value));
        }
    }
}

/// Sort all active latents by latent, tokens in order within each.
fn by_latent(parts: &[Part], d_sae: usize, batch: usize) -> (Vec<usize>, Vec<Entry>) {
    let all = || parts.iter().map(|p| (0, &p.main)).chain(parts.iter().map(|p| (batch, &p.auxiliary)));
    let mut starts = vec![0; d_sae + 1];
    for (_, active) in all() {
        active.latents.iter().for_each(|(latent, _)| starts[*latent as usize + 1] += 1);
    }
    for latent in 0..d_sae {
        starts[latent + 1] += starts[latent];
    }
    let mut entries = vec![Entry::default(); starts[d_sae]];
    let mut next = starts.clone();
    for (part, (base, active)) in (0..parts.len()).cycle().zip(all()) {
        for token in 0..active.ends.len() {
            let (range, latents) = active.row(token);
            for (&(latent, value), &gradient) in latents.iter().zip(&active.gradients[range]) {
                let at = &mut next[latent as usize];
                entries[*at] = Entry { row: (base + part * PART + token) as u32, value, gradient };
                *at += 1;
            }
        }
    }
    (starts, entries)
}
