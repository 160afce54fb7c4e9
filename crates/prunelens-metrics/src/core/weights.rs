//! Figures of an SAE's weights alone, one value a latent.

use std::sync::Arc;

use candle_core::Tensor;
use prunelens_core::{error::Result, progress::Tick};
use prunelens_kernels::{TokenErrors, nearest::Nearest, ops::Ops};
use serde::{Deserialize, Serialize};

/// One value a latent; NaN where undefined, as for a latent whose encoder is pruned away whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WeightFigures {
    /// Of each latent.
    pub encoder_bias: Vec<f64>,
    /// Norm of each latent's encoder column.
    pub encoder_norm: Vec<f64>,
    /// Cosine of each latent's encoder column and decoder row.
    pub encoder_decoder_cosine_sim: Vec<f64>,
    /// Largest cosine of each latent's encoder column with another's.
    pub max_encoder_cosine_sim: Vec<f64>,
    /// Largest cosine of each latent's decoder row with another's.
    pub max_decoder_cosine_sim: Vec<f64>,
}

/// Blocks of a cosine table in one step.
const BLOCKS: usize = 8;

/// The work of computing them, resumable after every block of the two cosine tables.
pub struct WeightRun {
    ops: Arc<dyn Ops>,
    figures: WeightFigures,
    /// Matrices whose rows are still to be searched, the last one first.
    left: Vec<Tensor>,
    /// The search among the rows of one matrix: it holds a copy of them, so there is one at a time.
    search: Option<Nearest>,
    /// The largest cosines of encoder columns, then of decoder rows.
    found: Vec<Vec<f64>>,
}

impl WeightRun {
    /// `w_enc` and `w_dec` are `[d_sae, d_in]`: a latent is a row of both. All is computed where `ops` works.
    pub fn new(w_enc: &Tensor, w_dec: &Tensor, b_enc: &[f32], ops: Arc<dyn Ops>) -> Result<Self> {
        let d_sae = w_enc.dim(0)?;
        let (of_enc, of_dec) = (ops.token_errors(w_dec, w_enc)?, ops.token_errors(w_enc, w_dec)?);
        let cosine = |(enc, dec): (TokenErrors, TokenErrors)| {
            let norm = enc.out_sq.sqrt();
            (norm, enc.dot / (norm * dec.out_sq.sqrt()))
        };
        let (encoder_norm, encoder_decoder_cosine_sim) = of_enc()?.into_iter().zip(of_dec()?).map(cosine).unzip();
        let encoder_bias = if b_enc.is_empty() { vec![0.0; d_sae] } else { b_enc.iter().map(|&b| b.into()).collect() };
        Ok(Self {
            ops,
            figures: WeightFigures { encoder_bias, encoder_norm, encoder_decoder_cosine_sim, ..Default::default() },
            left: vec![w_dec.clone(), w_enc.clone()],
            search: None,
            found: Vec::new(),
        })
    }

    /// Do the next few blocks. False when all are done.
    pub fn step(&mut self, tick: Tick) -> Result<bool> {
        for _ in 0..BLOCKS {
            if self.search.is_none() {
                let Some(rows) = self.left.pop() else { return Ok(false) };
                self.search = Some(Nearest::new(&*self.ops, &rows, None)?);
            }
            if let Some(search) = &mut self.search {
                search.step()?;
                let (done, all) = search.progress();
                if done == all {
                    self.found.push(largest(search)?);
                    self.search = None;
                }
            }
            tick()?;
        }
        Ok(self.search.is_some() || !self.left.is_empty())
    }

    /// The figures, once [`step`](Self::step) has nothing left to do.
    pub fn figures(self) -> WeightFigures {
        let mut found = self.found.into_iter();
        let mut next = || found.next().unwrap_or_default();
        WeightFigures { max_encoder_cosine_sim: next(), max_decoder_cosine_sim: next(), ..self.figures }
    }

    /// Blocks of both tables that are done, and all of them.
    pub fn progress(&self) -> (usize, usize) {
        let (done, each) = self.search.as_ref().map_or((0, 1), Nearest::progress);
        (self.found.len() * each + done, 2 * each)
    }
}

/// One value a vector: NaN where there is no other vector.
fn largest(search: &Nearest) -> Result<Vec<f64>> {
    Ok(search.of_vectors()?.into_iter().map(|found| found.map_or(f64::NAN, |(_, cosine)| cosine.into())).collect())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use prunelens_core::error::Error;
    use prunelens_kernels::ops;

    use super::*;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::from_slice(values, (values.len() / 2, 2), &Device::Cpu).unwrap()
    }

    #[test]
    fn norms_cosines_and_dead_latents() {
        let (enc, dec) = (tensor(&[3.0, 4.0, 0.0, 0.0, 0.0, 2.0]), tensor(&[1.0, 0.0, 0.0, 1.0, 0.6, 0.8]));
        let mut run = WeightRun::new(&enc, &dec, &[0.5, -1.0, 0.0], ops::on(None)).unwrap();
        // Stopped after its first block it goes on from there.
        assert!(matches!(run.step(&mut || Err(Error::Interrupted)), Err(Error::Interrupted)));
        assert_eq!(run.progress(), (1, 2));
        while run.step(&mut || Ok(())).unwrap() {}
        let figures = run.figures();
        assert_eq!(figures.encoder_bias, [0.5, -1.0, 0.0]);
        assert_eq!(figures.encoder_norm, [5.0, 0.0, 2.0]);
        let cosine = &figures.encoder_decoder_cosine_sim;
        assert!((cosine[0] - 0.6).abs() < 1e-9 && cosine[1].is_nan() && (cosine[2] - 0.8).abs() < 1e-7);
        for (found, expected) in
            [(&figures.max_encoder_cosine_sim, [0.8, 0.0, 0.8]), (&figures.max_decoder_cosine_sim, [0.6, 0.8, 0.8])]
        {
            assert!(found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-6), "{found:?}");
        }
        assert_eq!(WeightRun::new(&enc, &dec, &[], ops::on(None)).unwrap().figures.encoder_bias, [0.0; 3]);
    }
}
