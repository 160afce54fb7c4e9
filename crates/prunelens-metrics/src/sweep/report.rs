//! A sweep as files of SAEBench's shape, one for each layer and variant. The family is ours: its plotting code passes it over.

use candle_core::DType;
use prunelens_core::{
    compare::Variant,
    sae::{Knob, Setting},
};
use serde_json::{Map, Value, json};

use super::{LayerResult, PointFigures, SweepSpec, knee, result::FIGURES};
use crate::{
    core::CoreSpec,
    report::{Identity, ResultFile, RunStamp, llm_dtype, number},
};

/// What the files of one run have in common.
pub struct Common<'a> {
    /// What was swept.
    pub spec: &'a SweepSpec,
    /// What was measured on.
    pub rows: &'a CoreSpec,
    /// Rows measured.
    pub documents: usize,
    /// In which the models computed.
    pub dtype: DType,
    /// Of the run.
    pub stamp: &'a RunStamp,
}

/// The file of one variant of a layer; `None` if the layer has no such variant.
pub fn result_file(common: &Common, identity: &Identity, variant: Variant, layer: &LayerResult) -> Option<ResultFile> {
    let (unpruned, points, knees) = match variant {
        Variant::Pruned => {
            let points = layer
                .curves
                .iter()
                .flat_map(|curve| curve.points.iter().map(|(at, figures)| point(Some(curve.knob.at(*at)), figures)));
            let knees =
                layer.curves.iter().map(|curve| (knee_name(curve.knob), number(curve.knee_at().unwrap_or(f64::NAN))));
            (&layer.curves.first()?.points.first()?.1, points.collect(), knees.collect())
        }
        _ => {
            let figures = &layer.fixed.iter().find(|(v, _)| *v == variant)?.1;
            (figures, vec![point(None, figures)], Map::new())
        }
    };
    let mut metrics = Map::new();
    metrics.insert("unpruned".into(), figures(unpruned));
    if variant == Variant::Pruned {
        metrics.insert("knee".into(), Value::Object(knees));
    }
    Some(ResultFile {
        eval_config: config(common, &identity.model_name),
        eval_result_metrics: Value::Object(metrics),
        eval_result_details: Value::Array(points),
        ..ResultFile::new("sweep", identity, common.stamp)
    })
}

fn config(common: &Common, model_name: &str) -> Value {
    let (spec, rows) = (common.spec, common.rows);
    let mut config = json!({
        "model_name": model_name,
        "llm_dtype": llm_dtype(common.dtype),
        "mode": spec.mode.name(),
        "ratios": spec.settings,
        "criteria": spec.knobs.iter().map(|knob| knob.rule()).collect::<Vec<_>>(),
        "batch_size_prompts": rows.batch_size_prompts,
        "rows": common.documents,
        "context_size": rows.context_size,
        "dataset": rows.dataset,
        "exclude_special_tokens_from_reconstruction": rows.exclude_special_tokens_from_reconstruction,
        "knee_rule": knee::RULE,
    });
    let knob = spec.knob();
    if !matches!(knob, Knob::Ratio(_)) {
        config["knob"] = json!(knob.name());
    }
    config
}

/// "wanda_ratio", "bits", "rank", "wanda_latents".
fn knee_name(knob: Knob) -> String {
    knob.criterion().map_or(knob.name().into(), |criterion| format!("{criterion}_{}", knob.name()))
}

fn point(setting: Option<Setting>, of: &PointFigures) -> Value {
    let mut out = Map::new();
    match setting.map(|setting| (setting.knob, setting)) {
        Some((Knob::Ratio(criterion), setting)) => {
            out.insert("criterion".into(), criterion.name().into());
            out.insert("ratio".into(), setting.at.into());
        }
        Some((_, setting)) => out.extend(setting.entries().into_iter().map(|(name, value)| (name.into(), value))),
        None => {
            out.insert("criterion".into(), Value::Null);
            out.insert("ratio".into(), 0.0.into());
        }
    }
    if let Value::Object(figures) = figures(of) {
        out.extend(figures);
    }
    Value::Object(out)
}

fn figures(of: &PointFigures) -> Value {
    FIGURES.iter().map(|figure| (figure.name.to_owned(), number((figure.get)(of)))).collect::<Map<_, _>>().into()
}
