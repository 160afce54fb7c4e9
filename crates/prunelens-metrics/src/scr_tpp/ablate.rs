//! Effects of latents on probes, and logits with latents ablated.

use prunelens_core::{compare::Reader, error::Result, progress::Tick, sae::Side};
use rayon::prelude::*;

use crate::texts::{
    Draw, LinearProbe, SparseRows,
    collect::Rows,
    linear::{Dense, Examples, mean_difference},
};

/// `W_dec w` for some probes.
pub struct DecoderDots {
    /// With the rows as they are stored: one entry a probe, in it one a latent.
    pub stored: Vec<Vec<f64>>,
    /// With the rows as the reconstruction uses them, for SAEs that rescale when decoding.
    pub used: Vec<Vec<f64>>,
}

impl DecoderDots {
    /// Dot products of all decoder rows of a reader's SAE with each probe.
    pub fn new(reader: &Reader, probes: &[LinearProbe], tick: Tick) -> Result<Self> {
        const BLOCK: usize = 1024;
        let (sae, d) = (&reader.sae, reader.sae.d_in());
        let mut stored = vec![Vec::with_capacity(sae.d_sae()); probes.len()];
        for start in (0..sae.d_sae()).step_by(BLOCK) {
            let latents = start..(start + BLOCK).min(sae.d_sae());
            let dots: Vec<Vec<f64>> = sae.matrix(Side::Dec, reader.pruning.as_ref(), |matrix| {
                let of = |row: &mut Vec<f32>, latent: usize| {
                    matrix.row(latent, row);
                    let dot = |probe: &LinearProbe| {
                        row.iter().zip(&probe.weight).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
                    };
                    probes.iter().map(dot).collect()
                };
                latents.into_par_iter().map_init(|| vec![0.0; d], of).collect()
            })?;
            for of_latent in dots {
                stored.iter_mut().zip(of_latent).for_each(|(of_probe, dot)| of_probe.push(dot));
            }
            tick()?;
        }
        let norms = sae.decoder_norms(reader.pruning.as_ref())?;
        let factor = |latent: usize| match (&norms, &sae.decode_scale) {
            (Some(norms), _) => 1.0 / f64::from(norms[latent]),
            (None, Some(scale)) => f64::from(scale[latent]),
            (None, None) => 1.0,
        };
        let used = stored.iter().map(|dots| dots.iter().enumerate().map(|(at, dot)| dot * factor(at)).collect());
        Ok(Self { used: used.collect(), stored })
    }
}

/// Whether an effect counts for its size or for its sign too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// TPP: what more of the latent in the class does for the probe.
    Signed,
    /// SCR.
    Absolute,
}

/// Effect of every latent on a probe: the difference of its mean over training rows, times `W_dec w`.
pub fn effects(latents: &SparseRows, draw: &Draw, dots: &[f64], effect: Effect) -> Vec<f64> {
    let difference = mean_difference(latents, draw);
    let of = |(m, dot): (f64, &f64)| match effect {
        Effect::Signed => m.max(0.0) * dot,
        Effect::Absolute => (m * dot).abs(),
    };
    difference.into_iter().zip(dots).map(of).collect()
}

/// The `n` latents with the largest effects, as many as have one at most; the first come first.
pub fn strongest(effects: &[f64], n: usize) -> Vec<usize> {
    let most = effects.iter().filter(|effect| **effect != 0.0).count();
    let mut order: Vec<usize> = (0..effects.len()).collect();
    order.sort_by(|&a, &b| effects[b].total_cmp(&effects[a]).then(a.cmp(&b)));
    order.truncate(n.min(most));
    order
}

/// Logits of all texts and probes, with nothing and with more and more latents ablated.
pub struct Logits {
    probes: usize,
    levels: usize,
    /// `[texts, levels, probes]`; level 0 is clean.
    values: Vec<f64>,
}

impl Logits {
    /// `n_values` ascending: at each level as many of the latents of `order` are ablated. `sums` are those of the SAE.
    pub fn new(
        rows: &Rows,
        sums: &SparseRows,
        texts: impl Iterator<Item = usize>,
        probes: &[LinearProbe],
        dots: &DecoderDots,
        order: &[usize],
        n_values: &[usize],
    ) -> Self {
        let levels = n_values.len() + 1;
        // The level from which on a latent is ablated.
        let mut from = vec![usize::MAX; sums.width];
        for (at, &latent) in order.iter().enumerate() {
            from[latent] = n_values.iter().position(|&n| at < n).map_or(usize::MAX, |level| level + 1);
        }
        let means = Dense { values: &rows.means, width: rows.width };
        let width = levels * probes.len();
        let mut values = vec![f64::NAN; rows.kept.len() * width];
        for text in texts {
            let out = &mut values[text * width..(text + 1) * width];
            out.fill(0.0);
            let kept = f64::from(rows.kept[text]);
            sums.each(text, &mut |latent, sum| {
                if from[latent] != usize::MAX {
                    let at = from[latent] * probes.len();
                    for (out, dots) in out[at..at + probes.len()].iter_mut().zip(&dots.used) {
                        *out -= f64::from(sum) * dots[latent] / kept;
                    }
                }
            });
            for (probe, weights) in probes.iter().enumerate() {
                let mut logit = weights.logit(&means, text);
                for level in 0..levels {
                    logit += out[level * probes.len() + probe];
                    out[level * probes.len() + probe] = logit;
                }
            }
        }
        Self { probes: probes.len(), levels, values }
    }

    /// Of one text; level 0 is clean, level `i + 1` belongs to the i-th of the `n_values`.
    pub fn get(&self, text: usize, level: usize, probe: usize) -> f64 {
        self.values[(text * self.levels + level) * self.probes + probe]
    }

    /// Share of a draw that a probe tells rightly, at a level of ablation as for [`get`](Self::get).
    pub fn accuracy(&self, draw: &Draw, level: usize, probe: usize) -> f64 {
        draw.accuracy(|text| self.get(text, level, probe))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_are_those_that_have_an_effect() {
        assert_eq!(strongest(&[0.0, 2.0, -1.0, 3.0, 2.0], 3), [3, 1, 4]);
        // Four have one: the fourth largest is none of them, as in SAEBench.
        assert_eq!(strongest(&[0.0, 2.0, -1.0, 3.0, 2.0], 9), [3, 1, 4, 0]);
        assert!(strongest(&[0.0; 4], 2).is_empty());
    }

    #[test]
    fn ablation_takes_the_latents_part_away() {
        let mut sums = SparseRows::new(4, 1, usize::MAX);
        sums.set(0, &[(0, 8.0), (1, 2.0), (3, 4.0)]).unwrap();
        let rows = Rows { width: 2, means: vec![1.0, 2.0], kept: vec![2], latents: Vec::new() };
        let probes =
            [LinearProbe { weight: vec![1.0, 1.0], bias: 0.5 }, LinearProbe { weight: vec![0.0, -1.0], bias: 0.0 }];
        let used = vec![vec![1.0, 0.5, 9.0, -1.0], vec![0.0, 2.0, 9.0, 1.0]];
        let dots = DecoderDots { stored: used.clone(), used };
        let logits = Logits::new(&rows, &sums, 0..1, &probes, &dots, &[1, 3, 2], &[1, 2, 9]);
        let found = |probe: usize| [0, 1, 2, 3].map(|level| logits.get(0, level, probe));
        assert_eq!(found(0), [3.5, 3.0, 5.0, 5.0]);
        assert_eq!(found(1), [-2.0, -4.0, -6.0, -6.0]);
    }
}
