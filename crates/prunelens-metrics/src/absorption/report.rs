//! An absorption result as SAEBench's file has it.

use candle_core::DType;
use serde_json::{Value, json};

use super::{AbsorptionResult, AbsorptionSpec, LetterResult, prompts::TEMPLATE, result::Mean};
use crate::report::{Identity, ResultFile, RunStamp, llm_dtype, number};

/// What a run used beyond its spec.
#[derive(Clone, Debug)]
pub struct Used {
    /// Place of the word's token, counted from the end; negative.
    pub prompt_token_pos: i64,
    /// Prompts that went through the model together.
    pub llm_batch_size: usize,
    /// Rows in a batch of the probe that ranks latents.
    pub k_sparse_probe_batch_size: usize,
    /// In which the models computed.
    pub dtype: DType,
    /// Where activations were read.
    pub hook: String,
}

/// The file of one variant that could be evaluated.
pub fn result_file(
    spec: &AbsorptionSpec,
    used: &Used,
    identity: &Identity,
    stamp: &RunStamp,
    result: &AbsorptionResult,
    mean: &Mean,
) -> ResultFile {
    let counted: Vec<_> = result.letters.iter().filter(|l| l.counts).collect();
    ResultFile {
        eval_config: config(spec, used, &identity.model_name),
        eval_result_metrics: json!({ "mean": {
            "mean_absorption_fraction_score": number(mean.mean_absorption_fraction_score),
            "mean_full_absorption_score": number(mean.mean_full_absorption_score),
            "mean_num_split_features": number(mean.mean_num_split_features),
            "std_dev_absorption_fraction_score": number(mean.std_dev_absorption_fraction_score),
            "std_dev_full_absorption_score": number(mean.std_dev_full_absorption_score),
            "std_dev_num_split_features": number(mean.std_dev_num_split_features),
        }}),
        eval_result_details: counted.iter().map(|letter| detail(letter)).collect(),
        eval_result_unstructured: own(spec, used, result),
        ..ResultFile::new("absorption_first_letter", identity, stamp)
    }
}

fn config(spec: &AbsorptionSpec, used: &Used, model_name: &str) -> Value {
    json!({
        "model_name": model_name,
        "random_seed": spec.random_seed,
        "f1_jump_threshold": spec.f1_jump_threshold,
        "max_k_value": spec.max_k_value,
        "prompt_template": TEMPLATE,
        "prompt_token_pos": used.prompt_token_pos,
        "llm_batch_size": used.llm_batch_size,
        "llm_dtype": llm_dtype(used.dtype),
        "k_sparse_probe_l1_decay": spec.k_sparse_probe_l1_decay,
        "k_sparse_probe_batch_size": used.k_sparse_probe_batch_size,
        "k_sparse_probe_num_epochs": spec.k_sparse_probe_num_epochs,
        "min_GT_probe_f1": spec.min_gt_probe_f1,
        "min_feats_for_eval": spec.min_feats_for_eval,
        "eval_k_sparse_probe_batch_size": 24,
        "precalc_k_sparse_probe_sae_acts": true,
    })
}

fn detail(letter: &LetterResult) -> Value {
    json!({
        "first_letter": letter.letter().to_string(),
        "mean_absorption_fraction": number(letter.mean_absorption_fraction()),
        "full_absorption_rate": number(letter.full_absorption_rate()),
        "num_full_absorption": letter.full(),
        "num_probe_true_positives": letter.true_positives,
        "num_split_features": letter.main.len(),
    })
}

/// What SAEBench's file has no place for: which words, and what each letter rests on.
fn own(spec: &AbsorptionSpec, used: &Used, result: &AbsorptionResult) -> Value {
    let letters = result.letters.iter().map(|letter| {
        let absorbed = letter.words.iter().filter(|(_, found)| found.full).map(|(word, found)| {
            let top = found.top.map(|top| json!({ "latent": top.latent, "projection": number(top.projection()) }));
            json!({ "word": word, "probe_projection": number(found.projection), "absorbing": top })
        });
        json!({
            "first_letter": letter.letter().to_string(),
            "counts": letter.counts,
            "probe_f1": number(letter.probe_f1),
            "sparse_probe_f1": letter.sparse_f1.iter().map(|f1| number(*f1)).collect::<Value>(),
            "main_latents": letter.main,
            "absorbed_words": absorbed.collect::<Value>(),
        })
    });
    json!({ "prunelens": {
        "hook": used.hook,
        "training_words": result.basis.training_words,
        "test_words": result.basis.test_words,
        "word_cap": spec.max_words,
        "prompts_digest": format!("{:016x}", result.basis.prompts),
        "probe_digest": format!("{:016x}", result.basis.probe),
        "letters": letters.collect::<Value>(),
    }})
}
