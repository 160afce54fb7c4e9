//! Latents that fire on a word of the corpus.

use super::Index;
use crate::{compare::Variant, model::Tokenizer};

/// A latent that fires where a word stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OnWord {
    /// Which.
    pub latent: u32,
    /// Of so many places of the word it fires on these.
    pub places: (usize, usize),
    /// Share of all that it does over the corpus.
    pub share: f64,
}

impl OnWord {
    /// Harmonic mean of how often it is there and how little it does elsewhere.
    fn score(&self) -> f64 {
        let recall = self.places.0 as f64 / self.places.1.max(1) as f64;
        if recall + self.share == 0.0 { 0.0 } else { 2.0 * recall * self.share / (recall + self.share) }
    }
}

/// Latents of the original variant that fire on a word, in whatever tokens it comes and whatever case, the most telling
/// first.
pub fn on_word(index: &Index, tokenizer: &Tokenizer, word: &str, most: usize) -> Vec<OnWord> {
    let word = word.trim().to_ascii_lowercase().into_bytes();
    let Some(fires) = index.fires(Variant::Original).filter(|_| !word.is_empty()) else { return Vec::new() };
    let places = places(index, tokenizer, &word);
    let mut there = vec![(0_usize, 0.0_f64); fires.d_sae()];
    for tokens in &places {
        let mut seen = std::collections::BTreeSet::new();
        for token in tokens.clone() {
            let (latents, values) = fires.by_token().row(token);
            for (latent, value) in latents.iter().zip(values) {
                let (times, mass) = &mut there[*latent as usize];
                *times += usize::from(seen.insert(*latent));
                *mass += f64::from(*value);
            }
        }
    }
    let mut found: Vec<OnWord> = (0..)
        .zip(&there)
        .filter(|(_, (times, _))| *times > 0)
        .map(|(latent, (times, mass))| {
            let all: f64 = fires.of(latent).iter().map(|(_, value)| f64::from(*value)).sum();
            OnWord { latent, places: (*times, places.len()), share: mass / all }
        })
        .collect();
    found.sort_by(|a, b| b.score().total_cmp(&a.score()).then(a.latent.cmp(&b.latent)));
    found.truncate(most);
    found
}

/// The tokens of each place where the word stands.
fn places(index: &Index, tokenizer: &Tokenizer, word: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut places = Vec::new();
    for (row, first) in index.rows[..index.read].iter().zip(&index.starts) {
        // Where each token ends in the row's text.
        let (mut text, mut ends) = (Vec::new(), Vec::with_capacity(row.len()));
        for id in row {
            if !tokenizer.special(*id) {
                text.extend(tokenizer.piece(*id).to_ascii_lowercase());
            }
            ends.push(text.len());
        }
        let mut from = 0;
        while let Some(at) = text[from..].windows(word.len()).position(|window| window == word) {
            let (start, end) = (from + at, from + at + word.len());
            let letter = |at: Option<&u8>| at.is_some_and(u8::is_ascii_alphanumeric);
            // A whole word: "war" is not meant where "warm" stands.
            if !letter(start.checked_sub(1).and_then(|at| text.get(at))) && !letter(text.get(end)) {
                let tokens = [start, end - 1].map(|at| ends.partition_point(|end| *end <= at));
                places.push(*first as usize + tokens[0]..*first as usize + tokens[1] + 1);
            }
            from = end;
        }
    }
    places
}
