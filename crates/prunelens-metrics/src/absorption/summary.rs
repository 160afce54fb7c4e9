//! The table of an absorption run, its warnings, and what there is to see of each letter.

use prunelens_core::{compare::Variant, model::Site};

use super::{AbsorptionResult, AbsorptionRun, result::Mean};
use crate::{Better, Detail, MetricRow, MetricTable, details::Cell};

/// Rise of a score over the original's that is worth a warning: both relative and absolute.
const RISE: (f64, f64) = (1.2, 0.02);
/// Below this mean F1 of the letters' best latents there is no first-letter latent whose words could be absorbed.
const LATENT_F1: f64 = 0.3;
/// Absorbed words shown for a letter.
const WORDS: usize = 12;

type Row = (&'static str, &'static str, Better, fn(&AbsorptionResult) -> Option<f64>);

fn mean(result: &AbsorptionResult, value: fn(&Mean) -> f64) -> Option<f64> {
    result.mean.as_ref().map(value)
}

const ROWS: &[Row] = &[
    ("mean", "mean_absorption_fraction_score", Better::Lower, |r| mean(r, |m| m.mean_absorption_fraction_score)),
    ("mean", "mean_full_absorption_score", Better::Lower, |r| mean(r, |m| m.mean_full_absorption_score)),
    ("mean", "mean_num_split_features", Better::Lower, |r| mean(r, |m| m.mean_num_split_features)),
    ("mean", "std_dev_absorption_fraction_score", Better::Neither, |r| {
        mean(r, |m| m.std_dev_absorption_fraction_score)
    }),
    ("mean", "std_dev_full_absorption_score", Better::Neither, |r| mean(r, |m| m.std_dev_full_absorption_score)),
    ("mean", "std_dev_num_split_features", Better::Neither, |r| mean(r, |m| m.std_dev_num_split_features)),
    ("prunelens", "letters_counted", Better::Neither, |r| {
        (!r.letters.is_empty()).then(|| r.letters.iter().filter(|l| l.counts).count() as f64)
    }),
    ("prunelens", "probe_f1", Better::Higher, |r| over_letters(r, |l| Some(l.probe_f1))),
    ("prunelens", "best_latent_f1", Better::Higher, best_latent_f1),
    ("prunelens", "known_words", Better::Neither, |r| {
        (!r.letters.is_empty()).then(|| r.letters.iter().map(|l| l.true_positives as f64).sum())
    }),
];

/// Mean over all letters, once it is known of each.
fn over_letters(result: &AbsorptionResult, value: fn(&super::LetterResult) -> Option<f64>) -> Option<f64> {
    let values: Option<Vec<f64>> = result.letters.iter().map(value).collect();
    values.filter(|v| !v.is_empty()).map(|v| v.iter().sum::<f64>() / v.len() as f64)
}

fn best_latent_f1(result: &AbsorptionResult) -> Option<f64> {
    over_letters(result, |l| l.sparse_f1.first().copied())
}

pub fn table(run: &AbsorptionRun, results: &[AbsorptionResult], progress: f64) -> MetricTable {
    let rows = ROWS.iter().map(|&(category, name, better, value)| MetricRow {
        category: category.into(),
        name: name.into(),
        better,
        values: results.iter().map(|r| value(r).filter(|v| v.is_finite())).collect(),
    });
    MetricTable {
        metric: "absorption".into(),
        settings: settings(run),
        variants: results.iter().map(|r| r.variant).collect(),
        rows: rows.collect(),
        warnings: warnings(run, results),
        progress,
        blocks: Vec::new(),
    }
}

fn settings(run: &AbsorptionRun) -> Vec<(String, String)> {
    let spec = run.spec();
    let mut settings = Vec::new();
    if let Some(prompts) = run.prompts() {
        let (training, test) = (prompts.training, prompts.test_words().len());
        settings.push((
            "words",
            format!("{training} to train on, {test} to test, of {} in the vocabulary", prompts.vocabulary),
        ));
        settings.push((
            "prompts",
            format!("{} tokens, the word is token -{}, seed {}", prompts.length(), prompts.from_end, spec.random_seed),
        ));
    }
    if let Some(prompts) = run.prompts() {
        let batch = prompts.latent_batch(spec.k_sparse_probe_batch_size);
        let why = if batch < spec.k_sparse_probe_batch_size {
            format!(", for as many steps as SAEBench's {} on the whole vocabulary", spec.k_sparse_probe_batch_size)
        } else {
            String::new()
        };
        settings.push((
            "latent probes",
            format!("{} epochs, batches of {batch} words{why}", spec.k_sparse_probe_num_epochs),
        ));
    }
    settings.extend(run.readers().first().map(|r| ("read at", r.hook.to_string())));
    settings.push((
        "gate",
        format!("at least {} letters whose probe has an F1 above {}", spec.min_feats_for_eval, spec.min_gt_probe_f1),
    ));
    settings.push(("passes", "one a word and model, one more a word that its probe knows; variants share them".into()));
    let pruning = run.readers().iter().find_map(|r| r.pruning.as_ref());
    settings.extend(pruning.map(|p| ("sae pruning", p.setting().words())));
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn warnings(run: &AbsorptionRun, results: &[AbsorptionResult]) -> Vec<String> {
    let spec = run.spec();
    let mut warnings = Vec::new();
    for group in run.groups() {
        let counted = results[group[0]].letters.iter().filter(|l| l.counts).count();
        if !results[group[0]].letters.is_empty() && counted < spec.min_feats_for_eval {
            let variants: Vec<_> = group.iter().map(|&r| results[r].variant.name()).collect();
            warnings.push(format!(
                "{}: not evaluable: the model tells {counted} of 26 letters with an F1 above {}, {} are needed",
                variants.join(", "),
                spec.min_gt_probe_f1,
                spec.min_feats_for_eval
            ));
        }
    }
    if run.hook().site != Site::ResidPost {
        warnings.push(format!(
            "the SAE reads {}; absorption gives it the output of the block, as SAEBench does",
            run.hook()
        ));
    }
    if run.readers().iter().any(|r| r.sae.config.normalize != prunelens_core::sae::Normalize::None) {
        warnings.push(
            "the SAE normalises its input: its latents are in other units than the probe, which SAEBench ignores"
                .into(),
        );
    }
    let shares_model =
        |a: &Vec<usize>, b: &Vec<usize>| std::sync::Arc::ptr_eq(&run.readers()[a[0]].model, &run.readers()[b[0]].model);
    if run.groups().iter().enumerate().any(|(at, a)| run.groups()[..at].iter().any(|b| shares_model(a, b))) {
        warnings.push("variants on one model read it in different spaces, so they have probes of their own".into());
    }
    for result in results.iter().filter(|r| r.mean.is_some()) {
        if let Some(f1) = best_latent_f1(result).filter(|f1| *f1 < LATENT_F1) {
            warnings.push(format!(
                "{}: the latents closest to a first letter tell it with an F1 of {f1:.2} only: the SAE has no first-letter latents, and its score is not one of absorption",
                result.variant
            ));
        }
    }
    let original = results.iter().find(|r| r.variant == Variant::Original);
    for (name, value) in [
        ("mean_absorption_fraction_score", (|m: &Mean| m.mean_absorption_fraction_score) as fn(&Mean) -> f64),
        ("mean_full_absorption_score", |m| m.mean_full_absorption_score),
    ] {
        let Some(before) = original.and_then(|r| mean(r, value)) else { continue };
        for result in results {
            let Some(now) = mean(result, value) else { continue };
            if now > before * RISE.0 && now > before + RISE.1 {
                warnings.push(format!("{}: {name} is up from the original's {before:.3} to {now:.3}", result.variant));
            }
        }
    }
    warnings
}

/// One table a variant, with the absorbed words of each letter.
pub fn details(results: &[AbsorptionResult]) -> Vec<Detail> {
    let known = results.iter().filter(|r| !r.letters.is_empty());
    known
        .map(|result| {
            let rows = result.letters.iter().map(|letter| {
                let done = result.mean.is_some() && letter.counts;
                let figure = |value: f64| if done { Cell::from(value) } else { Cell::Empty };
                vec![
                    letter.letter().to_string().into(),
                    figure(letter.mean_absorption_fraction()),
                    figure(letter.full_absorption_rate()),
                    (!letter.main.is_empty()).then(|| list(&letter.main)).into(),
                    letter.true_positives.into(),
                    letter.probe_f1.into(),
                    letter.sparse_f1.first().copied().into(),
                    if letter.counts { words(letter).into() } else { "does not count: probe F1 too low".into() },
                ]
            });
            Detail::table(
                format!("absorption per letter: {}", result.variant),
                ["letter", "fraction", "full", "latents", "words", "probe F1", "latent F1", "absorbed"],
                rows.collect(),
            )
        })
        .collect()
}

fn list(latents: &[u32]) -> String {
    latents.iter().map(|latent| format!("#{latent}")).collect::<Vec<_>>().join(" ")
}

/// Absorbed words, each with the latent that carries its letter.
fn words(letter: &super::LetterResult) -> String {
    let absorbed: Vec<_> = letter.words.iter().filter(|(_, found)| found.full).collect();
    let mut out: Vec<String> = absorbed
        .iter()
        .take(WORDS)
        .map(|(word, found)| {
            let latent = found.top.map(|top| format!(" #{}", top.latent)).unwrap_or_default();
            format!("{}{latent}", word.trim())
        })
        .collect();
    if absorbed.len() > WORDS {
        out.push(format!("and {} more", absorbed.len() - WORDS));
    }
    out.join(", ")
}
