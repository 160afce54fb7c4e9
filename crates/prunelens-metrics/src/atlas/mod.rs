//! The whole dictionary over a corpus: for every latent of the SAE what becomes of it when the model, and the SAE itself, are
//! pruned. One row a latent, one column a figure; `docs/atlas.md` defines each.
//!
//! Activations are captured once a model; every variant and every ratio is an encode of them. All statistics are streamed: what
//! is held does not grow with the text, but for the tokens that each latent fires on.

mod blocks;
mod columns;
pub mod fate;
mod files;
mod heirs;
mod importance;
pub mod job;
mod moments;
mod open;
pub mod options;
mod read;
mod readers;
pub mod report;
mod scaling;
mod summary;
mod sums;
mod tokens;
mod top;
mod weights;

pub use blocks::Block;
pub use fate::Fate;
pub use job::AtlasJob;
pub use open::{About, Atlas};
pub use options::AtlasOptions;

/// Ratios if none are chosen.
pub const RATIOS: [f64; 10] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/// What an atlas is asked to do.
#[derive(Clone, Debug, PartialEq)]
struct Spec {
    /// Settings of the knob at which the SAE's mass is measured, from the untouched SAE on.
    ratios: Vec<f64>,
    /// Of the `pruned` variant.
    setting: prunelens_core::sae::Setting,
    /// Rows that are read together.
    batch: usize,
    /// Tokens in a row.
    context: usize,
    /// The first rows, of which importance is measured.
    traced: usize,
    /// Where the text comes from.
    dataset: String,
}
