//! Latents that have to do with a word: those that fire on it, and those that promote it; and those like another.

use prunelens_core::{compare::logit_lens, error::Result, index, index::Index, session::Session};
use prunelens_kernels::select::by_value;

use super::{Hit, Why};

/// Hits of each kind.
const MOST: usize = 12;

/// The latent whose like is looked for: `~1077`, or `like #1077`.
pub fn like(word: &str) -> Option<u32> {
    let word = word.trim();
    let number = word.strip_prefix('~').or_else(|| word.strip_prefix("like "))?.trim_start();
    number.strip_prefix('#').unwrap_or(number).parse().ok()
}

pub fn find(session: &Session, index: Option<&Index>, word: &str) -> Result<Vec<Hit>> {
    if let Some(of) = like(word) {
        let near = index::near(&session.sae, of, MOST)?;
        return Ok(near.into_iter().map(|(latent, cosine)| Hit { latent, why: Why::Like { of, cosine } }).collect());
    }
    let on_word = index.map(|index| index::on_word(index, &session.models.tokenizer, word, MOST)).unwrap_or_default();
    let fires = on_word
        .into_iter()
        .map(|found| Hit { latent: found.latent, why: Why::Fires { places: found.places, share: found.share } });
    let mut hits: Vec<Hit> = fires.collect();
    hits.extend(promoting(session, word)?);
    Ok(hits)
}

/// Latents that raise the word's logit most, where it is one token, by the original model.
fn promoting(session: &Session, word: &str) -> Result<Vec<Hit>> {
    let ids = session.models.tokenizer.encode(&format!(" {}", word.trim()), false)?;
    let ([id], model) = (&ids[..], &session.models.original) else { return Ok(Vec::new()) };
    if *id as usize >= model.config.d_vocab {
        return Ok(Vec::new());
    }
    let raised = logit_lens::of_token(model, session.hook, &session.sae, *id)?;
    let mut all: Vec<(u32, f32)> = (0..).zip(raised).collect();
    all.sort_by(by_value);
    all.truncate(MOST);
    Ok(all.into_iter().map(|(latent, logit)| Hit { latent, why: Why::Promotes(logit) }).collect())
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn a_latent_is_named_to_find_its_like() {
        assert_eq!(["~1077", " like #1077", "~ #1077", "like 1077"].map(like), [Some(1077); 4]);
        assert_eq!(["likely", "like", "like a ship", "~", "1077", "~-1"].map(like), [None; 6]);
    }
}
