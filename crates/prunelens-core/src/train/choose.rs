//! Which latents fire, as lists: what is chosen here is all that the loss and the gradients go through.

use prunelens_kernels::{matmul::View, select::Choice, simd::dispatch};
use rayon::prelude::*;

use super::{
    gradients::Task,
    linalg::{made, product, sized},
    select::{POSITIVE, Scratch, at_least, top_k},
    weights::Weights,
};

/// Tokens that one thread takes at a time. Sums are formed per part and then in order, so that results do not depend on
/// which thread did what.
pub const PART: usize = 32;

/// Pre-activations computed at a time, in numbers: enough for fast products, small enough to stay in the cache.
const BLOCK: usize = 1 << 21;

/// Latents of some tokens with their values, row-compressed.
#[derive(Default)]
pub struct Active {
    pub ends: Vec<usize>,
    pub latents: Vec<(u32, f32)>,
}

impl Active {
    pub fn row(&self, row: usize) -> std::ops::Range<usize> {
        (if row == 0 { 0 } else { self.ends[row - 1] })..self.ends[row]
    }

    fn clear(&mut self) {
        self.ends.clear();
        self.latents.clear();
    }

    /// Keep those for which `keep` says so, asked in order.
    fn retain(&mut self, keep: &mut impl FnMut(f32) -> bool) {
        let (mut kept, mut from) = (0, 0);
        for end in &mut self.ends {
            for at in from..*end {
                if keep(self.latents[at].1) {
                    self.latents[kept] = self.latents[at];
                    kept += 1;
                }
            }
            from = std::mem::replace(end, kept);
        }
        self.latents.truncate(kept);
    }
}

/// What was chosen of [`PART`] tokens.
#[derive(Default)]
pub struct Chosen {
    pub main: Active,
    /// Of the dead latents the largest, below zero or not.
    pub dead: Active,
    scratch: Scratch,
    dead_pre: Vec<f32>,
}

/// Memory of the choice, kept from step to step.
#[derive(Default)]
pub struct Room {
    pre: Vec<f32>,
    largest: Vec<f32>,
    parts: Vec<Chosen>,
}

/// Choose of each token's `pre`, times the lengths of the decoder's rows, by parts; and `dead_k` of the dead latents.
pub fn choose<'a>(task: &Task, centred: &[f32], choice: Choice, dead_k: usize, room: &'a mut Room) -> &'a [Chosen] {
    let Weights { d_in, d_sae, ref w_enc, .. } = *task.weights;
    let batch = task.tokens();
    let block = (BLOCK / d_sae / PART * PART).clamp(PART, batch.max(PART));
    let Room { pre, largest, parts } = room;
    let (pre, parts) = (sized(pre, block.min(batch) * d_sae), made(parts, batch.div_ceil(PART)));
    let mut largest = Largest::new(choice, largest);
    for first in (0..batch).step_by(block) {
        let rows = block.min(batch - first);
        let pre = &mut pre[..rows * d_sae];
        let centred = &centred[first * d_in..(first + rows) * d_in];
        let encoder = View::contiguous(w_enc, d_sae, d_in).t();
        product(pre, d_sae, View::contiguous(centred, rows, d_in), encoder, false);
        let bound = largest.bound;
        let parts = &mut parts[first / PART..(first + rows).div_ceil(PART)];
        let work = pre.par_chunks_mut(PART * d_sae).zip(&mut *parts);
        work.for_each(|(pre, chosen)| part(task, pre, choice, bound, dead_k, chosen));
        largest.take(parts);
    }
    largest.cut(parts);
    parts
}

dispatch! {
    fn part(task: &Task<'_>, pre: &mut [f32], choice: Choice, bound: f32, dead_k: usize, chosen: &mut Chosen) {
        let Chosen { main, dead, scratch, dead_pre } = chosen;
        main.clear();
        dead.clear();
        dead_pre.resize(task.dead.len(), 0.0);
        // Plain loops: closures handed to iterators may be compiled apart, for the baseline CPU.
        for pre in pre.chunks_exact_mut(task.weights.d_sae) {
            for ((pre, bias), length) in pre.iter_mut().zip(&task.weights.b_enc).zip(task.lengths) {
                *pre = (*pre + bias) * length;
            }
            match choice {
                Choice::Token(k) => top_k(pre, k, POSITIVE, scratch, &mut main.latents),
                Choice::Batch(_) => at_least(pre, bound, &mut main.latents),
                Choice::Positive => at_least(pre, POSITIVE, &mut main.latents),
            }
            main.ends.push(main.latents.len());
            if dead_k > 0 {
                for (value, latent) in dead_pre.iter_mut().zip(task.dead) {
                    *value = pre[*latent as usize];
                }
                let first = dead.latents.len();
                top_k(dead_pre, dead_k, f32::NEG_INFINITY, scratch, &mut dead.latents);
                for (at, _) in &mut dead.latents[first..] {
                    *at = task.dead[*at as usize];
                }
                dead.ends.push(dead.latents.len());
            }
        }
    }
}

/// The largest values of a batch that comes in blocks: what is not among those seen so far need not be kept.
struct Largest<'a> {
    /// How many are wanted; none where each token is for itself.
    count: Option<usize>,
    values: &'a mut Vec<f32>,
    /// The least that may still be among them.
    bound: f32,
}

impl<'a> Largest<'a> {
    fn new(choice: Choice, values: &'a mut Vec<f32>) -> Self {
        let count = if let Choice::Batch(count) = choice { Some(count) } else { None };
        values.clear();
        Self { count, values, bound: if count == Some(0) { f32::INFINITY } else { POSITIVE } }
    }

    fn take(&mut self, parts: &[Chosen]) {
        let Some(count) = self.count.filter(|count| *count > 0) else { return };
        self.values.extend(parts.iter().flat_map(|part| &part.main.latents).map(|(_, value)| *value));
        if self.values.len() > count {
            let (_, least, _) = self.values.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
            self.bound = *least;
            self.values.truncate(count);
        }
    }

    /// Leave only the largest in `parts`; of equal values at the bound the first.
    fn cut(self, parts: &mut [Chosen]) {
        if self.count.is_none() {
            return;
        }
        let mut equals = self.values.iter().filter(|value| **value == self.bound).count();
        let mut keep = |value: f32| {
            let equal = value == self.bound && equals > 0;
            equals -= usize::from(equal);
            value > self.bound || equal
        };
        parts.iter_mut().for_each(|part| part.main.retain(&mut keep));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rng::Rng, train::weights::Weights};

    #[test]
    fn the_largest_of_a_batch_are_those_of_all_its_tokens_sorted() {
        let (d_in, d_sae, tokens) = (3, 40, 150);
        let mut rng = Rng::new(4, 0);
        let x: Vec<f32> = (0..tokens * d_in).map(|_| rng.below(4) as f32 - 1.0).collect();
        let mut weights = Weights::init(d_in, d_sae, &[], &mut rng);
        // Coarse, so that there are many equals.
        weights.w_enc.iter_mut().for_each(|w| *w = (*w * 2.0).round());
        let lengths: Vec<f32> = (0..d_sae).map(|j| 1.0 + (j % 3) as f32).collect();
        let task = Task { weights: &weights, lengths: &lengths, x: &x, dead: &[] };
        let value = |t: usize, j: usize| {
            (0..d_in).map(|i| x[t * d_in + i] * weights.w_enc[j * d_in + i]).sum::<f32>() * lengths[j]
        };
        let mut all: Vec<_> = (0..tokens).flat_map(|t| (0..d_sae).map(move |j| (t, j))).collect();
        all.retain(|(t, j)| value(*t, *j) > 0.0);
        all.sort_by(|a, b| value(b.0, b.1).total_cmp(&value(a.0, a.1)));
        for count in [0, 1, 300, 777, tokens * d_sae] {
            let mut expected = all[..count.min(all.len())].to_vec();
            expected.sort_unstable();
            let (mut centred, mut room) = (Vec::new(), Room::default());
            let parts = choose(&task, task.centred(&mut centred), Choice::Batch(count), 0, &mut room);
            let mut found = Vec::new();
            for (at, part) in parts.iter().enumerate() {
                for token in 0..part.main.ends.len() {
                    let latents = &part.main.latents[part.main.row(token)];
                    found.extend(latents.iter().map(|(j, _)| (at * PART + token, *j as usize)));
                }
            }
            assert_eq!(found, expected, "{count}");
        }
    }
}
