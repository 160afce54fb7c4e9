//! A comparison as JSON: one shape for `inspect --json` and for what the explorer exports.

use prunelens_core::compare::{Comparison, Fates, Variant, View};
use prunelens_kernels::select::by_value;
use serde_json::{Map, Value, json};

/// Prompt, tokens, figures and the `top` strongest latents of every token and variant. Whoever knows the session adds
/// what it consists of.
pub fn json(comparison: &Comparison, top: usize) -> Map<String, Value> {
    let tokens = &comparison.tokens;
    let left_out: Vec<usize> = tokens.iter().enumerate().filter(|(_, t)| t.special).map(|(at, _)| at).collect();
    let variants: Map<String, Value> =
        comparison.views.iter().map(|view| (view.variant.to_string(), variant(comparison, view, top))).collect();
    let survival = comparison.paths.as_ref().map(|paths| {
        let share = |(at, alive): (&f64, &f64)| {
            let at = if paths.knob.is_whole() { json!(*at as u64) } else { json!(at) };
            json!({ paths.knob.name(): at, "alive": finite(*alive) })
        };
        paths.grid.iter().zip(&paths.survival).map(share).collect::<Vec<_>>()
    });
    let before = [
        ("prompt", json!(comparison.prompt)),
        (
            "tokens",
            json!({
                "ids": tokens.iter().map(|t| t.id).collect::<Vec<_>>(),
                "strings": tokens.iter().map(|t| String::from_utf8_lossy(&t.piece)).collect::<Vec<_>>(),
            }),
        ),
        ("hook", json!(comparison.hook)),
    ];
    let after = [
        (
            "positions_left_out",
            json!({ "positions": left_out, "of": ["l0", "mse", "explained_variance", "cossim", "survival"] }),
        ),
        ("variants", Value::Object(variants)),
        ("survival", json!(survival)),
        ("active", json!(comparison.fates().map(fates))),
    ];
    let parts = before.into_iter().chain(comparison.setting.entries()).chain(after);
    parts.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What became of the latents that fire, and the unit in which they are counted.
fn fates(fates: Fates) -> Value {
    json!({
        "unit": "pairs of token and latent",
        "original": fates.original,
        "transfer": fates.transfer,
        "pruned": fates.pruned,
        "lost_to_model": fates.lost_to_model,
        "lost_to_sae": fates.lost_to_sae,
        "new_on_model": fates.new_on_model,
    })
}

/// JSON has no infinities: what is not a number is null.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Names of a prompt's figures, in the order of every table.
pub const NAMES: [&str; 7] =
    ["l0", "mse", "explained_variance", "cossim", "ce_loss_without_sae", "ce_loss_with_sae", "kl_div_with_sae"];

/// Values in the order of [`NAMES`]; `None` where not measured.
pub fn values(view: &View) -> [Option<f64>; 7] {
    let (r, s) = (view.reconstruction, view.splice);
    [
        r.map(|r| r.l0),
        r.map(|r| r.mse),
        r.map(|r| r.explained_variance),
        r.map(|r| r.cossim),
        s.map(|s| s.ce_loss_without_sae),
        s.map(|s| s.ce_loss_with_sae),
        s.map(|s| s.kl_div_with_sae),
    ]
    .map(|v| v.and_then(finite))
}

fn variant(comparison: &Comparison, view: &View, top: usize) -> Value {
    let list = |token: usize| -> Vec<Value> {
        let matched = |latent: u32| comparison.matches.get(&latent).filter(|_| view.variant != Variant::Trained);
        let entry = |(latent, activation): (u32, f32)| match matched(latent) {
            Some(m) => json!({
                "latent": latent, "activation": activation,
                "trained_match": m.latent, "cosine": m.cosine, "mutual": m.mutual,
            }),
            None => json!({ "latent": latent, "activation": activation }),
        };
        strongest(view, token, top).into_iter().map(entry).collect()
    };
    let figures = NAMES.iter().zip(values(view)).map(|(name, value)| ((*name).to_owned(), json!(value)));
    let top: Value = (0..comparison.tokens.len()).map(list).collect();
    Value::Object(figures.chain([("top".to_owned(), top)]).collect())
}

/// Latents of one token by activation, the lower index first among equals.
pub fn strongest(view: &View, token: usize, n: usize) -> Vec<(u32, f32)> {
    let (indices, values) = view.latents.row(token);
    let mut all: Vec<(u32, f32)> = indices.iter().copied().zip(values.iter().copied()).collect();
    all.sort_by(by_value);
    all.truncate(n);
    all
}
