//! What tells the families apart: keys of `config.json` and names of tensors.

mod gpt2;
mod llama;

use super::config::{Config, Keys};
use crate::error::Result;

/// Names of a family's tensors, without the prefix that some files carry.
pub struct Names {
    /// Prefixes tried in turn; also those under which pruned weights are reported.
    pub prefixes: &'static [&'static str],
    pub embed: &'static str,
    pub positions: Option<&'static str>,
    pub ln_final: &'static str,
    /// Output matrix; its absence means that it is tied to the embedding. Never prefixed.
    pub unembed: &'static str,
    /// `{}` is the layer.
    pub block: &'static str,
    pub ln1: &'static str,
    pub ln2: &'static str,
    /// Matrices whose outputs follow each other: queries, keys, values.
    pub qkv: &'static [&'static str],
    pub o: &'static str,
    /// Matrices whose outputs follow each other: gate (if any), input.
    pub mlp_in: &'static [&'static str],
    pub mlp_out: &'static str,
    /// Matrices are stored `[in, out]`.
    pub conv1d: bool,
}

pub struct Family {
    pub names: Names,
    pub config: fn(Keys) -> Result<Config>,
}

/// The family of a `config.json`.
pub fn family(keys: Keys) -> Result<&'static Family> {
    match keys.str_or("model_type", "")? {
        "gpt2" => Ok(&gpt2::FAMILY),
        "llama" => Ok(&llama::FAMILY),
        _ => Err(keys.refuse("model_type", "this model family is not supported; supported are gpt2 and llama")),
    }
}
