//! How much of a dictionary says the same twice.

use candle_core::{DType, Device, Tensor};
use prunelens_kernels::{nearest::Nearest, ops::Ops};
use serde::{Deserialize, Serialize};

use crate::{error::Result, linalg::singular_values, progress::Tick, sae::Dictionary};

/// Of decoder rows, each taken at length 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Redundancy {
    /// Of each latent the largest cosine with another one's row, on average: 1 where each has a double.
    pub mean_max_cosine: f64,
    /// The exponential of the entropy of the singular values over their sum (Roy and Vetterli, 2007): how many dimensions the rows
    /// fill evenly, at most their width.
    pub effective_rank: f64,
}

impl Redundancy {
    /// Found where `ops` works; `tick` is called between parts.
    pub fn of(dictionary: &dyn Dictionary, ops: &dyn Ops, tick: Tick) -> Result<Self> {
        Self::of_rows(&dictionary.w_dec, ops, tick)
    }

    fn of_rows(rows: &Tensor, ops: &dyn Ops, tick: Tick) -> Result<Self> {
        let mut search = Nearest::new(ops, rows, None)?;
        tick()?;
        while search.step()? {
            tick()?;
        }
        let (sum, n) = search
            .of_vectors()?
            .iter()
            .flatten()
            .fold((0.0, 0.0), |(sum, n), (_, cosine)| (sum + f64::from(*cosine), n + 1.0));
        let (latents, width) = rows.dims2()?;
        let values: Vec<f32> = rows.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let unit = |row: &[f32]| -> Vec<f64> {
            let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            row.iter().map(|v| if length > 0.0 { f64::from(*v) / length } else { 0.0 }).collect()
        };
        let rows: Vec<f64> = values.chunks(width.max(1)).flat_map(unit).collect();
        Ok(Self {
            mean_max_cosine: sum / n,
            effective_rank: effective_rank(&singular_values(&rows, latents, width, tick)?),
        })
    }
}

fn effective_rank(singular: &[f64]) -> f64 {
    let sum: f64 = singular.iter().sum();
    let entropy: f64 = singular.iter().map(|v| v / sum).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
    entropy.exp()
}

#[cfg(test)]
mod tests {
    use prunelens_kernels::ops::on;

    use super::*;

    #[test]
    fn doubles_and_even_directions_are_told() {
        let of = |rows: &[f32], n: usize| {
            let rows = Tensor::from_slice(rows, (n, rows.len() / n), &Device::Cpu).unwrap();
            Redundancy::of_rows(&rows, &*on(None), &mut || Ok(())).unwrap()
        };
        let even = of(&[2.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 7.0], 3);
        assert!((even.effective_rank - 3.0).abs() < 1e-9 && even.mean_max_cosine.abs() < 1e-6, "{even:?}");
        let doubled = of(&[1.0, 0.0, 3.0, 0.0, 0.0, 1.0, 0.0, 2.0], 4);
        assert!(
            (doubled.effective_rank - 2.0).abs() < 1e-9 && (doubled.mean_max_cosine - 1.0).abs() < 1e-6,
            "{doubled:?}"
        );
        assert!(
            (effective_rank(&[3.0, 1.0, 0.0]) - (-(0.75_f64 * 0.75_f64.ln() + 0.25 * 0.25_f64.ln())).exp()).abs()
                < 1e-12
        );
    }

    /// numpy's figures of a random matrix, recorded.
    #[test]
    fn figures_are_numpys() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/statistics/scipy.json");
        let recorded: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let case = &recorded["redundancy"];
        let rows: Vec<Vec<f32>> = serde_json::from_value(case["rows"].clone()).unwrap();
        let rows = Tensor::new(rows, &Device::Cpu).unwrap();
        let found = Redundancy::of_rows(&rows, &*on(None), &mut || Ok(())).unwrap();
        let expected = |name: &str| case[name].as_f64().unwrap();
        assert!((found.mean_max_cosine - expected("mean_max_cosine")).abs() < 1e-6, "{found:?}");
        assert!((found.effective_rank - expected("effective_rank")).abs() < 1e-5 * found.effective_rank, "{found:?}");
    }
}
