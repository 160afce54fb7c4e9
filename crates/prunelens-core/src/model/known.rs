//! Which keys of a config are known, and what each is to this program. A key that changes what the reference library
//! computes is read, or refused by name: none is passed over in silence.

use serde_json::{Map, Value};

use super::config::Keys;
use crate::{error::Result, text::shorten};

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Use {
    /// It is read.
    Read,
    /// It changes nothing of a forward pass.
    Harmless,
    /// The reference library does not read it either (it once did, or does for other families): a value that would
    /// change something gets a warning.
    Unread,
    /// It would change the computation: refused unless it has one of these values, as JSON.
    Only(&'static [&'static str]),
}

use Use::{Harmless, Only, Read, Unread};

/// Keys and what they are.
pub type Table<'a> = &'a [(&'a str, Use)];

/// Of every configuration of transformers 4.57 and 5 (`PretrainedConfig`), and what common tools write beside them.
const COMMON: Table<'static> = &[
    ("model_type", Read),
    ("vocab_size", Read),
    ("tie_word_embeddings", Read),
    ("bos_token_id", Read),
    ("eos_token_id", Read),
    ("pad_token_id", Read),
    // Read by `weights::quantised`, which refuses what it does not know by its name.
    ("quantization_config", Read),
    ("quantization", Read),
    ("is_encoder_decoder", Only(&["false"])),
    ("add_cross_attention", Only(&["false"])),
    ("pruned_heads", Only(&["{}"])),
    // Where files come from, and what wrote them.
    ("_name_or_path", Harmless),
    ("name_or_path", Harmless),
    ("architectures", Harmless),
    ("transformers_version", Harmless),
    ("transformers.js_config", Harmless),
    ("unsloth_fixed", Harmless),
    ("unsloth_version", Harmless),
    ("is_llama_config", Harmless),
    ("auto_map", Unread),
    // How it is run: types are chosen with --dtype, and each implementation of attention computes the same.
    ("dtype", Harmless),
    ("torch_dtype", Harmless),
    ("use_cache", Harmless),
    ("cache_implementation", Harmless),
    ("_attn_implementation", Harmless),
    ("_attn_implementation_autoset", Harmless),
    ("attn_implementation", Harmless),
    ("_flash_attn_2_enabled", Harmless),
    ("chunk_size_feed_forward", Harmless),
    ("output_attentions", Harmless),
    ("output_hidden_states", Harmless),
    ("output_scores", Harmless),
    ("return_dict", Harmless),
    ("return_dict_in_generate", Harmless),
    ("torchscript", Harmless),
    ("tf_legacy_loss", Harmless),
    ("use_bfloat16", Harmless),
    ("gradient_checkpointing", Harmless),
    // Training and other heads.
    ("initializer_range", Harmless),
    ("attention_dropout", Harmless),
    ("classifier_dropout", Harmless),
    ("id2label", Harmless),
    ("label2id", Harmless),
    ("num_labels", Harmless),
    ("_num_labels", Harmless),
    ("problem_type", Harmless),
    ("finetuning_task", Harmless),
    ("task_specific_params", Harmless),
    ("tokenizer_class", Harmless),
    ("prefix", Harmless),
    ("is_decoder", Harmless),
    ("tie_encoder_decoder", Harmless),
    ("cross_attention_hidden_size", Harmless),
    ("decoder_start_token_id", Harmless),
    ("sep_token_id", Harmless),
    // Generation.
    ("max_length", Harmless),
    ("min_length", Harmless),
    ("do_sample", Harmless),
    ("early_stopping", Harmless),
    ("num_beams", Harmless),
    ("num_beam_groups", Harmless),
    ("diversity_penalty", Harmless),
    ("temperature", Harmless),
    ("top_k", Harmless),
    ("top_p", Harmless),
    ("typical_p", Harmless),
    ("repetition_penalty", Harmless),
    ("length_penalty", Harmless),
    ("no_repeat_ngram_size", Harmless),
    ("encoder_no_repeat_ngram_size", Harmless),
    ("bad_words_ids", Harmless),
    ("num_return_sequences", Harmless),
    ("forced_bos_token_id", Harmless),
    ("forced_eos_token_id", Harmless),
    ("remove_invalid_values", Harmless),
    ("exponential_decay_length_penalty", Harmless),
    ("suppress_tokens", Harmless),
    ("begin_suppress_tokens", Harmless),
];

/// Keys of rotary settings, wherever they stand.
const ROPE: Table<'static> = &[
    ("rope_type", Read),
    ("type", Read),
    ("rope_theta", Read),
    ("factor", Read),
    ("low_freq_factor", Read),
    ("high_freq_factor", Read),
    ("original_max_position_embeddings", Read),
    ("partial_rotary_factor", Read),
    ("full_attention", Read),
    ("sliding_attention", Read),
    ("attention_factor", Only(&["1", "1.0"])),
];

/// Parts of the names of keys that change what is computed.
const MATTERS: &[&str] = &[
    "rope",
    "rotary",
    "attn",
    "attention",
    "window",
    "sliding",
    "softcap",
    "scale",
    "scaling",
    "norm",
    "bias",
    "quant",
    "layer_types",
    "head",
    "expert",
    "moe",
    "lora",
    "adapter",
    "mask",
    "position",
    "embedding",
    "multiplier",
    "residual",
    "logit",
    "parallel",
    "eps",
    "causal",
    "activation",
    "hidden",
    "cross",
    "sparse",
];

/// What a key of a family's config is, if it is known.
pub fn of(key: &str, family: &[Table]) -> Option<Use> {
    find(key, &with_common(family))
}

fn with_common<'a>(family: &[Table<'a>]) -> Vec<Table<'a>> {
    [&[COMMON], family].concat()
}

fn find(key: &str, tables: &[Table]) -> Option<Use> {
    tables.iter().copied().flatten().find(|(name, _)| *name == key).map(|(_, known)| *known)
}

/// Whether a key that is not known changes, by its name, what is computed.
pub fn matters(key: &str) -> bool {
    names(key, MATTERS)
}

fn names(key: &str, parts: &[&str]) -> bool {
    let key = key.to_lowercase();
    parts.iter().any(|part| key.contains(part))
}

/// Whether an unknown key's value says that nothing is switched on.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        _ => false,
    }
}

/// Look at every key of a config: an error for one that would change the computation, a warning for each that is not
/// known. `family` are the keys of the family beyond the common ones.
pub fn check(keys: Keys, family: &[Table]) -> Result<Vec<String>> {
    look(keys, "", &with_common(family), MATTERS)
}

/// The same for an object of rotary settings.
pub fn check_rope(keys: Keys) -> Result<Vec<String>> {
    look(keys, "", &[ROPE], &[""])
}

/// The same by tables of one's own. `place` is where the keys stand in their file, as messages write it before a key:
/// "quantization_config.", or nothing; `matters` are parts of the names of keys that are refused if they are not known.
pub fn look(keys: Keys, place: &str, tables: &[Table], matters: &[&str]) -> Result<Vec<String>> {
    let none = Map::new();
    let object = keys.value.as_object().unwrap_or(&none);
    let mut warnings = Vec::new();
    for (key, value) in object {
        let known = find(key, tables);
        let name = format!("{place}{}", shorten(key, 60));
        let shown = || format!("{name} = {}", shorten(&value.to_string(), 60));
        match known {
            Some(Read | Harmless) => {}
            Some(Only(values)) if value.is_null() || values.contains(&value.to_string().as_str()) => {}
            Some(Only(values)) => {
                let expected = if values.is_empty() { "null".to_owned() } else { values.join(" or ") };
                return Err(keys.refuse(&name, &format!("{} is not computed here; expected {expected}", shown())));
            }
            None | Some(Unread) if is_off(value) => {}
            Some(Unread) => {
                warnings.push(format!("config key {} is not read, as the reference library does not read it", shown()))
            }
            None if names(key, matters) => {
                let why = format!("{} is not known here and, by its name, changes what is computed", shown());
                return Err(keys.refuse(&name, &why));
            }
            None => warnings.push(format!("config key {} is not known and was not read", shown())),
        }
    }
    Ok(warnings)
}
