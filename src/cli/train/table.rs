//! Figures of trained SAEs, as tables for people.

use std::path::Path;

use prunelens_core::train::{RECENT, TrainFigures};
use prunelens_metrics::core::evaluate::Evaluation;
use serde_json::Value;

use super::TrainArgs;
use crate::training::FinishedSae;

/// The figures of a training itself, as sums that forget.
const TRAINING: &str = "training, running mean";
const WIDTH: usize = TRAINING.len();

/// One SAE's figures.
pub fn table(args: &TrainArgs, folder: &Path, report: &Value) -> String {
    let figures: Option<TrainFigures> = serde_json::from_value(report["training"].clone()).ok();
    let evaluation: Option<Evaluation> = serde_json::from_value(report["held_out"].clone()).ok();
    let mut lines = vec![format!("written: {}", folder.display())];
    if let Some(figures) = &figures {
        lines.push(format!(
            "trained on {} tokens in {} steps, {:.0} s, {:.0} tokens/s",
            figures.tokens, figures.step, figures.seconds, figures.tokens_per_second
        ));
    }
    let beside = if evaluation.is_some() { "held out" } else { "" };
    lines.push(format!("{:<22} {TRAINING:>WIDTH$} {beside:>10}", "").trim_end().to_owned());
    let mut row = |name: &str, trained: Option<f64>, held_out: Option<f64>| {
        if trained.is_none() && held_out.is_none() {
            return;
        }
        let cell = |value: Option<f64>| value.map_or_else(|| "-".into(), |v| format!("{v:.4}"));
        let held_out = if evaluation.is_some() { cell(held_out) } else { String::new() };
        lines.push(format!("{name:<22} {:>WIDTH$} {held_out:>10}", cell(trained)).trim_end().to_owned());
    };
    let trained = |get: fn(&TrainFigures) -> f64| figures.as_ref().map(get);
    let held = |get: fn(&Evaluation) -> f64| evaluation.as_ref().map(get);
    row("explained variance", trained(|f| f.explained_variance), held(|e| e.explained_variance));
    row("mse", trained(|f| f.mse), held(|e| e.mse));
    row("L0", trained(|f| f.l0), held(|e| e.l0));
    row("dead", trained(|f| f.dead), held(|e| e.dead));
    row("ce_loss_score", None, held(|e| e.ce_loss_score));
    row("ce_loss_without_sae", None, held(|e| e.ce_loss_without_sae));
    row("ce_loss_with_sae", None, held(|e| e.ce_loss_with_sae));
    row("ce_loss_with_ablation", None, held(|e| e.ce_loss_with_ablation));
    lines.push(note(args, report, TRAINING));
    lines.join("\n")
}

/// What the figures are of, those of the training itself by the name they have.
fn note(args: &TrainArgs, report: &Value, training: &str) -> String {
    let tokens = if args.tuning.exclude_bos { "ordinary" } else { "all" };
    let training =
        format!("{training}: over about the last {RECENT} steps, on {tokens} tokens, while the SAE still changed");
    match report["data"]["held_out"].as_str() {
        Some(measured) => {
            format!("held out: {measured}; BOS and other special tokens count in the losses alone\n{training}")
        }
        None => format!("the text is too short to hold any of it out: give --eval-text\n{training}"),
    }
}

/// Several SAEs, a line each.
pub fn tables(args: &TrainArgs, all: &[FinishedSae]) -> String {
    let width = all.iter().map(|sae| sae.name.chars().count()).max().unwrap_or(0).max(4);
    let mut lines = vec![
        format!("written: {} SAEs in {}", all.len(), args.out.display()),
        format!(
            "{:width$} {:>19} {:>19} {:>8} {:>8} {:>14}",
            "", "explained variance", "held out", "L0", "dead", "ce_loss_score"
        ),
    ];
    let number = |report: &Value, of: &str, name: &str| report[of][name].as_f64();
    for FinishedSae { name, report, .. } in all {
        let cell = |value: Option<f64>| value.map_or_else(|| "-".into(), |v| format!("{v:.4}"));
        lines.push(format!(
            "{:width$} {:>19} {:>19} {:>8} {:>8} {:>14}",
            name,
            cell(number(report, "training", "explained_variance")),
            cell(number(report, "held_out", "explained_variance")),
            number(report, "training", "l0").map_or_else(|| "-".into(), |v| format!("{v:.1}")),
            cell(number(report, "training", "dead")),
            cell(number(report, "held_out", "ce_loss_score")),
        ));
    }
    if let Some(FinishedSae { report, .. }) = all.first() {
        let rate = number(report, "training", "tokens_per_second").unwrap_or(0.0) * all.len() as f64;
        lines.push(format!("{rate:.0} tokens/s summed over all of them"));
        lines.push(note(args, report, "explained variance, L0 and dead are running means of the training"));
    }
    lines.join("\n")
}
