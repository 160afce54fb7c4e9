//! The encoder with what is left of its weights (see [`super::kept`]): activation x W, with the activation function applied before anything is stored.
//!
//! One pass reads each weight, and its rank where it has one, once: what is left of a few latents goes into a panel that stays in the first-level
//! cache, multiplied with tiles of tokens that stay in the second, and only what fires is kept.

use rayon::prelude::*;

use super::{
    Latents,
    kept::{Kept, Ranking, keep},
    panel::{PANEL, TILE, multiply, tiles},
    select::{Candidate, TopK},
    simd::{dispatch, madd},
};

/// Tokens worked on at a time: their tiles fit the second-level cache at any width in use.
pub(super) const BLOCK: usize = 256;
/// Latents one task works on.
pub(super) const SHARE: usize = 40 * PANEL;

/// Which pre-activations fire.
#[derive(Clone, Copy, Debug)]
pub enum Gate<'a> {
    /// Those above zero.
    Positive,
    /// Those above the latent's threshold and above zero.
    Above(&'a [f32]),
    /// The `k` largest of a token above zero.
    Largest(usize),
}

/// An encoder at one ratio.
#[derive(Clone, Copy)]
pub struct Encoder<'a> {
    /// `[d_sae, d_in]`.
    pub weight: &'a [f32],
    /// One number a latent.
    pub bias: &'a [f32],
    /// Factor on each pre-activation, bias included.
    pub scale: Option<&'a [f32]>,
    /// What is left of the weights.
    pub kept: Kept<'a>,
    /// Which pre-activations become latents.
    pub gate: Gate<'a>,
}

dispatch! {
    /// Finish a row of products in place; true if any value exceeds its floor.
    fn finish(products: &mut [f32; TILE], bias: f32, scale: f32, floors: &[f32; TILE]) -> bool {
        let mut any = false;
        for (v, floor) in products.iter_mut().zip(floors) {
            *v = (*v + bias) * scale;
            any |= *v > *floor;
        }
        any
    }
}

/// What one task found for one token.
pub(super) enum Found {
    All(Vec<Candidate>),
    Largest(TopK),
}

impl Encoder<'_> {
    fn d_sae(&self) -> usize {
        self.bias.len()
    }

    /// Latents of tokens `x [n, d_in]`.
    pub fn encode(&self, x: &[f32]) -> Latents {
        let d_sae = self.d_sae();
        let mut latents = Latents::new(d_sae);
        if x.is_empty() {
            return latents;
        }
        let d = self.weight.len() / d_sae;
        for x in x.chunks(BLOCK * d) {
            let n = x.len() / d;
            let tiles = tiles(x, d);
            let shares: Vec<Vec<Found>> = (0..d_sae.div_ceil(SHARE))
                .into_par_iter()
                .map(|share| self.share(share * SHARE, &tiles, n, d))
                .collect();
            let mut by_token: Vec<Vec<Found>> = (0..n).map(|_| Vec::with_capacity(shares.len())).collect();
            for share in shares {
                for (token, found) in by_token.iter_mut().zip(share) {
                    token.push(found);
                }
            }
            for token in by_token {
                latents.push_row(self.join(token));
            }
        }
        latents
    }

    /// What all tasks found for one token.
    pub(super) fn join(&self, found: Vec<Found>) -> Vec<Candidate> {
        if let Gate::Largest(k) = self.gate {
            let collectors = found.into_iter().filter_map(|f| match f {
                Found::Largest(top) => Some(top),
                Found::All(_) => None,
            });
            let mut best = TopK::merge(collectors, k);
            best.sort_unstable_by_key(|c| c.0);
            return best;
        }
        found
            .into_iter()
            .flat_map(|f| match f {
                Found::All(all) => all,
                Found::Largest(_) => Vec::new(),
            })
            .collect()
    }

    /// Latents `first..first + SHARE` on all tokens.
    fn share(&self, first: usize, tiles: &[f32], n: usize, d: usize) -> Vec<Found> {
        let end = (first + SHARE).min(self.d_sae());
        let mut found = self.nothing(n);
        let mut panel = vec![0.0; PANEL * d];
        let mut products = [[0.0; TILE]; PANEL];
        for start in (first..end).step_by(PANEL) {
            let rows = PANEL.min(end - start);
            keep(self.weight, self.kept, start * d..(start + rows) * d, &mut panel[..rows * d]);
            for (tile, x) in tiles.chunks(d * TILE).enumerate() {
                multiply(&panel, x, d, &mut products);
                let found = &mut found[tile * TILE..((tile + 1) * TILE).min(n)];
                for (latent, products) in (start..start + rows).zip(&mut products) {
                    if self.kept.drops(latent) {
                        continue;
                    }
                    self.collect(latent, self.scale.map_or(1.0, |s| s[latent]), products, found);
                }
            }
        }
        found
    }

    /// Nothing found yet, for `n` tokens.
    pub(super) fn nothing(&self, n: usize) -> Vec<Found> {
        let nothing = |_| match self.gate {
            Gate::Largest(k) => Found::Largest(TopK::new(k)),
            _ => Found::All(Vec::new()),
        };
        (0..n).map(nothing).collect()
    }

    /// Keep what fires of a latent's products with a tile of tokens.
    #[inline]
    pub(super) fn collect(&self, latent: usize, scale: f32, products: &mut [f32; TILE], found: &mut [Found]) {
        let floor = match self.gate {
            Gate::Above(thresholds) => thresholds[latent].max(0.0),
            _ => 0.0,
        };
        if !finish(products, self.bias[latent], scale, &[floor; TILE]) {
            return;
        }
        for (found, value) in found.iter_mut().zip(products.iter()) {
            if *value > floor {
                match found {
                    Found::All(all) => all.push((latent as u32, *value)),
                    Found::Largest(top) => top.push((latent as u32, *value)),
                }
            }
        }
    }
}

/// Most settings of [`Encoder::grid`]: for shares 0, 0.01 ... 0.99.
pub const STEPS: usize = 100;

/// What the encoder gives at every ratio of the grid.
#[derive(Default)]
pub struct Grid {
    /// Per token and latent asked for (in the order of the CSR that was given): the pre-activation at each ratio.
    pub paths: Vec<[f32; STEPS]>,
    /// Per token: the last candidate among the `k` largest at each ratio, if `k` were found. Empty where the gate is another.
    pub last: Vec<[Option<Candidate>; STEPS]>,
}

dispatch! {
    /// Add each term of one latent to the sum of the last step that keeps it.
    fn scatter(weight: &[f32], steps: &[u8], tile: &[f32], sums: &mut [[f32; TILE]; STEPS]) {
        for (i, w) in weight.iter().enumerate() {
            let sums = &mut sums[steps[i] as usize];
            for (sum, x) in sums.iter_mut().zip(&tile[i * TILE..(i + 1) * TILE]) {
                *sum = madd::<FMA>(*w, *x, *sum);
            }
        }
    }
}

dispatch! {
    /// Turn the terms of each step into what is left from that step on, then finish as at one ratio.
    fn accumulate(sums: &mut [[f32; TILE]; STEPS], bias: f32, scales: &[f32; STEPS]) {
        let mut total = [0.0_f32; TILE];
        for (sums, scale) in sums.iter_mut().zip(scales).rev() {
            for t in 0..TILE {
                total[t] += sums[t];
                sums[t] = (total[t] + bias) * *scale;
            }
        }
    }
}

impl Encoder<'_> {
    /// Pre-activations of the given (token, latent) pairs at all ratios, in one pass over weights and ranks. `cuts` are the
    /// cuts of the steps; `scales`, where the pre-activations are rescaled, are `[STEPS][d_sae]`.
    pub fn grid(
        &self,
        x: &[f32],
        wanted: &Latents,
        ranking: Ranking,
        cuts: &[u32; STEPS],
        scales: Option<&[f32]>,
    ) -> Grid {
        let d_sae = self.d_sae();
        let d = self.weight.len() / d_sae;
        let mut grid = Grid { paths: vec![[0.0; STEPS]; wanted.indices.len()], last: Vec::new() };
        // The last step that keeps a weight, by its rank; ranks beyond the last cut are kept by all.
        let steps_of: Vec<u8> =
            (0..=cuts[STEPS - 1]).map(|rank| cuts.partition_point(|cut| *cut <= rank) as u8 - 1).collect();
        for (block, x) in x.chunks(TILE * d).enumerate() {
            let n = x.len() / d;
            let tile = tiles(x, d);
            // Which (pair, token of the tile) each latent is wanted for.
            let mut pairs: Vec<(u32, usize, usize)> = Vec::new();
            for t in 0..n {
                let row = block * TILE + t;
                for at in wanted.offsets[row]..wanted.offsets[row + 1] {
                    pairs.push((wanted.indices[at], at, t));
                }
            }
            pairs.sort_unstable();
            let shares: Vec<_> = (0..d_sae.div_ceil(SHARE))
                .into_par_iter()
                .map(|share| {
                    let latents = share * SHARE..((share + 1) * SHARE).min(d_sae);
                    self.grid_share(latents, &tile, n, d, &pairs, ranking, &steps_of, scales)
                })
                .collect();
            let mut tops: Vec<Vec<TopK>> = Vec::new();
            for (paths, top) in shares {
                for (at, path) in paths {
                    grid.paths[at] = path;
                }
                tops.push(top);
            }
            if let Gate::Largest(k) = self.gate {
                let mut tops: Vec<_> = tops.into_iter().map(Vec::into_iter).collect();
                for _ in 0..n {
                    let mut last = [None; STEPS];
                    for last in &mut last {
                        let best = TopK::merge(tops.iter_mut().filter_map(Iterator::next), k);
                        *last = if best.len() == k { best.last().copied() } else { None };
                    }
                    grid.last.push(last);
                }
            }
        }
        grid
    }

    #[allow(clippy::too_many_arguments)]
    fn grid_share(
        &self,
        latents: std::ops::Range<usize>,
        tile: &[f32],
        n: usize,
        d: usize,
        pairs: &[(u32, usize, usize)],
        ranking: Ranking,
        steps_of: &[u8],
        scales: Option<&[f32]>,
    ) -> (Vec<(usize, [f32; STEPS])>, Vec<TopK>) {
        let d_sae = self.d_sae();
        let mut paths = Vec::new();
        // One collector per token and step, in that order.
        let mut tops = match self.gate {
            Gate::Largest(k) => vec![TopK::new(k); n * STEPS],
            _ => Vec::new(),
        };
        let mut sums = Box::new([[0.0; TILE]; STEPS]);
        let mut steps = vec![0_u8; d];
        let top = steps_of.len() as u32 - 1;
        for latent in latents {
            let first = pairs.partition_point(|p| (p.0 as usize) < latent);
            let asked = pairs[first..].iter().take_while(|p| p.0 as usize == latent);
            if tops.is_empty() && asked.clone().next().is_none() {
                continue;
            }
            for (i, step) in steps.iter_mut().enumerate() {
                let rank = ranking.get(latent * d + i);
                *step = steps_of[rank.min(top) as usize];
            }
            sums.iter_mut().for_each(|s| s.fill(0.0));
            scatter(&self.weight[latent * d..(latent + 1) * d], &steps, tile, &mut sums);
            let mut scale = [1.0; STEPS];
            if let Some(scales) = scales {
                for (step, scale) in scale.iter_mut().enumerate() {
                    *scale = scales[step * d_sae + latent];
                }
            }
            accumulate(&mut sums, self.bias[latent], &scale);
            if matches!(ranking, Ranking::Rows(..)) {
                let gone = usize::from(steps.first().copied().unwrap_or(0)) + 1;
                sums[gone..].iter_mut().for_each(|sums| sums.fill(f32::NEG_INFINITY));
            }
            for (_, at, t) in asked {
                paths.push((*at, std::array::from_fn(|step| sums[step][*t])));
            }
            if !tops.is_empty() {
                for (step, sums) in sums.iter().enumerate() {
                    for (t, value) in sums.iter().enumerate().take(n) {
                        let top = &mut tops[t * STEPS + step];
                        if *value > top.floor() {
                            top.push((latent as u32, *value));
                        }
                    }
                }
            }
        }
        (paths, tops)
    }
}

/// Sparse decode: `out [n, d_in] = f W + bias` with only the active latents read; `scale` divides out a rescaling.
pub fn decode(latents: &Latents, weight: &[f32], kept: Kept, bias: &[f32], scale: Option<&[f32]>) -> Vec<f32> {
    let d = bias.len();
    let mut out = vec![0.0; latents.rows() * d];
    out.par_chunks_mut(d).enumerate().for_each_init(
        || vec![0.0; d],
        |left, (row, out)| {
            out.copy_from_slice(bias);
            let (indices, values) = latents.row(row);
            for (latent, value) in indices.iter().zip(values) {
                let latent = *latent as usize;
                let value = scale.map_or(*value, |s| *value / s[latent]);
                let range = latent * d..(latent + 1) * d;
                if !kept.is_all() {
                    keep(weight, kept, range, left);
                    add_scaled(left, value, out);
                } else {
                    add_scaled(&weight[range], value, out);
                }
            }
        },
    );
    out
}

dispatch! {
    fn add_scaled(x: &[f32], factor: f32, out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = madd::<FMA>(*x, factor, *out);
        }
    }
}
