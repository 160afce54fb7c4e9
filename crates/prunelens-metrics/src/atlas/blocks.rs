//! Sums of each latent over some rows at a time, so that figures can be drawn again from rows: what a bootstrap over them needs.

use prunelens_core::error::{Error, Result};
use safetensors::{Dtype, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::read::Batch;

/// Blocks that rows are parted into, if there are as many.
const MOST: usize = 24;
/// Fewer say nothing of how much rows differ: then none are kept.
pub const FEWEST: usize = 8;
/// Bytes that all blocks may take.
const BYTES: usize = 192 << 20;

/// How many blocks an atlas of so many rows, latents and ratios has; 0: none.
pub fn number(rows: usize, d_sae: usize, ratios: usize) -> usize {
    let of_one = 8 * (FIGURES + ratios) * d_sae.max(1);
    let n = MOST.min(rows).min(BYTES / of_one);
    if n < FEWEST { 0 } else { n }
}

/// Bytes of them.
pub fn bytes(rows: usize, d_sae: usize, ratios: usize) -> u64 {
    (number(rows, d_sae, ratios) * 8 * (FIGURES + ratios) * d_sae) as u64
}

/// Figures of a latent beside its masses at the ratios.
const FIGURES: usize = 4;

/// Sums over the rows of one block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Counted positions.
    pub positions: f64,
    /// Those that predict a token, of rows that were traced.
    pub predicted: f64,
    /// Of each latent: positions at which it fires in `original`.
    pub fired: Vec<f64>,
    /// Its mass there.
    pub original: Vec<f64>,
    /// Its mass in `transfer`.
    pub transfer: Vec<f64>,
    /// Gradient of the loss by each activation, times the activation.
    pub attribution: Vec<f64>,
    /// Its mass at each ratio.
    pub grid: Vec<Vec<f64>>,
}

impl Block {
    /// Of no row yet.
    pub(super) fn new(d_sae: usize, ratios: usize) -> Self {
        let zeros = || vec![0.0; d_sae];
        Self {
            fired: zeros(),
            original: zeros(),
            transfer: zeros(),
            attribution: zeros(),
            grid: vec![zeros(); ratios],
            ..Self::default()
        }
    }

    /// Some of its rows.
    pub(super) fn add(&mut self, batch: &Batch) {
        self.positions += batch.tokens.len() as f64;
        self.predicted += batch.predicted as f64;
        let original = &batch.original;
        for ((latent, value), slope) in original.indices.iter().zip(&original.values).zip(&batch.slopes) {
            if *value > 0.0 {
                let latent = *latent as usize;
                self.fired[latent] += 1.0;
                self.original[latent] += f64::from(*value);
                self.attribution[latent] += f64::from(*slope) * f64::from(*value);
            }
        }
        for (latent, value) in batch.transfer.indices.iter().zip(&batch.transfer.values) {
            self.transfer[*latent as usize] += f64::from(value.max(0.0));
        }
        for (sums, masses) in self.grid.iter_mut().zip(&batch.grid) {
            sums.iter_mut().zip(masses).for_each(|(sum, mass)| *sum += mass);
        }
    }

    /// Whether sums that were read are of the same dictionary and ratios.
    pub(super) fn fits(&self, other: &Self) -> bool {
        let sizes = |block: &Self| {
            let own = [&block.fired, &block.original, &block.transfer, &block.attribution].map(Vec::len);
            (own, block.grid.iter().map(Vec::len).collect::<Vec<_>>())
        };
        sizes(self) == sizes(other)
    }

    /// Every figure of latents with the name that it has in files.
    fn columns<'a>(&'a self, ratios: &[f64]) -> Vec<(String, &'a [f64])> {
        let own = [&self.fired, &self.original, &self.transfer, &self.attribution];
        let own = COLUMNS.iter().zip(own).map(|(name, values)| ((*name).to_owned(), values.as_slice()));
        let grid = ratios.iter().zip(&self.grid).map(|(ratio, values)| (of_ratio(*ratio), values.as_slice()));
        own.chain(grid).collect()
    }
}

const COLUMNS: [&str; FIGURES] = ["fired.original", "mass.original", "mass.transfer", "attribution"];
const COUNTS: [&str; 2] = ["positions", "predicted"];

fn of_ratio(ratio: f64) -> String {
    format!("mass.pruned.{ratio}")
}

/// Blocks as a file of tensors in float64: `[blocks, latents]`, and `[blocks]` of counts.
pub fn to_safetensors(blocks: &[Block], ratios: &[f64]) -> Result<Vec<u8>> {
    let failed = |e| Error::invalid(format!("the sums of blocks of rows cannot be put in a safetensors file: {e}"));
    let d_sae = blocks.first().map_or(0, |block| block.fired.len());
    let bytes = |values: &mut dyn Iterator<Item = f64>| -> Vec<u8> { values.flat_map(f64::to_le_bytes).collect() };
    let all: Vec<_> = blocks.iter().map(|block| block.columns(ratios)).collect();
    let names = all.first().into_iter().flatten().map(|(name, _)| name.clone());
    let mut parts: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (at, name) in names.enumerate() {
        let mut values = all.iter().flat_map(|columns| columns[at].1.iter().copied());
        parts.push((name, vec![blocks.len(), d_sae], bytes(&mut values)));
    }
    for (name, of) in COUNTS.into_iter().zip([|b: &Block| b.positions, |b: &Block| b.predicted]) {
        parts.push((name.into(), vec![blocks.len()], bytes(&mut blocks.iter().map(of))));
    }
    let views = parts.iter().map(|(name, shape, bytes)| {
        Ok((name.as_str(), TensorView::new(Dtype::F64, shape.clone(), bytes).map_err(failed)?))
    });
    safetensors::serialize(views.collect::<Result<Vec<_>>>()?, None).map_err(failed)
}

/// Read again. The error says what is wrong, not where.
pub fn from_safetensors(bytes: &[u8], d_sae: usize, ratios: &[f64]) -> Result<Vec<Block>, String> {
    let tensors = safetensors::SafeTensors::deserialize(bytes).map_err(|e| format!("not a safetensors file: {e}"))?;
    let read = |name: &str| -> Result<(Vec<usize>, Vec<f64>), String> {
        let view = tensors.tensor(name).map_err(|_| format!("it has no {name}"))?;
        if view.dtype() != Dtype::F64 {
            return Err(format!("{name}: expected float64, found {:?}", view.dtype()));
        }
        let values = view.data().as_chunks::<8>().0.iter().map(|v| f64::from_le_bytes(*v)).collect();
        Ok((view.shape().to_vec(), values))
    };
    let (shape, positions) = read(COUNTS[0])?;
    let n = positions.len();
    if shape != [n] || !(FEWEST..=MOST).contains(&n) {
        return Err(format!("{}: expected {FEWEST} to {MOST} blocks, found {shape:?}", COUNTS[0]));
    }
    let whole = |name: &str, expected: &[usize]| -> Result<Vec<f64>, String> {
        let (shape, values) = read(name)?;
        match shape == expected && values.iter().all(|v| v.is_finite()) {
            true => Ok(values),
            false => Err(format!("{name}: expected {expected:?} finite numbers, found {shape:?}")),
        }
    };
    let predicted = whole(COUNTS[1], &[n])?;
    let mut blocks: Vec<Block> = positions
        .into_iter()
        .zip(predicted)
        .map(|(positions, predicted)| Block { positions, predicted, ..Block::new(d_sae, ratios.len()) })
        .collect();
    let grid = ratios.iter().map(|ratio| of_ratio(*ratio));
    for (at, name) in COLUMNS.iter().map(|name| (*name).to_owned()).chain(grid).enumerate() {
        let values = whole(&name, &[n, d_sae])?;
        for (block, values) in blocks.iter_mut().zip(values.chunks(d_sae.max(1))) {
            let column = match at {
                0 => &mut block.fired,
                1 => &mut block.original,
                2 => &mut block.transfer,
                3 => &mut block.attribution,
                at => &mut block.grid[at - FIGURES],
            };
            column.copy_from_slice(values);
        }
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_bounded_and_few_are_none() {
        assert_eq!([7, 8, 20, 1000].map(|rows| number(rows, 4096, 20)), [0, 8, 20, MOST]);
        assert_eq!(number(1000, 1 << 20, 20), 0, "too wide a dictionary");
        assert!((number(1000, 131_072, 12) * 8 * 16 * 131_072) < BYTES);
    }

    #[test]
    fn files_give_the_blocks_again_or_say_why_not() {
        let block = |at: usize| {
            let mut block = Block::new(3, 2);
            (block.positions, block.predicted) = (10.0, at as f64);
            block.fired[1] = at as f64;
            block.attribution[2] = -0.5;
            block.grid[1][0] = 1.0 + at as f64;
            block
        };
        let (blocks, ratios): (Vec<Block>, _) = ((0..8).map(block).collect(), [0.0, 0.25]);
        let bytes = to_safetensors(&blocks, &ratios).unwrap();
        assert_eq!(from_safetensors(&bytes, 3, &ratios).unwrap(), blocks);
        for (refused, words) in [
            (from_safetensors(&bytes, 4, &ratios), "expected [8, 4]"),
            (from_safetensors(&bytes, 3, &[0.0, 0.5]), "no mass.pruned.0.5"),
            (from_safetensors(&bytes[..40], 3, &ratios), "not a safetensors file"),
            (from_safetensors(&to_safetensors(&blocks[..3], &ratios).unwrap(), 3, &ratios), "8 to 24 blocks"),
        ] {
            let message = refused.unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }
}
