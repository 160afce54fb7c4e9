//! Figures made up for tests.

use prunelens_core::compare::Variant;
use prunelens_metrics::{Better, JobSpec, MetricRow, MetricTable, ParamValue};
use serde_json::json;

use super::{
    Place,
    plan::Figures,
    results::{Measured, Missing},
};

pub fn place(layer: usize) -> Place {
    Place { session: "demo".into(), compress: "wanda:0.5".into(), layer: Some(layer), seed: None }
}

pub fn missing(place: Place, metric: &str) -> Missing {
    Missing { place, name: metric.into(), metric: metric.into(), why: "not measured yet".into() }
}

/// The figures of a cell on 16 rows.
pub fn figures(
    place: Place,
    metric: &str,
    point: Option<(&str, f64)>,
    seed: Option<u64>,
    variants: &[Variant],
    figures: &[(&str, Vec<Option<f64>>)],
) -> Figures {
    let mut job = JobSpec::new(metric);
    if let Some((criterion, ratio)) = point {
        job = job.with("criterion", ParamValue::Text(criterion.into())).with("ratio", ParamValue::Number(ratio));
    }
    if let Some(seed) = seed {
        job = job.with("seed", ParamValue::Number(seed as f64));
    }
    let row = |(name, values): &(&str, Vec<Option<f64>>)| MetricRow {
        category: "made".into(),
        name: (*name).into(),
        better: if name.ends_with("score") && *name != "mean_absorption_fraction_score" {
            Better::Higher
        } else {
            Better::Lower
        },
        values: values.clone(),
    };
    let hook = format!("blocks.{}.hook_resid_post", place.layer.unwrap_or(1));
    let settings = [
        ("original on", "demo"),
        ("text", "held-out"),
        ("rows", "16"),
        ("context", "128 tokens"),
        ("hook", hook.as_str()),
    ];
    let table = MetricTable {
        metric: metric.into(),
        settings: settings.map(|(name, value)| (name.into(), value.into())).into(),
        variants: variants.into(),
        rows: figures.iter().map(row).collect(),
        warnings: Vec::new(),
        progress: 1.0,
        blocks: Vec::new(),
    };
    Figures { place, device: "cpu".into(), job, table, details: Vec::new() }
}

pub fn cell(
    place: Place,
    metric: &str,
    point: Option<(&str, f64)>,
    seed: Option<u64>,
    variants: &[Variant],
    values: &[(&str, Vec<Option<f64>>)],
) -> Measured {
    let name = [metric.to_owned()]
        .into_iter()
        .chain(point.map(|(criterion, ratio)| format!("{criterion} {ratio}")))
        .chain(seed.map(|seed| format!("seed{seed}")));
    let name = name.collect::<Vec<_>>().join(" ");
    Measured::new(
        name,
        json!({"session": {"program": "1.0.0"}}),
        figures(place, metric, point, seed, variants, values),
        false,
    )
}

/// Two cells of core: all variants at 0.25, and `pruned` at 0.5. Error, KL and loss of the original, transfer, pruned 0.25,
/// pruned 0.5, trained.
pub fn core(place: Place, values: [(f64, f64, f64); 5]) -> Vec<Measured> {
    let rows = |of: &[usize]| {
        let pick = |get: fn(&(f64, f64, f64)) -> f64| -> Vec<Option<f64>> {
            of.iter().map(|at| Some(get(&values[*at])).filter(|v| v.is_finite())).collect()
        };
        [
            ("mse_per_element", pick(|v| v.0)),
            ("kl_div_with_sae", pick(|v| v.1)),
            ("ce_loss_with_sae", pick(|v| v.2)),
            ("ce_loss_score", pick(|v| 1.0 - v.1 / 10.0)),
        ]
    };
    vec![
        cell(place.clone(), "core", Some(("wanda", 0.25)), None, &Variant::ALL, &rows(&[0, 1, 2, 4])),
        cell(place, "core", Some(("wanda", 0.5)), None, &[Variant::Pruned], &rows(&[3])),
    ]
}
