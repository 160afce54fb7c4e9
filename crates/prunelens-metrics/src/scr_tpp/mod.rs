//! SCR and TPP: what becomes of a probe when the latents behind it are ablated.
//!
//! TPP (targeted probe perturbation): ablating the latents of one class should hurt the probe of that class and no other.
//! SCR (spurious correlation removal): a probe trained on texts in which two labels go together should get better at one
//! of them when the latents of the other are ablated. Names, formulas and draws are SAEBench's.

pub mod ablate;
pub mod scores;
pub mod scr;
pub mod tpp;

use prunelens_core::compare::Reader;
use serde_json::{Value, json};

use super::texts::{Unit, choice::Sizes, linear::Training, options::params, plan::Plan};
use crate::{Kind, Param, report::llm_dtype};

pub use scr::Scr;
pub use tpp::Tpp;

/// Numbers of latents that can be ablated: the fields of SAEBench's files.
pub const N_VALUES: [usize; 7] = [2, 5, 10, 20, 50, 100, 500];

/// The probes. Their small batches are part of the method: they decide how much of a second label a probe picks up.
pub const TRAINING: Training = Training { epochs: 20, batch: 16, lr: 1e-3, l1_penalty: 1e-3, patience: 20 };

const LATENTS: Param = Param {
    name: "latents",
    help: "Numbers of latents to ablate, of 2,5,10,20,50,100,500 [default: all]",
    kind: Kind::Counts { least: 2, most: 500 },
    default: |_| "2,5,10,20,50,100,500".into(),
    of_session: false,
};

const PARAMS: &[Param] = &params(LATENTS);

/// What the two have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Ablations {
    /// Ascending.
    pub n_values: Vec<usize>,
    /// Names of the data sets.
    pub datasets: Vec<String>,
    /// The pairs of each data set.
    pub pairs: Vec<Vec<[String; 2]>>,
    /// Real sizes: of the largest data set.
    pub sizes: Sizes,
}

impl Ablations {
    fn of(n_values: Vec<usize>, plan: &Plan, units: &[Unit]) -> Self {
        Self {
            n_values,
            datasets: plan.names(),
            pairs: plan.datasets.iter().map(|dataset| dataset.about.scr_pairs.clone()).collect(),
            sizes: plan.real_sizes(units),
        }
    }

    /// SAEBench's shared config.
    fn config(&self, perform_scr: bool, reader: &Reader, model_name: &str) -> Value {
        let pairs: serde_json::Map<String, Value> =
            self.datasets.iter().cloned().zip(self.pairs.iter().map(|pairs| json!(pairs))).collect();
        json!({
            "random_seed": self.sizes.seed,
            "dataset_names": self.datasets,
            "perform_scr": perform_scr,
            "early_stopping_patience": TRAINING.patience,
            "train_set_size": self.sizes.train,
            "test_set_size": self.sizes.test,
            "context_length": self.sizes.context,
            "probe_train_batch_size": TRAINING.batch,
            "probe_test_batch_size": 500,
            "probe_epochs": TRAINING.epochs,
            "probe_lr": TRAINING.lr,
            "probe_l1_penalty": TRAINING.l1_penalty,
            "sae_batch_size": 125,
            "llm_batch_size": null,
            "llm_dtype": llm_dtype(reader.model.dtype),
            "lower_vram_usage": false,
            "model_name": model_name,
            "n_values": self.n_values,
            "column1_vals_lookup": pairs,
        })
    }
}
