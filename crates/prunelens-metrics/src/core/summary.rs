//! The table of a core run, with the settings a reader needs and the warnings that apply.

use prunelens_core::compare::{Reader, Variant};

use super::{CoreResult, CoreSpec, FIGURES, OWN_FIGURES};
use crate::{MetricRow, MetricTable};

/// Divergence above which the spliced model is another model.
const KL_LIMIT: f64 = 1.0;
/// Growth of the reconstruction error over the original's that has gone with broken latents.
const MSE_GROWTH: f64 = 1.2;

pub fn table(spec: &CoreSpec, readers: &[Reader], results: &[CoreResult], progress: f64) -> MetricTable {
    let variants: Vec<_> = readers.iter().map(|r| r.variant).collect();
    let rows = FIGURES.iter().chain(OWN_FIGURES).map(|figure| MetricRow {
        category: figure.category.into(),
        name: figure.name.into(),
        better: figure.better,
        values: results.iter().map(|r| Some((figure.get)(r)).filter(|v| v.is_finite())).collect(),
    });
    MetricTable {
        metric: "core".into(),
        settings: settings(spec, readers),
        rows: rows.collect(),
        warnings: warnings(&variants, results),
        variants,
        progress,
        blocks: Vec::new(),
    }
}

fn settings(spec: &CoreSpec, readers: &[Reader]) -> Vec<(String, String)> {
    let parts = match (spec.n_eval_reconstruction_batches, spec.n_eval_sparsity_variance_batches) {
        (a, b) if a == b => format!("{a} of {} rows", spec.batch_size_prompts),
        (a, b) => format!("{a} (reconstruction) and {b} (variance) of {} rows", spec.batch_size_prompts),
    };
    let spliced = if spec.exclude_special_tokens_from_reconstruction { "ordinary tokens" } else { "all tokens" };
    let mut settings = vec![
        ("text", spec.dataset.clone()),
        ("rows", spec.rows().to_string()),
        ("context", format!("{} tokens", spec.context_size)),
        ("batches", parts),
        ("mask", "special tokens left out".into()),
        ("spliced at", spliced.into()),
    ];
    settings.extend(readers.first().map(|r| ("hook", r.hook.to_string())));
    let pruning = readers.iter().find_map(|r| r.pruning.as_ref());
    settings.extend(pruning.map(|p| ("sae pruning", p.setting().words())));
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn warnings(variants: &[Variant], results: &[CoreResult]) -> Vec<String> {
    let original =
        variants.iter().position(|&v| v == Variant::Original).map(|at| results[at].activation.mse_per_element);
    let mut warnings = Vec::new();
    for (variant, result) in variants.iter().zip(results) {
        let kl = result.downstream.kl_div_with_sae;
        if kl > KL_LIMIT {
            warnings.push(format!(
                "{variant}: kl_div_with_sae is {kl:.2}, above {KL_LIMIT}: the spliced model predicts otherwise"
            ));
        }
        let growth = original.map_or(f64::NAN, |mse| result.activation.mse_per_element / mse);
        if growth > MSE_GROWTH {
            let percent = 100.0 * (growth - 1.0);
            warnings.push(format!("{variant}: reconstruction error {percent:.0} % above the original's"));
        }
        if result.downstream.ce_loss_with_ablation <= result.downstream.ce_loss_without_sae {
            warnings.push(format!("{variant}: ablation does not hurt this model here, so ce_loss_score means nothing"));
        }
    }
    warnings
}
