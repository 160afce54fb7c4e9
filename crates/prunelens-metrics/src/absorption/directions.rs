//! What a variant's decoder has to do with the letters' directions.

use prunelens_core::{
    compare::Reader,
    error::Result,
    model::tokens_at_once,
    progress::Tick,
    sae::{Activation, Latents, Side},
};
use rayon::prelude::*;

use super::{LETTERS, probe::Probe};

/// By latent.
#[derive(Clone, Debug)]
pub struct Directions {
    /// Cosine of its decoder row with the direction of each letter; 0 for a row of zeros.
    pub cosines: Vec<[f32; LETTERS]>,
    /// What an activation is multiplied with so that it is one of a latent whose decoder row has length 1.
    pub scale: Vec<f32>,
}

impl Directions {
    /// Of the decoder as the reader uses it, at its setting.
    pub fn new(reader: &Reader, probe: &Probe, tick: Tick) -> Result<Self> {
        let (sae, pruning) = (&reader.sae, reader.pruning.as_ref());
        let (d_in, d_sae) = (sae.d_in(), sae.d_sae());
        let norms: [f32; LETTERS] = std::array::from_fn(|class| norm(probe.weights.iter().map(|w| w[class])));
        let block = tokens_at_once((2 * d_in * LETTERS) as f64, &candle_core::Device::Cpu);
        let mut rows = Vec::with_capacity(d_sae);
        for start in (0..d_sae).step_by(block) {
            tick()?;
            sae.matrix(Side::Dec, pruning, |matrix| {
                let found = (start..(start + block).min(d_sae)).into_par_iter().map_init(
                    || vec![0.0; d_in],
                    |row, latent| {
                        matrix.row(latent, row);
                        (cosines(row, probe, &norms), norm(row.iter().copied()))
                    },
                );
                rows.par_extend(found);
            })?;
        }
        // Where activations were chosen by decoder norms they carry them already.
        let carried = matches!(sae.activation, Activation::TopK { rescale_by_decoder_norm: true, .. });
        let scale = |(latent, norm): (usize, f32)| match (carried, &sae.decode_scale) {
            (true, _) => 1.0,
            (false, Some(scale)) => norm * scale[latent],
            (false, None) => norm,
        };
        let (cosines, norms): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        Ok(Self { cosines, scale: norms.into_iter().enumerate().map(scale).collect() })
    }

    /// Fold the decoder's norms into activations.
    pub fn fold(&self, latents: &mut Latents) {
        let Latents { indices, values, .. } = latents;
        values.iter_mut().zip(&*indices).for_each(|(value, &latent)| *value *= self.scale[latent as usize]);
    }
}

fn norm(values: impl Iterator<Item = f32>) -> f32 {
    values.map(|v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt() as f32
}

fn cosines(row: &[f32], probe: &Probe, norms: &[f32; LETTERS]) -> [f32; LETTERS] {
    let mut dots = [0.0_f32; LETTERS];
    for (value, weights) in row.iter().zip(&probe.weights) {
        dots.iter_mut().zip(weights).for_each(|(dot, weight)| *dot += value * weight);
    }
    let length = norm(row.iter().copied());
    std::array::from_fn(|class| {
        let product = length * norms[class];
        if product > 0.0 { dots[class] / product } else { 0.0 }
    })
}
