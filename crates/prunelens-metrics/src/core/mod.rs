//! The core metric: how well an SAE reconstructs activations, and what the model's predictions lose by it.
//!
//! Names, formulas and masks are SAEBench's, so that figures can be compared with published ones. All variants are
//! measured at once: they share the rows, the passes of their model, and the figures of weights they have in common.

pub mod activation;
pub mod blocks;
pub mod downstream;
pub mod evaluate;
pub mod inputs;
pub mod job;
pub mod options;
pub mod pass;
pub mod report;
pub mod result;
pub mod run;
mod summary;
pub mod weights;

pub use blocks::{Block, Blocks};
pub use job::CoreJob;
pub use options::CoreOptions;
pub use result::{CoreResult, FIGURES, OWN_FIGURES};
pub use run::{CoreRun, check_comparable};

/// What to measure on. Names are those of SAEBench's `CoreEvalConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct CoreSpec {
    /// Rows in a batch. `mse` and two other figures depend on it.
    pub batch_size_prompts: usize,
    /// Batches that losses and divergences are measured on.
    pub n_eval_reconstruction_batches: usize,
    /// Batches that reconstructions and latents are measured on.
    pub n_eval_sparsity_variance_batches: usize,
    /// Tokens in a row.
    pub context_size: usize,
    /// Splice reconstructions at ordinary tokens only.
    pub exclude_special_tokens_from_reconstruction: bool,
    /// Where the text comes from.
    pub dataset: String,
}

impl CoreSpec {
    /// As many whole batches of `batch` rows as `rows` rows give, for both parts; fewer rows than a batch are one batch.
    pub fn over(rows: usize, context: usize, batch: usize, dataset: impl Into<String>) -> Self {
        let batch = batch.clamp(1, rows.max(1));
        Self {
            batch_size_prompts: batch,
            n_eval_reconstruction_batches: rows / batch,
            n_eval_sparsity_variance_batches: rows / batch,
            context_size: context,
            exclude_special_tokens_from_reconstruction: true,
            dataset: dataset.into(),
        }
    }

    /// Batches that are read in all.
    pub fn batches(&self) -> usize {
        self.n_eval_reconstruction_batches.max(self.n_eval_sparsity_variance_batches)
    }

    /// Rows that are run through the models; both parts begin at row 0.
    pub fn rows(&self) -> usize {
        self.batches() * self.batch_size_prompts
    }
}
