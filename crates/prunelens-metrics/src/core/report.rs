//! A core result as SAEBench's file has it.

use candle_core::DType;
use serde_json::{Map, Value, json};

use super::{
    CoreSpec,
    result::{CoreResult, FIGURES, Figure, OWN, OWN_FIGURES, is_count},
};
use crate::report::{Identity, ResultFile, RunStamp, llm_dtype, number, rounded};

/// The file of one variant.
pub fn result_file(
    spec: &CoreSpec,
    dtype: DType,
    identity: &Identity,
    stamp: &RunStamp,
    result: &CoreResult,
) -> ResultFile {
    ResultFile {
        eval_config: config(spec, dtype, &identity.model_name),
        eval_result_metrics: categories(FIGURES, result),
        eval_result_details: details(result),
        eval_result_unstructured: json!({ OWN: categories(OWN_FIGURES, result)[OWN] }),
        ..ResultFile::new("core", identity, stamp)
    }
}

fn config(spec: &CoreSpec, dtype: DType, model_name: &str) -> Value {
    json!({
        "model_name": model_name,
        "llm_dtype": llm_dtype(dtype),
        "batch_size_prompts": spec.batch_size_prompts,
        "n_eval_reconstruction_batches": spec.n_eval_reconstruction_batches,
        "n_eval_sparsity_variance_batches": spec.n_eval_sparsity_variance_batches,
        "dataset": spec.dataset,
        "context_size": spec.context_size,
        "compute_kl": true,
        "compute_ce_loss": true,
        "compute_l2_norms": true,
        "compute_sparsity_metrics": true,
        "compute_variance_metrics": true,
        "compute_featurewise_density_statistics": true,
        "compute_featurewise_weight_based_metrics": true,
        "exclude_special_tokens_from_reconstruction": spec.exclude_special_tokens_from_reconstruction,
        "verbose": false,
    })
}

/// Category objects in the order of `figures`.
fn categories(figures: &[Figure], result: &CoreResult) -> Value {
    let mut categories = Map::new();
    for figure in figures {
        let value = (figure.get)(result);
        let value = if is_count(figure) { Value::from(value as u64) } else { number(value) };
        if let Value::Object(category) = categories.entry(figure.category).or_insert_with(|| json!({})) {
            category.insert(figure.name.into(), value);
        }
    }
    Value::Object(categories)
}

fn details(result: &CoreResult) -> Value {
    let (density, weights) = (&result.density, &*result.weights);
    let at = |values: &[f64], latent: usize| rounded(values.get(latent).copied().unwrap_or(f64::NAN));
    let latents = (0..density.density.len()).map(|i| {
        json!({
            "index": i,
            "feature_density": at(&density.density, i),
            "consistent_activation_heuristic": at(&density.consistent_activation_heuristic, i),
            "encoder_bias": at(&weights.encoder_bias, i),
            "encoder_norm": at(&weights.encoder_norm, i),
            "encoder_decoder_cosine_sim": at(&weights.encoder_decoder_cosine_sim, i),
            "max_decoder_cosine_sim": at(&weights.max_decoder_cosine_sim, i),
            "max_encoder_cosine_sim": at(&weights.max_encoder_cosine_sim, i),
        })
    });
    Value::Array(latents.collect())
}
