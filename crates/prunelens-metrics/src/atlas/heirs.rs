//! Where the mass of a latent goes that is lost on the pruned model: to one other latent, or to none in particular.

use std::collections::HashMap;

use prunelens_core::{
    error::Result,
    sae::{Latents, Sae},
};
use prunelens_kernels::with_f32;
use rayon::prelude::*;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::weights::Weights;

/// Latents at a position that may be heirs: those that gained most there, so that dense SAEs stay in bounds.
const GAINERS: usize = 8;

/// At one position: a latent that lost at least half of its activation, the one that took most of it, and how much.
pub type Bequest = (u32, u32, f64);

/// Of all positions of `original` and `pruned`, in their order. What another latent takes is what it gained, along the loser's
/// decoder row, and never more than was lost.
pub fn bequests(sae: &Sae, weights: &Weights, original: &Latents, pruned: &Latents) -> Result<Vec<Bequest>> {
    let d = sae.d_in();
    let factor = |latent: u32| weights.factors.as_ref().map_or(1.0, |f| f64::from(f[latent as usize]));
    let norm = |latent: u32| weights.dec_norm[latent as usize];
    with_f32(&sae.w_dec, |w| {
        let row = |latent: u32| &w[latent as usize * d..(latent as usize + 1) * d];
        let positions = (0..original.rows()).into_par_iter().flat_map_iter(|at| {
            let lost = differences(original, pruned, at).filter(|(_, lost, had)| *lost * 2.0 >= *had && *had > 0.0);
            let lost: Vec<(u32, f64, f64)> = lost.collect();
            let mut gained: Vec<(u32, f64)> = match lost.is_empty() {
                true => Vec::new(),
                false => differences(pruned, original, at).map(|(latent, gain, _)| (latent, gain)).collect(),
            };
            gained.sort_unstable_by(|a, b| {
                let size = |(latent, gain): &(u32, f64)| gain * factor(*latent) * norm(*latent);
                size(b).total_cmp(&size(a)).then(a.0.cmp(&b.0))
            });
            gained.truncate(GAINERS);
            let heir = move |(loser, lost, _): (u32, f64, f64)| {
                let own = factor(loser) * norm(loser).powi(2);
                let share = |&(latent, gain): &(u32, f64)| {
                    let along: f32 = row(loser).iter().zip(row(latent)).map(|(a, b)| a * b).sum();
                    (latent, (gain * factor(latent) * f64::from(along) / own).min(lost))
                };
                let best = gained.iter().map(share).max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
                best.filter(|(_, took)| *took > 0.0).map(|(latent, took)| (loser, latent, took))
            };
            lost.into_iter().filter_map(heir)
        });
        positions.collect()
    })
}

/// Latents of `a` that are stronger there than in `b` at a position: by how much, and how strong.
fn differences<'a>(a: &'a Latents, b: &'a Latents, at: usize) -> impl Iterator<Item = (u32, f64, f64)> + 'a {
    let (indices, values) = a.row(at);
    let positive = |v: f32| f64::from(v.max(0.0));
    let each = move |(latent, value): (&u32, &f32)| {
        let value = positive(*value);
        (*latent, value - positive(b.get(at, *latent)), value)
    };
    indices.iter().zip(values).map(each).filter(|(_, more, _)| *more > 0.0)
}

/// Sums of bequests by loser and heir.
#[derive(Clone, Debug, Default)]
pub struct Heirs(HashMap<(u32, u32), f64>);

impl Heirs {
    /// Another one.
    pub fn add(&mut self, (loser, heir, took): Bequest) {
        *self.0.entry((loser, heir)).or_default() += took;
    }

    /// Of each latent the one that took most of what it lost, and how much: the lowest among equals.
    pub fn largest(&self, d_sae: usize) -> Vec<Option<(u32, f64)>> {
        let mut out = vec![None; d_sae];
        for ((loser, heir), took) in self.sorted() {
            let best: &mut Option<(u32, f64)> = &mut out[loser as usize];
            if best.is_none_or(|(_, most)| took > most) {
                *best = Some((heir, took));
            }
        }
        out
    }

    fn sorted(&self) -> Vec<((u32, u32), f64)> {
        let mut all: Vec<_> = self.0.iter().map(|(key, took)| (*key, *took)).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }

    /// Whether every latent is one of a dictionary.
    pub fn fits(&self, d_sae: usize) -> bool {
        self.0.keys().all(|(loser, heir)| (*loser.max(heir) as usize) < d_sae)
    }
}

impl Serialize for Heirs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.sorted().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Heirs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Vec::deserialize(deserializer)?.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heir_is_the_one_that_took_most() {
        let mut heirs = Heirs::default();
        [(1, 4, 0.5), (1, 3, 1.0), (1, 4, 0.75), (0, 2, 1.0), (0, 1, 1.0)].into_iter().for_each(|b| heirs.add(b));
        assert_eq!(heirs.largest(3), [Some((1, 1.0)), Some((4, 1.25)), None]);
        let again: Heirs = postcard::from_bytes(&postcard::to_stdvec(&heirs).unwrap()).unwrap();
        assert_eq!(again.sorted(), heirs.sorted());
        assert!(heirs.fits(5) && !heirs.fits(4));
    }
}
