//! Latents of two dictionaries matched by the cosine of their decoder rows.

use std::ops::Range;

use candle_core::Tensor;
use prunelens_kernels::{
    matmul::{View, multiply},
    with_f32,
};

use crate::{error::Result, model::Tick, sae::Sae};

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
    pub fn new(from: &Sae, to: &Sae, tick: Tick) -> Result<Self> {
        let (n, m) = (from.d_sae(), to.d_sae());
        let (a, b) = (unit_rows(from)?, unit_rows(to)?);
        let mut cosines = Cosines::new(from, &a, to, &b)?;
        let mut best = Vec::with_capacity(n);
        let mut back = vec![(0_u32, f32::NEG_INFINITY); m];
        for first in (0..n).step_by(ROWS) {
            tick()?;
            let table = cosines.of(first..(first + ROWS).min(n))?;
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

    pub fn get(&self, latent: u32) -> Option<Match> {
        self.best.get(latent as usize).copied()
    }
}

/// Cosines of some rows of one matrix with all rows of another, where the dictionaries are.
enum Cosines<'a> {
    Host { a: &'a [f32], b: &'a [f32], d: usize, table: Vec<f32> },
    Backend { a: Tensor, b: Tensor, table: Vec<f32> },
}

impl<'a> Cosines<'a> {
    fn new(from: &Sae, a: &'a [f32], to: &Sae, b: &'a [f32]) -> Result<Self> {
        let d = from.d_in();
        let Some(backend) = &from.backend else {
            return Ok(Self::Host { a, b, d, table: vec![0.0; ROWS * to.d_sae()] });
        };
        let there = |rows: &[f32]| Tensor::from_slice(rows, (rows.len() / d, d), backend.backend().device());
        Ok(Self::Backend { a: there(a)?, b: there(b)?.t()?, table: Vec::new() })
    }

    fn of(&mut self, rows: Range<usize>) -> Result<&[f32]> {
        match self {
            Self::Host { a, b, d, table } => {
                let (n, m, d) = (rows.len(), b.len() / *d, *d);
                let block = View::contiguous(&a[rows.start * d..rows.end * d], n, d);
                let threads = rayon::current_num_threads();
                multiply(&mut table[..n * m], m, block, View::contiguous(b, m, d).t(), 1.0, false, threads);
                Ok(&table[..n * m])
            }
            Self::Backend { a, b, table } => {
                let cosines = a.narrow(0, rows.start, rows.len())?.matmul(b)?;
                *table = cosines.flatten_all()?.to_vec1()?;
                Ok(table)
            }
        }
    }
}

/// Decoder rows of norm 1; a row of zeros stays one.
fn unit_rows(sae: &Sae) -> Result<Vec<f32>> {
    let mut rows = with_f32(&sae.w_dec, <[f32]>::to_vec)?;
    for row in rows.chunks_mut(sae.d_in()) {
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|v| *v /= norm);
        }
    }
    Ok(rows)
}
