//! `prunelens generate`: a prompt continued by both models, and by each variant while edits are in force.

use std::{io::Write, sync::Arc};

use clap::Args;
use prunelens_core::{
    compare::{Reader, Variant},
    edit::Edits,
    error::{Error, Result},
    generate::{Choice, Continuation},
    model::{Model, Tick},
    sae::Knob,
    session::Session,
};
use serde_json::{Map, Value, json};

use super::{edits::EditArgs, inspect::PromptArgs, setup};
use crate::{interrupt, output, safe, settings::SessionSettings};

#[derive(Args, Clone, Debug)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub prompt: PromptArgs,
    /// Tokens to add at most.
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub max_tokens: usize,
    /// Randomness of the choice among next tokens; 0 takes the likeliest.
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f64,
    /// Draw among the likeliest tokens that have this probability together.
    #[arg(long, value_name = "P")]
    pub top_p: Option<f64>,
    /// Seed of what is drawn.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub edits: EditArgs,
    #[command(flatten)]
    pub session: SessionSettings,
}

pub fn run(args: &GenerateArgs) -> Result<()> {
    let choice = args.choice();
    choice.check()?;
    let session = setup::session(args.session.clone())?;
    output::answer_with(|out| generate(&session, args, choice, out, &mut interrupt::tick))
}

impl GenerateArgs {
    fn choice(&self) -> Choice {
        Choice { temperature: self.temperature, top_p: self.top_p, seed: self.seed }
    }
}

/// What continues the prompt: a model alone, or a variant with edits.
struct Writer {
    name: String,
    model: Arc<Model>,
    edits: Option<(Reader, Edits)>,
}

fn generate(session: &Session, args: &GenerateArgs, choice: Choice, out: &mut dyn Write, tick: Tick) -> Result<()> {
    let text = args.prompt.text()?;
    let ids: Vec<u32> = session.tokens(&text)?.iter().map(|token| token.id).collect();
    let edits = args.edits.edits();
    if let Some(edits) = &edits {
        edits.check(session.sae.d_sae())?;
    }
    let mut models = vec![Writer { name: "original".into(), model: session.original.clone(), edits: None }];
    if !Arc::ptr_eq(&session.original, &session.pruned) {
        models.push(Writer { name: "pruned".into(), model: session.pruned.clone(), edits: None });
    }
    let mut variants = Vec::new();
    if let Some(edits) = edits {
        session.order(session.setting.knob, tick)?;
        // The trained SAE's latents have other numbers.
        for reader in session.readers(session.setting)? {
            if reader.variant != Variant::Trained {
                let (name, model) = (reader.variant.to_string(), reader.model.clone());
                variants.push(Writer { name, model, edits: Some((reader, edits.clone())) });
            }
        }
    }
    let mut answer = |writer: Writer| -> Result<(String, Vec<u32>)> {
        Ok((writer.name.clone(), continued(session, writer, &ids, args.max_tokens, choice, tick)?))
    };
    let models = models.into_iter().map(&mut answer).collect::<Result<Vec<_>>>()?;
    let variants = variants.into_iter().map(&mut answer).collect::<Result<Vec<_>>>()?;
    let written = match args.json {
        true => output::json(&object(session, args, &ids, &models, &variants))? + "\n",
        false => table(session, &text, &models, &variants),
    };
    out.write_all(written.as_bytes()).map_err(|e| Error::io("stdout", e))
}

/// The tokens that follow, up to the end of the text, of the context, or of what was asked for.
fn continued(
    session: &Session,
    writer: Writer,
    ids: &[u32],
    most: usize,
    choice: Choice,
    tick: Tick,
) -> Result<Vec<u32>> {
    let mut text = Continuation::new(&writer.model, writer.edits, ids, &choice, tick)?;
    let mut tokens = Vec::new();
    while tokens.len() < most && !text.is_full() {
        let id = text.next(tick)?;
        tokens.push(id);
        if session.tokenizer.special(id) {
            break;
        }
    }
    Ok(tokens)
}

fn words(session: &Session, tokens: &[u32]) -> String {
    let bytes: Vec<u8> = tokens.iter().flat_map(|id| session.tokenizer.piece(*id)).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

type Answer = (String, Vec<u32>);

fn object(session: &Session, args: &GenerateArgs, ids: &[u32], models: &[Answer], variants: &[Answer]) -> Value {
    let each = |answers: &[Answer]| -> Map<String, Value> {
        let one = |(name, tokens): &Answer| (name.clone(), json!({ "tokens": tokens, "text": words(session, tokens) }));
        answers.iter().map(one).collect()
    };
    let mut object = json!({
        "prompt": { "tokens": ids, "text": words(session, ids) },
        "hook": session.hook.to_string(),
        "ratio": session.spec.ratio,
        "criterion": session.spec.criterion.name(),
        "temperature": args.temperature,
        "top_p": args.top_p,
        "seed": args.seed,
        "edits": args.edits.list.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "edit_error": args.edits.error.to_string(),
        "models": each(models),
        "variants": each(variants),
        "warnings": session.warnings,
    });
    if !matches!(session.setting.knob, Knob::Ratio(_))
        && let Some(object) = object.as_object_mut()
    {
        ["ratio", "criterion"].iter().for_each(|name| drop(object.remove(*name)));
        object.extend(session.setting.entries().into_iter().map(|(name, value)| (name.to_owned(), value)));
    }
    object
}

fn table(session: &Session, prompt: &str, models: &[Answer], variants: &[Answer]) -> String {
    let lines = |answers: &[Answer], with: &str| -> String {
        let line = |(name, tokens): &Answer| {
            format!("{:<22}{}\n", format!("{name}{with}"), safe::line(&words(session, tokens)))
        };
        answers.iter().map(line).collect()
    };
    format!("{:<22}{}\n\n{}{}", "prompt", safe::line(prompt), lines(models, ""), lines(variants, ", edited"))
}
