//! Those who continue a prompt: both models, and each variant while edits are in force.

use std::sync::Arc;

use super::{Choice, Continuation};
use crate::{
    compare::{Reader, Token, Variant, predict::Speaker},
    edit::Edits,
    error::Result,
    model::Tokenizer,
    progress::Tick,
    sae::Setting,
    session::Session,
};

/// Why a text goes on no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has as many tokens as were asked for.
    Length,
    /// The model ended it.
    Special,
    /// The model can read no more.
    Context,
}

/// What a step brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// The next token, and with latents followed those that fire on it: number and activation, ascending.
    Token(Token, Vec<(u32, f32)>),
    /// Nothing more will come.
    Ended(End),
}

/// One who continues a prompt.
pub struct Writer {
    /// A model alone, or a variant's model with edits.
    pub of: Speaker,
    reader: Reader,
    edits: Option<Edits>,
    follows: bool,
    text: Option<Continuation>,
    tokens: usize,
    end: Option<End>,
}

/// Both models alone, and with edits those variants whose latents have the edits' numbers. With `follow`, latents are told
/// with each token.
pub fn writers(
    session: &Session,
    edits: Option<&Edits>,
    setting: Setting,
    follow: bool,
    tick: Tick,
) -> Result<Vec<Writer>> {
    if let Some(edits) = edits {
        edits.check(session.sae.d_sae())?;
        session.order(setting.knob, tick)?;
    }
    let one_model = Arc::ptr_eq(&session.models.original, &session.models.pruned);
    let new = |of, reader, edits| Writer { of, reader, edits, follows: follow, text: None, tokens: 0, end: None };
    let mut all = Vec::new();
    for variant in [Variant::Original, Variant::Transfer] {
        if (variant == Variant::Original || !one_model)
            && let Some(reader) = session.reader(variant, setting)?
        {
            all.push(new(Speaker::Model(variant), reader, None));
        }
    }
    if let Some(edits) = edits {
        // The trained SAE's latents have other numbers.
        for reader in session.readers(setting)?.into_iter().filter(|r| r.variant != Variant::Trained) {
            all.push(new(Speaker::Edited(reader.variant), reader, Some(edits.clone())));
        }
    }
    Ok(all)
}

impl Writer {
    /// Read the prompt, where that has not been done. Interrupted, it begins anew the next time.
    pub fn begin(&mut self, ids: &[u32], choice: &Choice, tick: Tick) -> Result<()> {
        if self.text.is_none() {
            let (reader, edits) = (self.reader.clone(), self.edits.clone());
            self.text = Some(Continuation::followed(reader, edits, ids, choice, tick)?);
        }
        Ok(())
    }

    /// Whether the prompt was read.
    pub fn has_begun(&self) -> bool {
        self.text.is_some()
    }

    /// Whether nothing more will come.
    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// One token more, up to `most`, once it has begun. After an error it is of no more use.
    pub fn step(&mut self, most: usize, tokenizer: &Tokenizer, tick: Tick) -> Result<Written> {
        let full = self.text.as_ref().is_none_or(Continuation::is_full);
        let end = match self.end {
            None if self.tokens >= most => Some(End::Length),
            None if full => Some(End::Context),
            end => end,
        };
        let (None, Some(text)) = (end, &mut self.text) else {
            let end = end.unwrap_or(End::Context);
            self.end = Some(end);
            return Ok(Written::Ended(end));
        };
        let id = text.next(tick)?;
        self.tokens += 1;
        let special = tokenizer.special(id);
        if special {
            self.end = Some(End::Special);
        }
        let latents = if self.follows { text.latents()? } else { None };
        let fired = latents.map_or_else(Vec::new, |latents| {
            let (indices, values) = latents.row(0);
            indices.iter().copied().zip(values.iter().copied()).collect()
        });
        Ok(Written::Token(Token { id, piece: tokenizer.piece(id), special }, fired))
    }
}
