//! What tells the families apart: keys of `config.json` and names of tensors.

mod gemma;
mod gpt2;
mod llama;
mod neox;

use std::borrow::Cow;

use serde_json::Value;

use super::{
    config::{Config, Keys},
    known::{self, Table, Use},
    weights::check_quantisation,
};
use crate::error::Result;

/// Names of a family's tensors, without the prefix that some files carry.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Prefixes tried in turn; the first is the one under which pruned weights are reported.
    pub prefixes: &'static [&'static str],
    /// The embedding's matrix.
    pub embed: &'static str,
    /// The table of learned positions, where there is one.
    pub positions: Option<&'static str>,
    /// The norm before the output matrix.
    pub ln_final: &'static str,
    /// Output matrix; its absence means that it is tied to the embedding. Never prefixed.
    pub unembed: &'static str,
    /// `{}` is the layer.
    pub block: &'static str,
    /// The norm before attention.
    pub ln1: &'static str,
    /// The norm before the MLP.
    pub ln2: &'static str,
    /// Norms of the outputs of attention and MLP.
    pub ln1_post: Option<&'static str>,
    /// The norm of the MLP's output.
    pub ln2_post: Option<&'static str>,
    /// Norms of each head's queries and keys.
    pub qk_norms: Option<[&'static str; 2]>,
    /// Added to the weight of every norm.
    pub norm_offset: f32,
    /// Matrices whose outputs follow each other: queries, keys, values.
    pub qkv: &'static [&'static str],
    /// The one matrix of queries, keys and values has them head by head.
    pub qkv_by_head: bool,
    /// Rows of queries and keys that are rotated together stand side by side.
    pub rotary_pairs: bool,
    /// The output matrix of attention.
    pub o: &'static str,
    /// Matrices whose outputs follow each other: gate (if any), input.
    pub mlp_in: &'static [&'static str],
    /// The output matrix of the MLP.
    pub mlp_out: &'static str,
    /// Matrices are stored `[in, out]`.
    pub conv1d: bool,
}

/// What families take for granted unless they say otherwise.
pub const PLAIN: Names = Names {
    prefixes: &[""],
    embed: "",
    positions: None,
    ln_final: "",
    unembed: "",
    block: "",
    ln1: "",
    ln2: "",
    ln1_post: None,
    ln2_post: None,
    qk_norms: None,
    norm_offset: 0.0,
    qkv: &[],
    qkv_by_head: false,
    rotary_pairs: false,
    o: "",
    mlp_in: &[],
    mlp_out: "",
    conv1d: false,
};

/// A model family: where its weights are, what its config says, and what holds where the config says nothing.
pub struct Family {
    /// Of its tensors.
    pub names: Names,
    /// Reads its `config.json`.
    pub config: fn(Keys) -> Result<Config>,
    /// What transformers' configuration class takes for keys that are left out, as JSON. Token ids are the tokenizer's.
    pub defaults: &'static str,
    /// Its keys beyond those of every family.
    pub keys: &'static [Table<'static>],
}

/// The family of a `config.json`.
pub fn family(keys: Keys) -> Result<&'static Family> {
    match keys.str_or("model_type", "")? {
        "gpt2" => Ok(&gpt2::FAMILY),
        "gpt_neox" => Ok(&neox::FAMILY),
        "llama" => Ok(&llama::LLAMA),
        "mistral" => Ok(&llama::MISTRAL),
        "qwen2" => Ok(&llama::QWEN2),
        "qwen3" => Ok(&llama::QWEN3),
        "gemma2" => Ok(&gemma::GEMMA2),
        "gemma3_text" | "gemma3" => Ok(&gemma::GEMMA3),
        _ => Err(keys.refuse(
            "model_type",
            "this model family is not supported; supported are gpt2, gpt_neox, llama, mistral, qwen2, qwen3, gemma2 and gemma3",
        )),
    }
}

/// The configuration of a `config.json`; models that see images, too, keep that of their text part inside.
pub fn config(keys: Keys) -> Result<Config> {
    let family = family(keys)?;
    let compressed = check_quantisation(keys)?;
    let (value, outer) = match keys.get("text_config") {
        Some(text) if keys.str_or("model_type", "")? == "gemma3" => (text, known::check(keys, &[gemma::MULTIMODAL])?),
        _ => (keys.value, Vec::new()),
    };
    let filled = with_defaults(value, family.defaults);
    let mut config = (family.config)(Keys { value: &filled, ..keys })?;
    let warnings = known::check(Keys { value, ..keys }, family.keys)?;
    config.warnings.splice(0..0, outer.into_iter().chain(warnings).chain(compressed));
    Ok(config)
}

/// A config with what the library takes for keys that are left out; `null` is not left out.
fn with_defaults<'a>(value: &'a Value, defaults: &str) -> Cow<'a, Value> {
    let (Some(object), Ok(Value::Object(mut filled))) = (value.as_object(), serde_json::from_str(defaults)) else {
        return Cow::Borrowed(value);
    };
    filled.extend(object.iter().map(|(key, value)| (key.clone(), value.clone())));
    Cow::Owned(Value::Object(filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_objects_of_known_keys() {
        for name in ["gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text"] {
            let model_type = serde_json::json!({ "model_type": name });
            let path = std::path::Path::new("config.json");
            let family = family(Keys { value: &model_type, path }).unwrap();
            let defaults: Value = serde_json::from_str(family.defaults).unwrap();
            assert_eq!(
                known::check(Keys { value: &defaults, path }, family.keys).unwrap(),
                Vec::<String>::new(),
                "{name}"
            );
        }
    }
}
