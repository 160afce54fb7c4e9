//! Sums over all positions read so far: what a job keeps when it is stopped.

use prunelens_core::sae::Latents;
use serde::{Deserialize, Serialize};

use super::{blocks::Block, heirs::Heirs, moments::Moments, read::Batch, scaling::Scaling, tokens::TokenMass};

/// Of every latent. Batches are added one after the other, so that stopping between them changes no bit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sums {
    /// Counted, left out, and those that predict a token.
    pub positions: u64,
    pub masked: u64,
    pub predicted: u64,
    /// Of the original model, over those that predict.
    pub loss: f64,
    pub original: Vec<Moments>,
    pub transfer: Vec<Moments>,
    pub pruned: Vec<Moments>,
    /// Of the trained SAE's own latents.
    pub trained: Vec<Moments>,
    /// Sum of the products with the activation in transfer, in pruned, and of the match in trained.
    pub products: Vec<[f64; 3]>,
    /// Mass at each ratio.
    pub grid: Vec<Vec<f64>>,
    pub tokens: TokenMass,
    /// Gradient of the loss by each activation, times the activation.
    pub attribution: Vec<f64>,
    /// Firings in original that this is of.
    pub traced: Vec<u64>,
    /// Where lost mass went.
    pub heirs: Heirs,
    pub scaling: Vec<Scaling>,
    /// The same of some rows at a time, where they are few enough.
    pub blocks: Vec<Block>,
}

impl Sums {
    /// Of no position yet; `trained` is the size of the trained SAE's dictionary, 0 without one.
    pub fn new(d_sae: usize, trained: usize, ratios: usize, blocks: usize) -> Self {
        let moments = |n| vec![Moments::default(); n];
        Self {
            positions: 0,
            masked: 0,
            predicted: 0,
            loss: 0.0,
            original: moments(d_sae),
            transfer: moments(d_sae),
            pruned: moments(d_sae),
            trained: moments(trained),
            products: vec![[0.0; 3]; d_sae],
            grid: vec![vec![0.0; d_sae]; ratios],
            tokens: TokenMass::default(),
            attribution: vec![0.0; d_sae],
            traced: vec![0; d_sae],
            heirs: Heirs::default(),
            scaling: vec![Scaling::default(); d_sae],
            blocks: vec![Block::new(d_sae, ratios); blocks],
        }
    }

    /// Size of the dictionary.
    pub fn d_sae(&self) -> usize {
        self.original.len()
    }

    /// Whether sums that were read are of the same dictionaries and ratios.
    pub fn fits(&self, other: &Self) -> bool {
        let sizes = |sums: &Self| {
            let moments = [&sums.original, &sums.transfer, &sums.pruned, &sums.trained].map(Vec::len);
            let rest = [sums.products.len(), sums.attribution.len(), sums.traced.len(), sums.scaling.len()];
            (moments, rest, sums.grid.iter().map(Vec::len).collect::<Vec<_>>())
        };
        let blocks = self.blocks.len() == other.blocks.len()
            && self.blocks.iter().zip(&other.blocks).all(|(block, other)| block.fits(other));
        blocks && sizes(self) == sizes(other) && self.tokens.fits(other.d_sae()) && self.heirs.fits(other.d_sae())
    }

    /// The next rows, all of one block. `matches` are the trained SAE's latents that stand for each of the original's.
    pub fn add(&mut self, batch: &Batch, block: Option<usize>, matches: &[u32]) {
        if let Some(block) = block.and_then(|at| self.blocks.get_mut(at)) {
            block.add(batch);
        }
        for position in 0..batch.tokens.len() {
            self.add_position(batch, position, matches);
        }
        for (sums, masses) in self.grid.iter_mut().zip(&batch.grid) {
            sums.iter_mut().zip(masses).for_each(|(sum, mass)| *sum += mass);
        }
        batch.bequests.iter().for_each(|bequest| self.heirs.add(*bequest));
        self.positions += batch.tokens.len() as u64;
        self.masked += batch.masked as u64;
        self.predicted += batch.predicted as u64;
        self.loss += batch.loss;
    }

    fn add_position(&mut self, batch: &Batch, position: usize, matches: &[u32]) {
        // Fewer than 2^32 in all: the job sees to it.
        let (at, token) = (self.positions as u32 + position as u32, batch.tokens[position]);
        let latents = &batch.original;
        for entry in latents.offsets[position]..latents.offsets[position + 1] {
            let (latent, value) = (latents.indices[entry], latents.values[entry]);
            if value <= 0.0 {
                continue;
            }
            let index = latent as usize;
            self.original[index].add(value, at);
            self.tokens.add(0, latent, token, value);
            self.traced[index] += u64::from(position < batch.traced);
            self.attribution[index] += f64::from(batch.slopes[entry]) * f64::from(value);
            self.scaling[index].add(&batch.scaling[entry]);
            let matched = batch.trained.as_ref().zip(matches.get(index));
            let others = [
                batch.transfer.get(position, latent),
                batch.pruned.get(position, latent),
                matched.map_or(0.0, |(latents, latent)| latents.get(position, *latent)),
            ];
            for (sum, other) in self.products[index].iter_mut().zip(others) {
                *sum += f64::from(value) * f64::from(other.max(0.0));
            }
        }
        for (latent, value) in active(&batch.transfer, position) {
            self.transfer[latent as usize].add(value, at);
            self.tokens.add(1, latent, token, value);
        }
        for (latent, value) in active(&batch.pruned, position) {
            self.pruned[latent as usize].add(value, at);
        }
        for (latent, value) in batch.trained.iter().flat_map(|latents| active(latents, position)) {
            self.trained[latent as usize].add(value, at);
        }
    }
}

/// What fires at a position.
fn active(latents: &Latents, position: usize) -> impl Iterator<Item = (u32, f32)> {
    let (indices, values) = latents.row(position);
    indices.iter().copied().zip(values.iter().copied()).filter(|(_, value)| *value > 0.0)
}
