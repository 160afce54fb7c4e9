//! What others say that latents are: explanations as Neuronpedia exports them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Explanations of latents of one SAE.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// Where they are from, as it is shown.
    pub from: String,
    pub texts: BTreeMap<u32, String>,
}
