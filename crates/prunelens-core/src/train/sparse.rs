//! Loss and gradients where few latents fire: past the encoder's matrix product, all work is on lists of them.

use prunelens_kernels::{
    select::{Auxiliary, Choice},
    simd::dispatch,
};
use rayon::prelude::*;

use super::{
    choose::{self, Chosen, PART, choose},
    figures::Sums,
    gradients::{ByLatent, Entries, Entry, Gradients, Outcome, Task, encoder_path},
    linalg::{axpy, dot, made, sized},
};

/// What one part's tokens gave.
#[derive(Default)]
struct Part {
    sums: Sums,
    /// By the pre-activations of the chosen latents, and of the dead ones.
    by_main: Vec<f32>,
    by_dead: Vec<f32>,
    /// Of a token at a time.
    input: Vec<f32>,
    error: Vec<f32>,
}

/// Memory of a step, kept for the next one.
#[derive(Default)]
pub struct Room {
    choose: choose::Room,
    centred: Vec<f32>,
    by_output: Vec<f32>,
    parts: Vec<Part>,
    starts: Vec<usize>,
    next: Vec<usize>,
    entries: Vec<Entry>,
}

/// The losses of a batch.
struct Losses<'a> {
    task: &'a Task<'a>,
    /// Ends of the sets of latents that reconstruct alone, with all before them; the last has all latents.
    widths: &'a [usize],
    l1: f32,
    auxiliary: f32,
    /// Inverse lengths of the decoder's rows: latents were chosen, and come, times the lengths.
    shrink: Vec<f32>,
}

/// Loss and gradients of a batch. The first latents up to each of `widths` reconstruct alone as well; the last width is all.
pub fn gradients<'a>(
    task: &Task,
    choice: Choice,
    widths: &[usize],
    l1: f32,
    auxiliary: Auxiliary,
    room: &'a mut Room,
) -> Outcome<'a> {
    let (d_in, batch) = (task.weights.d_in, task.tokens());
    let with_dead = !task.dead.is_empty() && auxiliary.weight > 0.0 && auxiliary.k > 0;
    let dead_k = if with_dead { auxiliary.k.min(task.dead.len()) } else { 0 };
    let share = if with_dead { dead_k as f32 / auxiliary.k as f32 } else { 0.0 };
    let losses = Losses {
        task,
        widths,
        l1,
        auxiliary: auxiliary.weight * share,
        shrink: task.lengths.iter().map(|length| if *length > 0.0 { 1.0 / length } else { 0.0 }).collect(),
    };
    let Room { choose: room, centred, by_output, parts, starts, next, entries } = room;
    let centred = task.centred(centred);
    let chosen = choose(task, centred, choice, dead_k, room);

    let planes = widths.len() + usize::from(with_dead);
    // Every part of it is written before it is read.
    let by_output = sized(by_output, planes * task.x.len());
    let mut rows: Vec<Vec<&mut [f32]>> = (0..chosen.len()).map(|_| Vec::with_capacity(planes)).collect();
    if !task.x.is_empty() {
        for plane in by_output.chunks_mut(task.x.len()) {
            plane.chunks_mut(PART * d_in).zip(&mut rows).for_each(|(plane, rows)| rows.push(plane));
        }
    }
    let parts = made(parts, chosen.len());
    let work = chosen.par_iter().zip(task.x.par_chunks(PART * d_in)).zip(&mut rows).zip(&mut *parts);
    work.for_each(|(((chosen, x), by_output), into)| part(&losses, chosen, x, by_output, into));

    let mut sums = Sums::new(d_in);
    parts.iter().for_each(|part| sums.add(&part.sums));
    by_latent(&losses, chosen, parts, starts, next, entries);
    let of_latent = |sum: fn(&Entry) -> f32| -> Vec<f32> {
        starts.windows(2).map(|at| entries[at[0]..at[1]].iter().map(sum).sum()).collect()
    };
    let b_enc = of_latent(|entry| entry.gradient);
    let by_length = match l1 > 0.0 {
        true => of_latent(|entry| entry.value).into_iter().map(|sum| sum * l1 / batch as f32).collect(),
        false => vec![0.0; b_enc.len()],
    };
    let mut fired = vec![false; b_enc.len()];
    chosen.iter().flat_map(|part| &part.main.latents).for_each(|(latent, _)| fired[*latent as usize] = true);
    let least = chosen.iter().flat_map(|part| &part.main.latents).map(|(_, value)| *value).reduce(f32::min);
    let (starts, entries, by_output) = (&starts[..], &entries[..], &*by_output);
    let b_dec = encoder_path(&by_output[..task.x.len()], &b_enc, task.weights);
    let latents = ByLatent::Sparse(Entries { starts, entries, by_output, centred, d_in });
    let gradients = Gradients { b_enc, b_dec, vectors: Vec::new(), by_length, fired, latents };
    Outcome { sums, gradients, least }
}

dispatch! {
    fn part(losses: &Losses<'_>, chosen: &Chosen, x: &[f32], by_output: &mut [&mut [f32]], into: &mut Part) {
        losses.part::<FMA>(chosen, x, by_output, into)
    }
}

impl Losses<'_> {
    /// Reconstruct some tokens, and go back to the pre-activations. Of `by_output`, plane p gets the gradients by the
    /// reconstructions that latents from the p-th set have a part in, the last one those of the dead latents.
    #[inline(always)]
    fn part<const FMA: bool>(&self, chosen: &Chosen, x: &[f32], by_output: &mut [&mut [f32]], part: &mut Part) {
        let (d_in, batch) = (self.task.weights.d_in, self.task.tokens() as f32);
        part.sums.clear(d_in);
        part.by_main.clear();
        part.by_dead.clear();
        let (planes, dead) = by_output.split_at_mut(self.widths.len());
        let scale = 2.0 / batch;
        let (input, error) = (&mut part.input, &mut part.error);
        input.clear();
        input.resize(d_in, 0.0);
        error.resize(d_in, 0.0);
        for (token, x) in x.chunks_exact(d_in).enumerate() {
            let at = token * d_in..(token + 1) * d_in;
            let active = &chosen.main.latents[chosen.main.row(token)];
            for ((e, x), b) in error.iter_mut().zip(x).zip(&self.task.weights.b_dec) {
                *e = b - x;
            }
            let mut rest = active;
            for (plane, width) in planes.iter_mut().zip(self.widths) {
                let (set, after) = rest.split_at(count_below(rest, *width));
                self.decode::<FMA>(set, error);
                plane[at.clone()].copy_from_slice(error);
                part.sums.inner += f64::from(dot::<FMA>(error, error));
                rest = after;
            }
            let squared_error = f64::from(dot::<FMA>(error, error));
            part.sums.inner -= squared_error;
            part.sums.squared_error += squared_error;
            part.sums.squared_input += f64::from(dot::<FMA>(x, x));
            part.sums.tokens += 1.0;
            part.sums.active += active.len() as f64;
            if self.l1 > 0.0 {
                for &(latent, value) in active {
                    part.sums.penalty +=
                        f64::from(self.l1 * value * self.task.lengths[latent as usize] * self.shrink_of(latent));
                }
            }
            for (sum, x) in input.iter_mut().zip(x) {
                *sum += x;
            }
            if let Some(plane) = dead.first_mut() {
                let active = &chosen.dead.latents[chosen.dead.row(token)];
                // e = x - x̂ is `-error`; the auxiliary error is ê - e.
                let auxiliary = &mut plane[at.clone()];
                auxiliary.copy_from_slice(error);
                self.decode::<FMA>(active, auxiliary);
                part.sums.auxiliary += f64::from(self.auxiliary) * f64::from(dot::<FMA>(auxiliary, auxiliary));
                for e in auxiliary.iter_mut() {
                    *e *= scale * self.auxiliary;
                }
                self.back::<FMA>(active, auxiliary, 0.0, &mut part.by_dead);
            }
            for p in (0..planes.len()).rev() {
                let (before, later) = planes.split_at_mut(p + 1);
                let plane = &mut before[p][at.clone()];
                for e in plane.iter_mut() {
                    *e *= scale;
                }
                if let Some(later) = later.first() {
                    for (e, later) in plane.iter_mut().zip(&later[at.clone()]) {
                        *e += later;
                    }
                }
            }
            let mut rest = active;
            for (plane, width) in planes.iter().zip(self.widths) {
                let (set, after) = rest.split_at(count_below(rest, *width));
                self.back::<FMA>(set, &plane[at.clone()], self.l1 / batch, &mut part.by_main);
                rest = after;
            }
        }
        part.sums.input.iter_mut().zip(input).for_each(|(sum, x)| *sum = f64::from(*x));
    }

    #[inline(always)]
    fn shrink_of(&self, latent: u32) -> f32 {
        self.shrink[latent as usize]
    }

    #[inline(always)]
    fn decode<const FMA: bool>(&self, active: &[(u32, f32)], out: &mut [f32]) {
        let d_in = self.task.weights.d_in;
        for &(latent, value) in active {
            let row = &self.task.weights.w_dec[latent as usize * d_in..][..d_in];
            axpy::<FMA>(out, value * self.shrink_of(latent), row);
        }
    }

    /// Gradients by the active latents' pre-activations, given those by the output.
    #[inline(always)]
    fn back<const FMA: bool>(&self, active: &[(u32, f32)], by_output: &[f32], l1: f32, gradients: &mut Vec<f32>) {
        let d_in = self.task.weights.d_in;
        // A plain loop: closures handed to iterators may be compiled apart, for the baseline CPU.
        for &(latent, _) in active {
            let row = &self.task.weights.w_dec[latent as usize * d_in..][..d_in];
            gradients.push(dot::<FMA>(by_output, row) + l1 * self.task.lengths[latent as usize]);
        }
    }
}

/// How many of `active`, which ascend, are below `width`.
#[inline(always)]
fn count_below(active: &[(u32, f32)], width: usize) -> usize {
    active.partition_point(|(latent, _)| (*latent as usize) < width)
}

/// Sort all active latents by latent, tokens in order within each.
fn by_latent(
    losses: &Losses,
    chosen: &[Chosen],
    parts: &[Part],
    starts: &mut Vec<usize>,
    next: &mut Vec<usize>,
    entries: &mut Vec<Entry>,
) {
    let (d_sae, batch) = (losses.task.weights.d_sae, losses.task.tokens());
    starts.clear();
    starts.resize(d_sae + 1, 0);
    for active in chosen.iter().flat_map(|part| [&part.main, &part.dead]) {
        active.latents.iter().for_each(|(latent, _)| starts[*latent as usize + 1] += 1);
    }
    for latent in 0..d_sae {
        starts[latent + 1] += starts[latent];
    }
    entries.resize(starts[d_sae], Entry::default());
    next.clone_from(starts);
    let main = chosen.iter().zip(parts).map(|(chosen, part)| (&chosen.main, &part.by_main));
    let dead = chosen.iter().zip(parts).map(|(chosen, part)| (&chosen.dead, &part.by_dead));
    let all = main.map(|of| (of, false)).enumerate().chain(dead.map(|of| (of, true)).enumerate());
    for (part, ((active, gradients), dead)) in all {
        for token in 0..active.ends.len() {
            let range = active.row(token);
            for (&(latent, value), &gradient) in active.latents[range.clone()].iter().zip(&gradients[range]) {
                let plane = match dead {
                    true => losses.widths.len(),
                    false => losses.widths.partition_point(|width| *width <= latent as usize),
                };
                let row = plane * batch + part * PART + token;
                let at = &mut next[latent as usize];
                entries[*at] = Entry { row: row as u32, value: value * losses.shrink_of(latent), gradient };
                *at += 1;
            }
        }
    }
}
