//! Which keys of a quantisation config are known: those that every scheme may have stand here, a scheme's own beside it.

pub(super) use crate::model::known::{
    Table,
    Use::{Harmless, Only, Read},
};
use crate::{
    error::Result,
    model::{config::Keys, known},
};

/// Of every scheme.
const COMMON: Table = &[
    ("quant_method", Read),
    ("packing_format", Read),
    // Modules that are not compressed: those whose tensors are plain, as the file itself says.
    ("modules_to_not_convert", Harmless),
    ("modules_to_convert", Harmless),
    ("modules_in_block_to_quantize", Harmless),
    ("block_name_to_quantize", Harmless),
    ("to_quant_block_names", Harmless),
    ("lm_head", Harmless),
    // What wrote it, from what, and what runs it.
    ("meta", Harmless),
    ("producer", Harmless),
    ("quantizer", Harmless),
    ("autoround_version", Harmless),
    ("model_name_or_path", Harmless),
    ("model_file_base_name", Harmless),
    ("model_seqlen", Harmless),
    ("module_name_preceding_first_block", Harmless),
    ("backend", Harmless),
    ("tokenizer", Harmless),
    ("dataset", Harmless),
    ("pad_token_id", Harmless),
    ("dequantize", Harmless),
    ("run_compressed", Harmless),
    ("use_optimized_inference", Harmless),
];

/// How codes were found: it changes which codes a file holds, not what they mean. GPTQ's and auto-round's; transformers 5
/// writes GPTQ's into AWQ's configs, too.
pub(super) const SEARCH: Table = &[
    ("damp_percent", Harmless),
    ("damp_auto_increment", Harmless),
    ("true_sequential", Harmless),
    ("act_group_aware", Harmless),
    ("mse", Harmless),
    ("v2", Harmless),
    ("v2_alpha", Harmless),
    ("gptaq", Harmless),
    ("fail_safe", Harmless),
    ("batch_size", Harmless),
    ("max_input_length", Harmless),
    ("cache_block_outputs", Harmless),
    ("use_cuda_fp16", Harmless),
    ("use_exllama", Harmless),
    ("disable_exllama", Harmless),
    ("exllama_config", Harmless),
    ("iters", Harmless),
    ("lr", Harmless),
    ("minmax_lr", Harmless),
    ("nsamples", Harmless),
    ("seqlen", Harmless),
    ("gradient_accumulate_steps", Harmless),
    ("low_gpu_mem_usage", Harmless),
    ("enable_minmax_tuning", Harmless),
    ("enable_quanted_input", Harmless),
];

/// Parts of the names of keys that say what codes mean.
const MATTERS: &[&str] = &[
    "bit",
    "group",
    "size",
    "block",
    "sym",
    "zero",
    "scale",
    "type",
    "format",
    "pack",
    "layout",
    "version",
    "quant",
    "act",
    "order",
    "idx",
    "rot",
    "transform",
    "hadamard",
    "sparse",
    "sparsity",
    "rank",
    "lora",
    "adapter",
    "shift",
    "offset",
    "bias",
    "mode",
    "code",
    "table",
    "level",
    "mixed",
    "dynamic",
    "norm",
    "smooth",
];

/// Look at every key of a quantisation config, or of an object inside one; `place` is where, as messages write it.
pub(super) fn check(keys: Keys, place: &str, own: &[Table]) -> Result<Vec<String>> {
    let tables: Vec<Table> = [COMMON].iter().chain(own).copied().collect();
    known::look(keys, place, &tables, MATTERS)
}
