//! One prompt through every variant, without a screen: a table, JSON, or tensors in a file.

mod save;
mod table;

use std::io::Write;

use serde_json::{Value, json};

use crate::{
    cli::InspectArgs,
    compare::{Comparison, Prompt, View, grid_ratio, matching::Matching},
    error::{Error, Result},
    model::Tick,
    session::Session,
};

/// Read the prompt of `args` and print or save what was asked for.
pub fn run(session: &Session, args: &InspectArgs, out: &mut dyn Write, tick: Tick) -> Result<()> {
    let text = args.text()?;
    let spec = &session.spec;
    let tokens = session.tokens(&text)?;
    if tokens.iter().all(|t| t.special) {
        return Err(Error::invalid("the prompt is empty; give some text"));
    }
    session.order(spec.criterion, tick)?;
    let readers = session.readers(spec.ratio, spec.criterion)?;
    let mut prompt = Prompt::read(&text, tokens, readers, spec.ratio, spec.criterion, tick)?;
    prompt.reconstruct(tick)?;
    prompt.find_paths()?;
    while prompt.splice_next(tick)? {}
    if let Some(path) = &args.save {
        save::save(&prompt, path, args.force, tick)?;
    }
    let matching = session.trained.as_ref().map(|t| Matching::new(&session.sae, t, tick)).transpose()?;
    let comparison = prompt.comparison(matching.as_ref());
    if args.json {
        let text = crate::output::json(&json(session, &comparison, args.top))?;
        writeln!(out, "{text}").map_err(|e| Error::io("stdout", e))
    } else {
        out.write_all(table::table(session, &comparison).as_bytes()).map_err(|e| Error::io("stdout", e))
    }
}

/// Everything about a comparison as one object.
pub fn json(session: &Session, comparison: &Comparison, top: usize) -> Value {
    let tokens = &comparison.tokens;
    let left_out: Vec<usize> = tokens.iter().enumerate().filter(|(_, t)| t.special).map(|(at, _)| at).collect();
    let variants: serde_json::Map<String, Value> =
        comparison.views.iter().map(|view| (view.variant.to_string(), variant(comparison, view, top))).collect();
    json!({
        "prompt": comparison.prompt,
        "tokens": {
            "ids": tokens.iter().map(|t| t.id).collect::<Vec<_>>(),
            "strings": tokens.iter().map(|t| String::from_utf8_lossy(&t.piece)).collect::<Vec<_>>(),
        },
        "hook": comparison.hook,
        "space": session.space.name(),
        "models": {
            "original": { "name": session.original.name, "parameters": session.original.parameters() },
            "pruned": { "name": session.pruned.name, "compression": session.compression, "calibration": session.calibration.label },
            "dtype": session.spec.dtype.as_str(),
        },
        "sae": { "name": session.sae.config.name, "architecture": session.sae.config.architecture, "d_sae": session.sae.d_sae() },
        "ratio": comparison.ratio,
        "criterion": comparison.criterion.name(),
        "positions_left_out": {
            "positions": left_out,
            "of": ["l0", "mse", "explained_variance", "cossim", "survival"],
        },
        "variants": variants,
        "survival": comparison.paths.as_ref().map(|paths| {
            let share = |(step, alive): (usize, &f64)| json!({ "ratio": grid_ratio(step), "alive": finite(*alive) });
            paths.survival.iter().enumerate().map(share).collect::<Vec<_>>()
        }),
    })
}

/// JSON has no infinities: what is not a number is null.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn variant(comparison: &Comparison, view: &View, top: usize) -> Value {
    let (recon, splice) = (view.reconstruction, view.splice);
    let recon = |get: fn(&crate::compare::ReconstructionFigures) -> f64| recon.as_ref().map(get).and_then(finite);
    let splice = |get: fn(&crate::compare::SpliceFigures) -> f64| splice.as_ref().map(get).and_then(finite);
    let list = |token: usize| -> Vec<Value> {
        let matched =
            |latent: u32| comparison.matches.get(&latent).filter(|_| view.variant != crate::compare::Variant::Trained);
        strongest(view, token, top)
            .into_iter()
            .map(|(latent, activation)| match matched(latent) {
                Some(m) => json!({ "latent": latent, "activation": activation, "trained_match": m.latent, "cosine": m.cosine, "mutual": m.mutual }),
                None => json!({ "latent": latent, "activation": activation }),
            })
            .collect()
    };
    json!({
        "l0": recon(|f| f.l0),
        "mse": recon(|f| f.mse),
        "explained_variance": recon(|f| f.explained_variance),
        "cossim": recon(|f| f.cossim),
        "ce_loss_without_sae": splice(|f| f.ce_loss_without_sae),
        "ce_loss_with_sae": splice(|f| f.ce_loss_with_sae),
        "kl_div_with_sae": splice(|f| f.kl_div_with_sae),
        "top": (0..comparison.tokens.len()).map(list).collect::<Vec<_>>(),
    })
}

/// Latents of one token by activation, the lower index first among equals.
fn strongest(view: &View, token: usize, n: usize) -> Vec<(u32, f32)> {
    let (indices, values) = view.latents.row(token);
    let mut all: Vec<(u32, f32)> = indices.iter().copied().zip(values.iter().copied()).collect();
    all.sort_by(crate::kernels::select::by_value);
    all.truncate(n);
    all
}

impl InspectArgs {
    /// The prompt from the command line, or from standard input for `-`.
    fn text(&self) -> Result<String> {
        let text = self.prompt.as_deref().or(self.prompt_flag.as_deref());
        match text {
            Some("-") => std::io::read_to_string(std::io::stdin()).map_err(|e| Error::io("stdin", e)),
            Some(text) => Ok(text.to_owned()),
            None => Err(Error::Usage("a prompt is needed: prunelens inspect \"some text\"".into())),
        }
    }
}
