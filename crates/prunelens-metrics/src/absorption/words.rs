//! The words of the task: tokens of the vocabulary that are letters only.

use prunelens_core::{
    error::{Error, Result},
    model::Tokenizer,
    rng::Rng,
};

use super::{LETTERS, letter};

/// A token of the vocabulary that is a word, after at most one leading space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The one token that the word is, with its leading space if it has one.
    pub token: u32,
    /// With its leading space.
    pub text: String,
    /// Its first letter, 0 for `a`.
    pub class: usize,
}

impl Word {
    fn new(token: u32, text: String) -> Option<Self> {
        let letters = text.strip_prefix(' ').unwrap_or(&text);
        let first = letters.bytes().next()?.to_ascii_lowercase();
        let class = letters.bytes().all(|b| b.is_ascii_alphabetic()).then(|| usize::from(first - b'a'))?;
        Some(Self { token, text, class })
    }
}

/// All words of a vocabulary, by token id. Tokens that spell out a byte are none: no text is read as them.
pub fn vocabulary(tokenizer: &Tokenizer) -> Vec<Word> {
    let words = tokenizer.ids().into_iter().filter(|&id| !tokenizer.is_byte(id));
    words.filter_map(|id| Word::new(id, String::from_utf8(tokenizer.piece(id)).ok()?)).collect()
}

/// A blank, and the first letter of a word in upper case.
pub fn answer(word: &str) -> String {
    let first = word.chars().find(|c| c.is_alphabetic());
    format!(" {}", first.map(|c| c.to_uppercase().to_string()).unwrap_or_default())
}

/// At most `limit` of the words that `usable` accepts, in random order. Letters get shares by the number of their words,
/// and rare ones at least half of an equal share as far as they have it: a probe needs examples.
pub fn choose(
    words: Vec<Word>,
    limit: Option<usize>,
    rng: &mut Rng,
    mut usable: impl FnMut(&Word) -> Result<bool>,
) -> Result<Vec<Word>> {
    let mut by_letter = vec![Vec::new(); LETTERS];
    words.into_iter().for_each(|word| by_letter[word.class].push(word));
    let total: usize = by_letter.iter().map(Vec::len).sum();
    let mut chosen = Vec::new();
    for words in &mut by_letter {
        shuffle(words, rng);
        let share = limit.filter(|&limit| limit < total).map_or(words.len(), |limit| {
            let proportional = (limit as f64 * words.len() as f64 / total as f64).round() as usize;
            proportional.max(limit / (2 * LETTERS))
        });
        let before = chosen.len();
        for word in words.drain(..) {
            if chosen.len() - before == share {
                break;
            }
            if usable(&word)? {
                chosen.push(word);
            }
        }
    }
    shuffle(&mut chosen, rng);
    if let Some(limit) = limit {
        chosen.truncate(limit);
    }
    Ok(chosen)
}

/// Refuse a list too short for the task: each split must give ten examples beside the word asked for.
pub fn check(words: &[Word], examples: usize) -> Result<()> {
    let needed = 5 * (examples + 1);
    if words.len() >= needed {
        return Ok(());
    }
    let letters = (0..LETTERS).filter(|&c| words.iter().any(|w| w.class == c)).map(letter).collect::<String>();
    Err(Error::invalid(format!(
        "absorption needs at least {needed} words that the tokenizer reads as one token each; its vocabulary gives {}{}",
        words.len(),
        if letters.is_empty() { String::new() } else { format!(" (first letters {letters})") }
    )))
}

fn shuffle(words: &mut Vec<Word>, rng: &mut Rng) {
    let order = rng.permutation(words.len());
    *words = order.into_iter().map(|at| words[at as usize].clone()).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(token: u32, text: &str) -> Word {
        Word::new(token, text.into()).unwrap()
    }

    #[test]
    fn words_are_letters_after_one_space() {
        assert_eq!(word(1, " Cat").class, 2);
        assert_eq!(word(1, "zoo").class, 25);
        for other in ["", " ", "  cat", "cat ", "it's", "caf\u{e9}", "a1", "\u{130}b"] {
            assert_eq!(Word::new(1, other.into()), None, "{other:?}");
        }
        assert_eq!((answer(" cat"), answer(" 'tis"), answer("Dog")), (" C".into(), " T".into(), " D".into()));
    }

    #[test]
    fn a_limit_keeps_rare_letters_and_leaves_out_what_cannot_be_used() {
        let mut words: Vec<Word> = (0..1000).map(|i| word(i, " abc")).collect();
        words.extend((1000..1020).map(|i| word(i, " zed")));
        let choose = |limit, odd: bool| {
            super::choose(words.clone(), limit, &mut Rng::new(1, 0), |w| Ok(!odd || w.token % 2 == 1)).unwrap()
        };
        let count = |words: &[Word], class| words.iter().filter(|w| w.class == class).count();
        let all = choose(None, false);
        assert_eq!((count(&all, 0), count(&all, 25)), (1000, 20));
        let some = choose(Some(520), false);
        assert!(some.len() <= 520 && count(&some, 25) >= 9, "{} {}", some.len(), count(&some, 25));
        let odd = choose(Some(520), true);
        assert!(odd.iter().all(|w| w.token % 2 == 1) && odd.len() >= 500);
        assert_ne!(odd, choose(Some(520), false));
        assert_eq!(odd, choose(Some(520), true), "the seed decides");
    }

    #[test]
    fn too_few_words_are_refused_with_their_number() {
        let words: Vec<Word> = (0..54).map(|i| word(i, " abc")).collect();
        let message = check(&words, 10).unwrap_err().to_string();
        assert!(message.contains("at least 55") && message.contains("gives 54 (first letters a)"), "{message}");
        assert!(check(&[], 10).unwrap_err().to_string().ends_with("gives 0"));
    }
}
