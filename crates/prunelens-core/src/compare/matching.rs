//! Latents of two dictionaries matched by the cosine of their decoder rows.

use candle_core::Tensor;
use prunelens_kernels::with_f32;

use crate::{
    error::Result,
    model::{Linear, Tick},
    sae::Dictionary,
};

use super::Match;

/// Best matches of every latent of one dictionary in another.
#[derive(Clone, Debug)]
pub struct Matching {
    best: Vec<Match>,
}

/// Rows of the cosine table that exist at a time.
const ROWS: usize = 128;

impl Matching {
    /// For every latent of `from` its best match in `to`. `tick` is called between blocks of rows.
    pub fn new(from: &dyn Dictionary, to: &dyn Dictionary, tick: Tick) -> Result<Self> {
        let (n, m) = (from.d_sae(), to.d_sae());
        let a = unit_rows(from)?;
        // The product is that of a layer without bias: rows of one dictionary with all rows of the other.
        let b = Linear { weight: unit_rows(to)?, bias: None };
        let mut best = Vec::with_capacity(n);
        let mut back = vec![(0_u32, f32::NEG_INFINITY); m];
        for first in (0..n).step_by(ROWS) {
            tick()?;
            let table: Vec<f32> = b.forward(&a.narrow(0, first, ROWS.min(n - first))?)?.flatten_all()?.to_vec1()?;
            for (latent, row) in (first as u32..).zip(table.chunks(m)) {
                let mut top = (0, f32::NEG_INFINITY);
                for (at, (cosine, back)) in row.iter().zip(&mut back).enumerate() {
                    if *cosine > top.1 {
                        top = (at as u32, *cosine);
                    }
                    if *cosine > back.1 {
                        *back = (latent, *cosine);
                    }
                }
                best.push(Match { latent: top.0, cosine: top.1, mutual: false });
            }
        }
        for (latent, found) in best.iter_mut().enumerate() {
            found.mutual = back[found.latent as usize].0 as usize == latent;
        }
        Ok(Self { best })
    }

    /// The best match of a latent of the first dictionary.
    pub fn get(&self, latent: u32) -> Option<Match> {
        self.best.get(latent as usize).copied()
    }
}

/// Decoder rows of norm 1, where the SAE works; a row of zeros stays one.
fn unit_rows(sae: &dyn Dictionary) -> Result<Tensor> {
    let mut rows = with_f32(&sae.w_dec, <[f32]>::to_vec)?;
    for row in rows.chunks_mut(sae.d_in()) {
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|v| *v /= norm);
        }
    }
    Ok(Tensor::from_vec(rows, (sae.d_sae(), sae.d_in()), sae.device())?)
}
