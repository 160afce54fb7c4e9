//! What is left of a run: the SAE in its folder, figures on held-out text, and a table for people.

use std::{path::Path, sync::Arc};

use prunelens_core::{
    error::Result,
    model::{Model, Tokenizer},
    progress::Tick,
    sae::formats,
    text::safe,
    train::{TrainFigures, finish::Trainee, report},
};
use prunelens_metrics::core::evaluate::{Evaluation, evaluate};
use serde_json::{Value, json};

use super::{TrainArgs, vary::Member};

/// What an SAE is called and where it comes from.
pub fn trainee<'a>(
    args: &TrainArgs,
    member: &Member,
    hook: prunelens_core::model::HookPoint,
    model: &'a Model,
    context: usize,
) -> Trainee<'a> {
    let names: Vec<_> = args.text.iter().filter_map(|p| p.file_name()).map(|n| safe(&n.to_string_lossy())).collect();
    Trainee {
        name: member.folder.file_name().map_or_else(|| "sae".into(), |n| safe(&n.to_string_lossy())),
        model,
        hook,
        bos: !args.tuning.no_bos,
        context,
        text: names.join(", "),
    }
}

/// Measure an SAE on rows that it was not trained on, unless its report has that already. What is measured is what was saved,
/// rounded to 16 bits or not.
pub fn measure(
    model: &Arc<Model>,
    tokenizer: &Tokenizer,
    folder: &Path,
    rows: &[Vec<u32>],
    listen: &mut dyn FnMut(usize, usize),
    tick: Tick,
) -> Result<Value> {
    let mut report = report::read(folder)?;
    if report.get("held_out").is_none() && !rows.is_empty() {
        let sae = Arc::new(formats::load(folder)?);
        report["held_out"] = json!(evaluate(model, tokenizer, sae, rows.to_vec(), listen, tick)?);
        report::write(folder, &report)?;
    }
    Ok(report)
}

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
    lines.push(format!("{:<22} {:>10} {:>10}", "", "training", if evaluation.is_some() { "held out" } else { "" }));
    let mut row = |name: &str, trained: Option<f64>, held_out: Option<f64>| {
        if trained.is_none() && held_out.is_none() {
            return;
        }
        let cell = |value: Option<f64>| value.map_or_else(|| "-".into(), |v| format!("{v:.4}"));
        let held_out = if evaluation.is_some() { cell(held_out) } else { String::new() };
        lines.push(format!("{name:<22} {:>10} {held_out:>10}", cell(trained)).trim_end().to_owned());
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
    lines.push(note(args, report));
    lines.join("\n")
}

/// What the figures are of.
fn note(args: &TrainArgs, report: &Value) -> String {
    match report["data"]["held_out"].as_str() {
        Some(measured) => format!(
            "held out: {measured}; BOS and other special tokens count in the losses alone. Training figures are of {} tokens",
            if args.tuning.exclude_bos { "ordinary" } else { "all" }
        ),
        None => "the text is too short to hold any of it out: give --eval-text".into(),
    }
}

/// Several SAEs, a line each.
pub fn tables(args: &TrainArgs, all: &[(&Member, Value)]) -> String {
    let width = all.iter().map(|(member, _)| member.name.chars().count()).max().unwrap_or(0).max(4);
    let mut lines = vec![
        format!("written: {} SAEs in {}", all.len(), args.out.display()),
        format!(
            "{:width$} {:>19} {:>19} {:>8} {:>8} {:>14}",
            "", "explained variance", "held out", "L0", "dead", "ce_loss_score"
        ),
    ];
    let number = |report: &Value, of: &str, name: &str| report[of][name].as_f64();
    for (member, report) in all {
        let cell = |value: Option<f64>| value.map_or_else(|| "-".into(), |v| format!("{v:.4}"));
        lines.push(format!(
            "{:width$} {:>19} {:>19} {:>8} {:>8} {:>14}",
            member.name,
            cell(number(report, "training", "explained_variance")),
            cell(number(report, "held_out", "explained_variance")),
            number(report, "training", "l0").map_or_else(|| "-".into(), |v| format!("{v:.1}")),
            cell(number(report, "training", "dead")),
            cell(number(report, "held_out", "ce_loss_score")),
        ));
    }
    if let Some((_, report)) = all.first() {
        let rate = number(report, "training", "tokens_per_second").unwrap_or(0.0) * all.len() as f64;
        lines.push(format!("{rate:.0} tokens/s summed over all of them"));
        lines.push(note(args, report));
    }
    lines.join("\n")
}
