//! Latents of two dictionaries matched by the cosine of their decoder rows.

use prunelens_kernels::{nearest::Nearest, ops::Ops};

use crate::{error::Result, progress::Tick, sae::Dictionary};

use super::Match;

/// Best matches of every latent of one dictionary in another.
#[derive(Clone, Debug)]
pub struct Matching {
    best: Vec<Option<Match>>,
}

impl Matching {
    /// For every latent of `from` its best match in `to`, found where `ops` works. `tick` is called between blocks of the
    /// table of cosines.
    pub fn new(from: &dyn Dictionary, to: &dyn Dictionary, ops: &dyn Ops, tick: Tick) -> Result<Self> {
        // As they lie where they work.
        let [from, to] = [from, to].map(|dictionary| dictionary.pruned(None));
        let mut search = Nearest::new(ops, &from?.w_dec, Some(&to?.w_dec))?;
        tick()?;
        while search.step()? {
            tick()?;
        }
        let back = search.of_others()?;
        let of_latent = |(latent, found): (usize, Option<(u32, f32)>)| {
            let (best, cosine) = found?;
            let mutual = back[best as usize].is_some_and(|(back, _)| back as usize == latent);
            Some(Match { latent: best, cosine, mutual })
        };
        Ok(Self { best: search.of_vectors()?.into_iter().enumerate().map(of_latent).collect() })
    }

    /// The best match of a latent of the first dictionary.
    pub fn get(&self, latent: u32) -> Option<Match> {
        self.best.get(latent as usize).copied().flatten()
    }
}
