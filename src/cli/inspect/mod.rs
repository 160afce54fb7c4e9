//! `prunelens inspect`: one prompt through every variant, without a screen: a table, JSON, or tensors in a file; or what a model's
//! files hold.

mod edited;
mod model;
mod prompt;
mod save;
mod table;

use std::{io::Write, path::PathBuf};

use clap::{Args, Subcommand};
use prunelens_core::{
    compare::{Comparison, Prompt, matching::Matching},
    error::{Error, Result},
    progress::Tick,
    session::Session,
};
use serde_json::{Value, json};

pub use prompt::PromptArgs;

use self::model::InspectModelArgs;
use super::{edits::EditArgs, setup};
use crate::{export, interrupt, output, settings::SessionSettings};

#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct InspectArgs {
    #[command(subcommand)]
    pub target: Option<InspectTarget>,
    #[command(flatten)]
    pub prompt: PromptArgs,
    /// Latents listed for each token in JSON.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Write tokens, logits, activations, latents and reconstructions to this safetensors file.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Replace the file of --save if it exists.
    #[arg(long, requires = "save")]
    pub force: bool,
    #[command(flatten)]
    pub edits: EditArgs,
    #[command(flatten)]
    pub session: SessionSettings,
}

#[derive(Clone, Debug, Subcommand)]
pub enum InspectTarget {
    /// Say how a model's files hold its weights: scheme, bits a weight and zeros of each matrix. (A prompt of this one word
    /// goes to --prompt.)
    Model(InspectModelArgs),
}

pub fn run(args: &InspectArgs) -> Result<()> {
    if let Some(InspectTarget::Model(args)) = &args.target {
        return model::run(args);
    }
    let session = setup::session(args.session.clone())?;
    output::answer_with(|out| inspect(&session, args, out, &mut interrupt::tick))
}

/// Read the prompt of `args` and print or save what was asked for.
pub fn inspect(session: &Session, args: &InspectArgs, out: &mut dyn Write, tick: Tick) -> Result<()> {
    let text = args.prompt.text()?;
    let edits = args.edits.edits();
    if let Some(edits) = &edits {
        edits.check(session.sae.d_sae())?;
    }
    let tokens = session.tokens(&text)?;
    if tokens.iter().all(|t| t.special) {
        return Err(Error::invalid("the prompt is empty; give some text"));
    }
    if let Some(edits) = &edits {
        edited::check(edits, tokens.len())?;
    }
    let setting = session.setting;
    session.order(setting.knob, tick)?;
    let mut prompt = Prompt::read(&text, tokens, session.readers(setting)?, setting, tick)?;
    prompt.reconstruct(tick)?;
    prompt.find_paths()?;
    while prompt.splice_next(tick)? {}
    let edited = edits.map(|edits| edited::read(&mut prompt, edits, tick)).transpose()?;
    if let Some(path) = &args.save {
        save::save(&prompt, edited.as_ref(), path, args.force, tick)?;
    }
    let matching = (session.trained.as_ref())
        .map(|trained| Matching::new(&*session.sae, &**trained, &*session.models.original.ops, tick))
        .transpose()?;
    let comparison = prompt.comparison(matching.as_ref());
    let text = if args.json {
        let mut object = json(session, &comparison, args.top);
        if let Some(edited) = &edited {
            edited::add_json(&mut object, edited, session, args.top)?;
        }
        output::json(&object)? + "\n"
    } else {
        let edited = edited.as_ref().map(|edited| edited::table(session, edited)).transpose()?.unwrap_or_default();
        table::table(session, &comparison) + &edited
    };
    out.write_all(text.as_bytes()).map_err(|e| Error::io("stdout", e))
}

/// Everything about a comparison as one object.
pub fn json(session: &Session, comparison: &Comparison, top: usize) -> Value {
    let mut object = export::comparison::json(comparison, top);
    let of_session = [
        ("warnings", json!(session.warnings)),
        ("space", json!(session.space.name())),
        (
            "models",
            json!({
                "original": { "name": session.models.original.name, "parameters": session.models.original.parameters() },
                "pruned": {
                    "name": session.models.pruned.name,
                    "compression": session.models.compression,
                    "calibration": session.models.calibration.label,
                },
                "dtype": session.models.original.dtype.as_str(),
            }),
        ),
        (
            "sae",
            json!({
                "name": session.sae.config.name,
                "architecture": session.sae.config.architecture,
                "d_sae": session.sae.d_sae(),
            }),
        ),
    ];
    object.extend(of_session.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(object)
}
