//! Latent scaling (Minder et al. 2025, arXiv 2504.02922): by which factor a latent's contribution has to be multiplied to fit
//! a target in least squares.

use prunelens_core::{
    error::Result,
    sae::{Encoded, Sae},
};
use prunelens_kernels::with_f32;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::weights::Weights;

/// Sums over the positions at which a latent fires, with `c` its contribution to the reconstruction there.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Scaling {
    /// `<x - recon + c, c>` with the activation `x` of each model.
    error: [f64; 2],
    /// `<recon, c>` with each model's own reconstruction.
    recon: [f64; 2],
    /// `|c|^2`.
    squares: f64,
}

/// Activations `[n, d_in]` in the SAE's space, of the original and the pruned model, and their reconstructions.
pub struct Targets<'a> {
    pub x: [&'a [f32]; 2],
    pub recon: [&'a [f32]; 2],
}

impl Scaling {
    /// Of each latent that is active on the original model, in the order of its values.
    pub fn of(sae: &Sae, weights: &Weights, encoded: &Encoded, targets: &Targets) -> Result<Vec<Self>> {
        let (latents, undo, d) = (encoded.latents()?, encoded.undo().factors()?, sae.d_in());
        with_f32(&sae.w_dec, |w| {
            let rows = (0..latents.rows()).into_par_iter().flat_map_iter(|row| {
                let [[x, y], [x_recon, y_recon]] =
                    [targets.x, targets.recon].map(|models| models.map(|values| &values[row * d..(row + 1) * d]));
                let undo = f64::from(undo.of(row));
                let (indices, values) = latents.row(row);
                let one = move |(latent, value): (&u32, &f32)| {
                    let latent = *latent as usize;
                    let factor = weights.factors.as_ref().map_or(1.0, |factors| f64::from(factors[latent]));
                    let along = |v: &[f32]| {
                        let direction = &w[latent * d..(latent + 1) * d];
                        direction.iter().zip(v).map(|(w, v)| f64::from(*w) * f64::from(*v)).sum::<f64>()
                    };
                    let a = undo * factor * f64::from(*value);
                    let [x, y, x_recon, y_recon] = [x, y, x_recon, y_recon].map(|v| a * along(v));
                    let squares = (a * weights.dec_norm[latent]).powi(2);
                    Self { error: [x - x_recon + squares, y - x_recon + squares], recon: [x_recon, y_recon], squares }
                };
                indices.iter().zip(values).map(one)
            });
            rows.collect()
        })
    }

    /// Another position.
    pub fn add(&mut self, other: &Self) {
        for model in 0..2 {
            self.error[model] += other.error[model];
            self.recon[model] += other.recon[model];
        }
        self.squares += other.squares;
    }

    /// The factor against the error of a model (0: the original's), the latent's own part put back. NaN without a part.
    pub fn against_error(&self, model: usize) -> f64 {
        self.error[model] / self.squares
    }

    /// The factor against the reconstruction of a model.
    pub fn against_recon(&self, model: usize) -> f64 {
        self.recon[model] / self.squares
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use prunelens_core::{
        model::{HookPoint, Site, Space},
        prune::sae::rank,
        sae::{Activation, Criterion, Dictionary, Latents, Normalize, Pruning, SaeConfig},
    };

    use super::*;

    const D_IN: usize = 11;
    const D_SAE: usize = 23;
    const N: usize = 40;

    fn noise(n: usize, salt: u32) -> Vec<f32> {
        (0..n as u32).map(|i| ((i * 2_654_435 + salt * 7_919) % 10_007) as f32 / 5_003.0 - 1.0).collect()
    }

    fn sae(activation: Activation, normalize: Normalize, decode_scale: Option<Vec<f32>>) -> Sae {
        let matrix = |salt| Tensor::from_vec(noise(D_SAE * D_IN, salt), (D_SAE, D_IN), &Device::Cpu).unwrap();
        Sae {
            config: SaeConfig {
                name: "test".into(),
                architecture: "test",
                d_in: D_IN,
                d_sae: D_SAE,
                hook: HookPoint { layer: 0, site: Site::ResidPost },
                module: None,
                normalize,
                apply_b_dec_to_input: true,
                prepend_bos: true,
                space: Space::Raw,
                source: serde_json::Value::Null,
                folded: None,
                warnings: Vec::new(),
            },
            w_enc: matrix(1),
            b_enc: noise(D_SAE, 2),
            w_dec: matrix(3),
            b_dec: noise(D_IN, 4),
            activation,
            decode_scale,
        }
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// What a latent adds is what is missing from the reconstruction without it.
    #[test]
    fn contributions_are_what_the_reconstruction_lacks_without_them() {
        let top = |rescale_by_decoder_norm| Activation::TopK { k: 5, rescale_by_decoder_norm };
        let scale = noise(D_SAE, 9).iter().map(|v| v + 2.0).collect();
        for (activation, normalize, scale) in [
            (Activation::Relu, Normalize::LayerNorm, None),
            (Activation::Relu, Normalize::None, Some(scale)),
            (top(true), Normalize::ConstantNormRescale, None),
            (top(false), Normalize::None, None),
        ] {
            let sae = sae(activation, normalize, scale);
            let order = rank(&sae, Criterion::Magnitude, None, &mut || Ok(())).unwrap();
            let weights = Weights::new(&sae, &Pruning { order: order.into(), at: 0.5 }).unwrap();
            let tensor = |salt| Tensor::from_vec(noise(N * D_IN, salt), (N, D_IN), &Device::Cpu).unwrap();
            let (x, y) = (tensor(5), tensor(6));
            let encoded = sae.encode(&x, None).unwrap();
            let recon = values(&sae.decode(&encoded, None).unwrap());
            let y_recon = values(&sae.decode(&sae.encode(&y, None).unwrap(), None).unwrap());
            let (x, y) = (values(&x), values(&y));
            let targets = Targets { x: [&x, &y], recon: [&recon, &y_recon] };
            let found = Scaling::of(&sae, &weights, &encoded, &targets).unwrap();
            assert_eq!(found.len(), encoded.latents().unwrap().values.len());
            for latent in 0..D_SAE as u32 {
                let mut without = Latents::new(D_SAE);
                for row in 0..N {
                    let (indices, values) = encoded.latents().unwrap().row(row);
                    let others = indices.iter().copied().zip(values.iter().copied());
                    without.push_row(others.filter(|(index, _)| *index != latent));
                }
                let without = Encoded::new(without, encoded.undo().clone());
                let without = values(&sae.decode(&without, None).unwrap());
                let mut sums = Scaling::default();
                let entries = encoded.latents().unwrap().indices.iter().zip(&found);
                entries.filter(|(index, _)| **index == latent).for_each(|(_, one)| sums.add(one));
                let least_squares = |target: &dyn Fn(usize, f64) -> f64| {
                    let c = recon.iter().zip(&without).map(|(all, others)| f64::from(*all) - f64::from(*others));
                    let (dot, squares) = c
                        .enumerate()
                        .fold((0.0, 0.0), |(dot, squares), (at, c)| (dot + target(at, c) * c, squares + c * c));
                    dot / squares
                };
                let error = |x: &[f32]| least_squares(&|at, c| f64::from(x[at]) - f64::from(recon[at]) + c);
                for (found, expected) in [
                    (sums.against_error(0), error(&x)),
                    (sums.against_error(1), error(&y)),
                    (sums.against_recon(0), least_squares(&|at, _| f64::from(recon[at]))),
                    (sums.against_recon(1), least_squares(&|at, _| f64::from(y_recon[at]))),
                ] {
                    let silent = found.is_nan() && expected.is_nan();
                    let close = (found - expected).abs() < 1e-4 * (1.0 + expected.abs());
                    assert!(silent || close, "{normalize:?} {latent}: {found}, expected {expected}");
                }
            }
        }
    }
}
