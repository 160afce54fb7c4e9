//! The masked encoder at many ratios at once. Each weight is multiplied once: the terms of a latent are added from the highest
//! rank down, and what has been added when a cut is reached is its pre-activation there.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    Latents, Ranks,
    encode::{BLOCK, Encoder, Found, SHARE},
    panel::{TILE, tiles},
    simd::{dispatch, madd},
};

dispatch! {
    /// Add the terms of these weights, of the columns beside them, to a tile's sums. Two sums side by side keep the
    /// multipliers busy.
    fn add_terms(weights: &[f32], columns: &[u32], tile: &[f32], sums: &mut [f32; TILE]) {
        let (mut even, mut odd) = ([0.0_f32; TILE], [0.0_f32; TILE]);
        let row = |column: u32| &tile[column as usize * TILE..][..TILE];
        for (w, c) in weights.chunks_exact(2).zip(columns.chunks_exact(2)) {
            let (a, b) = (row(c[0]), row(c[1]));
            for t in 0..TILE {
                even[t] = madd::<FMA>(w[0], a[t], even[t]);
                odd[t] = madd::<FMA>(w[1], b[t], odd[t]);
            }
        }
        if let ([.., w], [.., c]) = (weights, columns) && weights.len() % 2 == 1 {
            let a = row(*c);
            for t in 0..TILE {
                even[t] = madd::<FMA>(*w, a[t], even[t]);
            }
        }
        for t in 0..TILE {
            sums[t] += even[t] + odd[t];
        }
    }
}

/// One latent's weights that any cut keeps, those that most cuts keep first.
#[derive(Default)]
struct Sorted {
    weights: Vec<f32>,
    columns: Vec<u32>,
    /// Where the weights end that each cut keeps.
    ends: Vec<usize>,
}

impl Sorted {
    fn sort(&mut self, weights: &[f32], ranks: impl Fn(usize) -> u32, kept_by: &[u16]) {
        let most = kept_by.last().copied().map_or(0, usize::from);
        let by = |column: usize| usize::from(kept_by[(ranks(column) as usize).min(kept_by.len() - 1)]);
        // How many weights exactly so many cuts keep; then where those begin.
        let mut starts = vec![0; most + 1];
        (0..weights.len()).for_each(|column| starts[by(column)] += 1);
        let mut total = 0;
        for start in starts.iter_mut().skip(1).rev() {
            (*start, total) = (total, total + *start);
        }
        self.weights.resize(total, 0.0);
        self.columns.resize(total, 0);
        for (column, weight) in weights.iter().enumerate() {
            let by = by(column);
            if by > 0 {
                (self.weights[starts[by]], self.columns[starts[by]]) = (*weight, column as u32);
                starts[by] += 1;
            }
        }
        // Each start has moved to its end: cut `at` keeps the weights that more than `at` cuts keep.
        self.ends.clear();
        self.ends.extend_from_slice(&starts[1..]);
    }
}

impl Encoder<'_> {
    /// Latents of tokens `x [n, d_in]` at each of these cuts, which must not descend. `scales`, where pre-activations are
    /// rescaled, are `[cuts][d_sae]`; what the encoder itself keeps, and its scale, are not used.
    pub fn encode_at(&self, x: &[f32], ranks: &Ranks, cuts: &[u32], scales: Option<&[f32]>) -> Vec<Latents> {
        let d_sae = self.bias.len();
        let mut out: Vec<Latents> = cuts.iter().map(|_| Latents::new(d_sae)).collect();
        let (Some(last), false) = (cuts.last(), x.is_empty()) else { return out };
        let d = self.weight.len() / d_sae;
        // How many cuts keep a weight of a rank; ranks beyond the last cut are kept by all.
        let kept_by: Vec<u16> = (0..=*last).map(|rank| cuts.partition_point(|cut| *cut <= rank) as u16).collect();
        for x in x.chunks(BLOCK * d) {
            let (n, tiles) = (x.len() / d, tiles(x, d));
            let shares: Vec<Vec<Vec<Found>>> = (0..d_sae.div_ceil(SHARE))
                .into_par_iter()
                .map(|share| {
                    let latents = share * SHARE..((share + 1) * SHARE).min(d_sae);
                    self.share_at(latents, &tiles, n, d, ranks, (cuts.len(), &kept_by), scales)
                })
                .collect();
            let mut shares: Vec<_> = shares.into_iter().map(Vec::into_iter).collect();
            for latents in &mut out {
                let mut parts: Vec<_> = shares.iter_mut().filter_map(Iterator::next).map(Vec::into_iter).collect();
                for _ in 0..n {
                    latents.push_row(self.join(parts.iter_mut().filter_map(Iterator::next).collect()));
                }
            }
        }
        out
    }

    /// What some latents do on all tokens, by cut and token.
    #[allow(clippy::too_many_arguments)]
    fn share_at(
        &self,
        latents: Range<usize>,
        tiles: &[f32],
        n: usize,
        d: usize,
        ranks: &Ranks,
        (cuts, kept_by): (usize, &[u16]),
        scales: Option<&[f32]>,
    ) -> Vec<Vec<Found>> {
        let mut found: Vec<Vec<Found>> = (0..cuts).map(|_| self.nothing(n)).collect();
        let mut sorted = Sorted::default();
        for latent in latents {
            let start = latent * d;
            sorted.sort(&self.weight[start..start + d], |column| ranks.get(start + column), kept_by);
            for (tile, x) in tiles.chunks(d * TILE).enumerate() {
                let tokens = tile * TILE..((tile + 1) * TILE).min(n);
                let (mut sums, mut done) = ([0.0; TILE], 0);
                // From the largest ratio to the smallest: ever more weights are kept.
                for cut in (0..cuts).rev() {
                    let end = sorted.ends[cut];
                    add_terms(&sorted.weights[done..end], &sorted.columns[done..end], x, &mut sums);
                    done = end;
                    let scale = scales.map_or(1.0, |scales| scales[cut * self.bias.len() + latent]);
                    self.collect(latent, scale, &mut sums.clone(), &mut found[cut][tokens.clone()]);
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Group,
        encode::Gate,
        kept::{Kept, Ranking},
        ranks::ranks,
    };

    #[test]
    fn every_ratio_is_what_an_encoding_at_it_gives() {
        let (n, d, d_sae) = (300, 37, 600);
        let noise = |n: usize, salt: usize| -> Vec<f32> {
            (0..n).map(|i| ((i * 7919 + salt * 104_729) % 2003) as f32 / 1000.0 - 1.0).collect()
        };
        let (x, weight, bias) = (noise(n * d, 1), noise(d_sae * d, 2), noise(d_sae, 3));
        let (thresholds, norms) = (vec![0.4; d_sae], noise(4 * d_sae, 5));
        let scales: Vec<f32> = norms.iter().map(|v| v + 1.5).collect();
        let ranks = ranks(d_sae, d, Group::Row, |r, c| weight[r * d + c].abs());
        let cuts = [0, 9, 9, 36];
        for gate in [Gate::Positive, Gate::Above(&thresholds), Gate::Largest(7)] {
            for scales in [None, Some(scales.as_slice())] {
                let plain = Encoder { weight: &weight, bias: &bias, scale: None, kept: Kept::All, gate };
                let found = plain.encode_at(&x, &ranks, &cuts, scales);
                assert_eq!(found.len(), cuts.len());
                for (at, (found, cut)) in found.iter().zip(cuts).enumerate() {
                    let scale = scales.map(|scales| &scales[at * d_sae..(at + 1) * d_sae]);
                    let expected = Encoder { kept: Kept::From(Ranking::Each(&ranks), cut), scale, ..plain }.encode(&x);
                    assert_eq!(found.offsets, expected.offsets, "{gate:?} at {cut}");
                    assert_eq!(found.indices, expected.indices, "{gate:?} at {cut}");
                    let far = found.values.iter().zip(&expected.values).find(|(a, b)| (**a - **b).abs() > 1e-4);
                    assert!(far.is_none(), "{gate:?} at {cut}: {far:?}");
                }
            }
        }
        let plain = Encoder { weight: &weight, bias: &bias, scale: None, kept: Kept::All, gate: Gate::Positive };
        assert!(plain.encode_at(&x, &ranks, &[], None).is_empty());
        assert_eq!(plain.encode_at(&[], &ranks, &cuts, None)[0].rows(), 0);
    }
}
