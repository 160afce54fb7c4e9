//! `prunelens generate`: a prompt continued by both models, and by each variant while edits are in force.

use std::{io::Write, time::Instant};

use clap::Args;
use prunelens_core::{
    compare::{Variant, predict::Speaker},
    error::{Error, Result},
    generate::{Choice, Writer, Written, writers},
    progress::Tick,
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

/// What was written by one of those who continue the prompt.
struct Answer {
    of: Speaker,
    tokens: Vec<u32>,
    /// From the first token to the last, without reading the prompt.
    seconds: f64,
}

fn generate(session: &Session, args: &GenerateArgs, choice: Choice, out: &mut dyn Write, tick: Tick) -> Result<()> {
    let text = args.prompt.text()?;
    let ids: Vec<u32> = session.tokens(&text)?.iter().map(|token| token.id).collect();
    let edits = args.edits.edits();
    let writers = writers(session, edits.as_ref(), session.setting, false, tick)?;
    let answers = writers
        .into_iter()
        .map(|w| answer(session, w, &ids, args.max_tokens, choice, tick))
        .collect::<Result<Vec<_>>>()?;
    let written = match args.json {
        true => output::json(&object(session, args, &ids, &answers))? + "\n",
        false => table(session, &text, &answers),
    };
    out.write_all(written.as_bytes()).map_err(|e| Error::io("stdout", e))
}

/// The tokens that follow, up to the end of the text, of the context, or of what was asked for.
fn answer(
    session: &Session,
    mut writer: Writer,
    ids: &[u32],
    most: usize,
    choice: Choice,
    tick: Tick,
) -> Result<Answer> {
    writer.begin(ids, &choice, tick)?;
    let (mut tokens, started) = (Vec::new(), Instant::now());
    while let Written::Token(token, _) = writer.step(most, &session.models.tokenizer, tick)? {
        tokens.push(token.id);
    }
    Ok(Answer { of: writer.of, tokens, seconds: started.elapsed().as_secs_f64() })
}

fn words(session: &Session, tokens: &[u32]) -> String {
    let bytes: Vec<u8> = tokens.iter().flat_map(|id| session.models.tokenizer.piece(*id)).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// As flags and files name it.
fn name(of: Speaker) -> &'static str {
    match of {
        Speaker::Model(Variant::Original) => "original",
        Speaker::Model(_) => "pruned",
        Speaker::Spliced(variant) | Speaker::Edited(variant) => variant.name(),
    }
}

fn object(session: &Session, args: &GenerateArgs, ids: &[u32], answers: &[Answer]) -> Value {
    let each = |edited: bool| -> Map<String, Value> {
        let one = |answer: &Answer| {
            let speed = (answer.seconds > 0.0).then(|| answer.tokens.len() as f64 / answer.seconds);
            let text = words(session, &answer.tokens);
            (name(answer.of).into(), json!({ "tokens": answer.tokens, "text": text, "tokens_per_second": speed }))
        };
        answers.iter().filter(|a| matches!(a.of, Speaker::Edited(_)) == edited).map(one).collect()
    };
    let mut models = each(false);
    // Where nothing is compressed both are one model, which wrote once.
    if let (false, Some(original)) = (models.contains_key("pruned"), models.get("original")) {
        models.insert("pruned".into(), original.clone());
    }
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
        "models": models,
        "variants": each(true),
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

fn table(session: &Session, prompt: &str, answers: &[Answer]) -> String {
    let line = |answer: &Answer| {
        let with = if matches!(answer.of, Speaker::Edited(_)) { ", edited" } else { "" };
        format!("{:<22}{}\n", format!("{}{with}", name(answer.of)), safe::line(&words(session, &answer.tokens)))
    };
    format!("{:<22}{}\n\n{}", "prompt", safe::line(prompt), answers.iter().map(line).collect::<String>())
}
