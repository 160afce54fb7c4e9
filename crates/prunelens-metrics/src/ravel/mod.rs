//! RAVEL: can some latents change one attribute of an entity and leave its others alone?
//!
//! A mask over latents is trained (MDBM): at the last token of the entity the latents it selects are taken from another
//! entity's prompt, and the model must then answer with that entity's attribute (cause) where the prompt asks for the
//! attribute in question, and as before (isolation) where it asks for another. Rules and names are SAEBench's.

pub mod completion;
pub mod facts;
pub mod job;
pub mod mask;
pub mod options;
pub mod pairs;
pub mod prompts;
pub mod report;
pub mod run;
pub mod state;
mod summary;

pub use job::RavelJob;
pub use options::RavelOptions;
pub use run::RavelRun;

/// What to measure on. Names are those of SAEBench's `RAVELEvalConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct RavelSpec {
    /// Attributes of each entity class.
    pub entity_attribute_selection: Vec<(String, Vec<String>)>,
    /// Entities kept: those with the most prompts that the model answers right.
    pub top_n_entities: usize,
    /// Prompts asked, drawn from all.
    pub full_dataset_downsample: Option<usize>,
    /// Pairs of prompts for cause, and as many for isolation.
    pub num_pairs_per_attribute: usize,
    /// Share of the pairs that the mask is trained on.
    pub train_test_split: f64,
    /// Pairs in a batch.
    pub llm_batch_size: usize,
    /// Of Adam.
    pub learning_rate: f64,
    /// Passes over the pairs.
    pub num_epochs: usize,
    /// Tokens of an answer.
    pub n_generated_tokens: usize,
    /// Of all that is drawn.
    pub random_seed: u64,
}

impl Default for RavelSpec {
    fn default() -> Self {
        Self {
            entity_attribute_selection: Vec::new(),
            top_n_entities: 500,
            full_dataset_downsample: None,
            num_pairs_per_attribute: 5000,
            train_test_split: 0.7,
            llm_batch_size: 8,
            learning_rate: 1e-3,
            num_epochs: 2,
            n_generated_tokens: 6,
            random_seed: 42,
        }
    }
}
