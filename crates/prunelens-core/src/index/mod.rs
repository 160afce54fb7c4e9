//! What a corpus says of every latent: where it fires in each variant, and how strongly.
//!
//! Everything that fires is kept, by token and by latent, so that examples, histograms and what fires together are all
//! read off the same table. Tokens that are special (BOS and the like) are read by the model and counted nowhere.

mod beside;
mod build;
mod bytes;
mod find;
mod fires;
mod page;

use std::sync::Arc;

pub use build::{Batch, Fired, Indexing};
pub use find::{OnWord, on_word};
pub use fires::Fires;
pub use page::{Band, Coactive, Corpus, LatentPage, Texts, example, near, page};

use crate::{compare::Variant, sae::Setting};

/// A token of the corpus.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Row of the corpus.
    pub row: u32,
    /// Token in the row.
    pub position: u32,
    /// Activation of the latent there.
    pub activation: f32,
}

/// Where the latents of all variants fire in the rows read so far.
#[derive(Clone, Debug)]
pub struct Index {
    /// The whole corpus.
    pub rows: Arc<Vec<Vec<u32>>>,
    /// How many of its rows were read.
    pub read: usize,
    /// Tokens read that are not special.
    pub tokens: u64,
    /// Of the `pruned` variant.
    pub setting: Setting,
    /// Where each row's tokens begin.
    starts: Vec<u32>,
    /// In the order of [`Variant::ALL`].
    variants: [Option<Fires>; 4],
}

impl Index {
    fn new(rows: Arc<Vec<Vec<u32>>>, setting: Setting) -> Self {
        Self { rows, read: 0, tokens: 0, setting, starts: vec![0], variants: Default::default() }
    }

    /// What another index says of the `pruned` variant, at its own setting, in the place of what is said here. False, and
    /// nothing is changed, where it was not read over as many rows.
    fn replace_pruned(&mut self, other: Self) -> bool {
        let (mut other, pruned) = (other, Variant::Pruned as usize);
        let same = other.read == self.read && other.tokens == self.tokens && other.variants[pruned].is_some();
        if same {
            self.variants[pruned] = other.variants[pruned].take();
            self.setting = other.setting;
        }
        same
    }

    /// What fires in a variant, if it is part of the session.
    pub fn fires(&self, variant: Variant) -> Option<&Fires> {
        self.variants[variant as usize].as_ref()
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> u64 {
        self.variants.iter().flatten().map(Fires::bytes).sum()
    }

    /// Share of tokens on which a latent fires in a variant.
    pub fn density(&self, variant: Variant, latent: u32) -> Option<f64> {
        let fires = self.fires(variant)?.tokens_of(latent).len();
        (self.tokens > 0).then(|| fires as f64 / self.tokens as f64)
    }

    /// A token by its number among all that were read.
    fn place(&self, token: u32, activation: f32) -> Place {
        let row = self.starts.partition_point(|start| *start <= token) - 1;
        Place { row: row as u32, position: token - self.starts[row], activation }
    }

    /// Where a latent is most active in a variant, the strongest first, each row once.
    pub fn strongest(&self, variant: Variant, latent: u32, most: usize) -> Vec<Place> {
        let Some(fires) = self.fires(variant) else { return Vec::new() };
        let mut all = fires.of(latent);
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut places: Vec<Place> = Vec::new();
        for (token, activation) in all {
            let place = self.place(token, activation);
            if places.iter().all(|known| known.row != place.row) {
                places.push(place);
            }
            if places.len() == most {
                break;
            }
        }
        places
    }
}
