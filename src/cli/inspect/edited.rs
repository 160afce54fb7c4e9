//! What the variants' models predict while edits are in force.

use prunelens_core::{
    compare::{Prompt, Variant, edited::Edited, predict::Candidate, splice::mean},
    edit::Edits,
    error::{Error, Result},
    progress::Tick,
    session::Session,
};
use serde_json::{Value, json};

use crate::safe;

/// Edits, and what each variant makes of them.
pub struct Read {
    pub edits: Edits,
    pub variants: Vec<(Variant, Edited)>,
}

/// Next tokens of a variant in the table.
const LISTED: usize = 5;

/// Refuse edits of positions that the prompt does not have: they would look as if they changed nothing.
pub fn check(edits: &Edits, tokens: usize) -> Result<()> {
    match edits.list.iter().find(|edit| !(0..tokens).any(|at| edit.at.cover(at))) {
        Some(edit) => Err(Error::Usage(format!(
            "edit {edit}: the prompt has no such position; its tokens are at 0 to {}",
            tokens.saturating_sub(1)
        ))),
        None => Ok(()),
    }
}

pub fn read(prompt: &mut Prompt, edits: Edits, tick: Tick) -> Result<Read> {
    let mut variants = Vec::new();
    for variant in Variant::ALL {
        if let Some(edited) = prompt.edited(variant, &edits, tick)? {
            variants.push((variant, edited));
        }
    }
    Ok(Read { edits, variants })
}

/// Under each variant `edited`, and beside the variants what was edited.
pub fn add_json(object: &mut Value, read: &Read, session: &Session, top: usize) -> Result<()> {
    object["edits"] = json!(read.edits.list.iter().map(ToString::to_string).collect::<Vec<_>>());
    object["edit_error"] = json!(read.edits.error.to_string());
    for (variant, edited) in &read.variants {
        let end = edited.losses.kl.len().saturating_sub(1);
        let next = |next: Candidate| {
            json!({
                "id": next.id,
                "string": String::from_utf8_lossy(&next.piece),
                "before": next.alone,
                "after": next.probability,
            })
        };
        object["variants"][variant.name()]["edited"] = json!({
            "ce_loss": finite(mean(&edited.losses.ce)),
            "kl_div": finite(mean(&edited.losses.kl)),
            "top": edited.top(end, top, &session.models.tokenizer)?.into_iter().map(next).collect::<Vec<_>>(),
        });
    }
    Ok(())
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// CE, KL and the next tokens of each variant.
pub fn table(session: &Session, read: &Read) -> Result<String> {
    let edits: Vec<String> = read.edits.list.iter().map(ToString::to_string).collect();
    let mut text = format!("\nwith {}, error term: {}\n", edits.join(" "), read.edits.error);
    text += &format!("{:<10} {:>8} {:>8}  next token, probability after (before)\n", "", "CE", "KL");
    for (variant, edited) in &read.variants {
        let end = edited.losses.kl.len().saturating_sub(1);
        let top = edited.top(end, LISTED, &session.models.tokenizer)?.into_iter().map(|next| {
            let piece = safe::piece(&next.piece, false);
            format!("{piece} {:.3} ({:.3})", next.probability, next.alone)
        });
        let (ce, kl) = (mean(&edited.losses.ce), mean(&edited.losses.kl));
        text += &format!("{:<10} {ce:>8.3} {kl:>8.3}  {}\n", variant.name(), top.collect::<Vec<_>>().join("  "));
    }
    Ok(text)
}
