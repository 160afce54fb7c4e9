//! Feature absorption on the first-letter task: does a letter's own latent stay silent on words where a more specific
//! latent carries the letter?
//!
//! Names, formulas and thresholds are SAEBench's. Words come from the tokenizer's own vocabulary. Words, prompts and
//! splits are the same for all variants; those that read one model share its activations and the ground-truth probe too.

pub mod calculator;
pub mod directions;
pub mod job;
pub mod latents;
pub mod logistic;
pub mod options;
pub mod probe;
pub mod prompts;
pub mod report;
pub mod result;
pub mod run;
pub mod scores;
pub mod sparse;
mod state;
mod summary;
pub mod words;

pub use job::AbsorptionJob;
pub use options::AbsorptionOptions;
pub use result::{AbsorptionResult, LetterResult};
pub use run::AbsorptionRun;

/// The classes of the task.
pub const LETTERS: usize = 26;

/// `a` to `z`.
pub fn letter(class: usize) -> char {
    char::from(b'a' + class as u8)
}

/// What to measure. Names are those of SAEBench's `AbsorptionEvalConfig` where it has them.
#[derive(Clone, Debug, PartialEq)]
pub struct AbsorptionSpec {
    /// Of the split of words and of probes.
    pub random_seed: u64,
    /// By how much the F1 of k latents must exceed the best so far for the letter to count as split among k.
    pub f1_jump_threshold: f64,
    /// Most latents of a k-sparse probe.
    pub max_k_value: usize,
    /// Weight of the L1 loss of the probe that ranks latents.
    pub k_sparse_probe_l1_decay: f64,
    /// Rows in a batch of that probe.
    pub k_sparse_probe_batch_size: usize,
    /// Passes of that probe over the words.
    pub k_sparse_probe_num_epochs: usize,
    /// A letter counts if its ground-truth probe's F1 is above this.
    pub min_gt_probe_f1: f64,
    /// Fewer letters than this are no result.
    pub min_feats_for_eval: usize,
    /// Most words taken from the vocabulary; `None` takes all, as SAEBench does.
    pub max_words: Option<usize>,
}

impl Default for AbsorptionSpec {
    fn default() -> Self {
        Self {
            random_seed: 42,
            f1_jump_threshold: 0.03,
            max_k_value: 10,
            k_sparse_probe_l1_decay: 0.01,
            k_sparse_probe_batch_size: 4096,
            k_sparse_probe_num_epochs: 50,
            min_gt_probe_f1: 0.6,
            min_feats_for_eval: 20,
            max_words: None,
        }
    }
}
