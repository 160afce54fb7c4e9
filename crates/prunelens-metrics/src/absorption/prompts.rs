//! The prompts of the task, as tokens. Made once, from the tokenizer and a seed: all variants get the same.

use prunelens_core::{
    digest::fnv1a,
    error::{Error, Result},
    model::Tokenizer,
    progress::Tick,
    rng::Rng,
    text::shorten,
};

use super::{
    AbsorptionSpec,
    words::{self, Word, answer},
};

/// SAEBench's template with the word's place in it.
pub const TEMPLATE: &str = "{word} has the first letter:";
/// Solved examples in front of the question.
pub const EXAMPLES: usize = 10;
/// Share of the words that probes are trained on.
const TRAINING: f64 = 0.8;
/// Words looked at to find out how the tokenizer reads the template.
const LOOKED_AT: usize = 256;

/// Words and prompts.
#[derive(Clone, Debug)]
pub struct Prompts {
    /// Training words first.
    pub words: Vec<Word>,
    /// How many of them are for training.
    pub training: usize,
    /// One prompt a word, of equal length.
    pub rows: Vec<Vec<u32>>,
    /// One more for each test word, with examples from all words.
    pub calculator: Vec<Vec<u32>>,
    /// Place of the word's token in each prompt, counted from the end: 6 is the sixth from the end.
    pub from_end: usize,
    /// Words of the vocabulary, chosen or not.
    pub vocabulary: usize,
    /// Tells one set of prompts from another.
    pub digest: u64,
}

/// The question about a word.
pub fn question(word: &str) -> String {
    TEMPLATE.replace("{word}", word)
}

/// Solved examples and the question, each on a line of its own.
pub fn prompt(word: &str, examples: &[&str]) -> String {
    let solved = examples.iter().map(|example| format!("\n{}{}", question(example), answer(example)));
    solved.collect::<String>() + "\n" + &question(word)
}

/// Fewest words in a batch of the probes on latents.
const LEAST_BATCH: usize = 32;

impl Prompts {
    /// Words in a batch of the probes on latents, where `whole` are with the whole vocabulary. Where words were left out
    /// batches are smaller alike, so that probes take as many steps: with the same batch a few thousand words would be one
    /// step an epoch, and the largest weights those of latents that hardly ever fire.
    pub fn latent_batch(&self, whole: usize) -> usize {
        (whole * self.words.len()).div_ceil(self.vocabulary.max(1)).clamp(LEAST_BATCH.min(whole), whole)
    }

    /// Choose words that `tokenizer` reads as one token each and write their prompts. `bos` puts BOS in front.
    pub fn new(tokenizer: &Tokenizer, spec: &AbsorptionSpec, bos: bool, tick: Tick) -> Result<Self> {
        tick()?;
        let all = words::vocabulary(tokenizer);
        let vocabulary = all.len();
        let form = Form::find(tokenizer, &all)?;
        let mut rng = Rng::new(spec.random_seed, 0);
        let words = words::choose(all, spec.max_words, &mut rng, |word| {
            tick()?;
            form.fits(tokenizer, word)
        })?;
        words::check(&words, EXAMPLES)?;
        let training = (words.len() as f64 * TRAINING) as usize;

        // A word whose solved line has another number of tokens can be asked for, but not be an example.
        let mut example = Vec::with_capacity(words.len());
        for word in &words {
            tick()?;
            example.push(form.is_example(tokenizer, word)?);
        }
        let pool = |range: std::ops::Range<usize>| range.filter(|&at| example[at]).collect::<Vec<_>>();
        let (train, test, whole) = (pool(0..training), pool(training..words.len()), pool(0..words.len()));
        let mut rows = Vec::with_capacity(words.len());
        for at in 0..words.len() {
            tick()?;
            let pool = if at < training { &train } else { &test };
            rows.push(write(tokenizer, &words, at, pool, bos, &mut rng)?);
        }
        let mut rng = Rng::new(spec.random_seed, 1);
        let mut calculator = Vec::with_capacity(words.len() - training);
        for at in training..words.len() {
            tick()?;
            calculator.push(write(tokenizer, &words, at, &whole, bos, &mut rng)?);
        }
        let prompts = Self {
            digest: digest(rows.iter().chain(&calculator)),
            from_end: form.after + 1,
            training,
            vocabulary,
            words,
            rows,
            calculator,
        };
        prompts.check(tokenizer)?;
        Ok(prompts)
    }

    /// Tokens of a prompt.
    pub fn length(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }

    /// Place of the word's token from the start.
    pub fn position(&self) -> usize {
        self.length() - self.from_end
    }

    /// Words that nothing was trained on.
    pub fn test_words(&self) -> &[Word] {
        &self.words[self.training..]
    }

    /// Every prompt must have the same length and its word where activations are read.
    fn check(&self, tokenizer: &Tokenizer) -> Result<()> {
        let words = self.words.iter().chain(self.test_words());
        for (word, row) in words.zip(self.rows.iter().chain(&self.calculator)) {
            if row.len() != self.length() {
                return Err(Error::invalid(format!(
                    "prompts of the first-letter task have {} and {} tokens (the one for {:?}); they must be of one length, so this tokenizer cannot do the task",
                    self.length(),
                    row.len(),
                    word.text
                )));
            }
            if row.len() < self.from_end || row[row.len() - self.from_end] != word.token {
                return Err(unreadable(tokenizer, word));
            }
        }
        Ok(())
    }
}

/// How the tokenizer reads the template.
struct Form {
    /// Tokens of a question after its word.
    after: usize,
    /// Tokens of a solved line.
    line: usize,
}

impl Form {
    /// What most words have in common.
    fn find(tokenizer: &Tokenizer, words: &[Word]) -> Result<Self> {
        let step = (words.len() / LOOKED_AT).max(1);
        let mut forms = Vec::new();
        for word in words.iter().step_by(step).take(LOOKED_AT) {
            let line = tokenizer.encode(&format!("\n{}{}", question(&word.text), answer(&word.text)), false)?.len();
            let ids = asked(tokenizer, word)?;
            forms.extend(ids.iter().rposition(|id| *id == word.token).map(|at| (ids.len() - 1 - at, line)));
        }
        let most = |of: fn(&(usize, usize)) -> usize| {
            let mut counts = std::collections::BTreeMap::new();
            forms.iter().for_each(|form| *counts.entry(of(form)).or_insert(0_usize) += 1);
            counts.into_iter().max_by_key(|(_, count)| *count).map(|(value, _)| value)
        };
        match (most(|f| f.0), most(|f| f.1), words.first()) {
            (Some(after), Some(line), _) => Ok(Self { after, line }),
            (.., Some(word)) => Err(unreadable(tokenizer, word)),
            _ => {
                words::check(words, EXAMPLES)?;
                Err(Error::invalid("the vocabulary has no words"))
            }
        }
    }

    /// Whether the word is one token, where activations are read.
    fn fits(&self, tokenizer: &Tokenizer, word: &Word) -> Result<bool> {
        let ids = asked(tokenizer, word)?;
        Ok(ids.len().checked_sub(self.after + 1).is_some_and(|at| ids[at] == word.token))
    }

    fn is_example(&self, tokenizer: &Tokenizer, word: &Word) -> Result<bool> {
        let solved = format!("\n{}{}", question(&word.text), answer(&word.text));
        Ok(tokenizer.encode(&solved, false)?.len() == self.line)
    }
}

fn asked(tokenizer: &Tokenizer, word: &Word) -> Result<Vec<u32>> {
    tokenizer.encode(&format!("\n{}", question(&word.text)), false)
}

fn unreadable(tokenizer: &Tokenizer, word: &Word) -> Error {
    let pieces = asked(tokenizer, word).unwrap_or_default();
    let pieces: Vec<_> = pieces.iter().map(|id| String::from_utf8_lossy(&tokenizer.piece(*id)).into_owned()).collect();
    Error::invalid(format!(
        "this tokenizer does not read the word {:?} as one token in the first-letter task (it reads {}), so absorption cannot be measured with it",
        word.text,
        shorten(&format!("{pieces:?}"), 200)
    ))
}

fn write(
    tokenizer: &Tokenizer,
    words: &[Word],
    at: usize,
    pool: &[usize],
    bos: bool,
    rng: &mut Rng,
) -> Result<Vec<u32>> {
    let others = pool.len() - usize::from(pool.binary_search(&at).is_ok());
    if others < EXAMPLES {
        return Err(Error::invalid(format!(
            "only {others} words can be examples in the first-letter task, {EXAMPLES} are needed: the tokenizer does not read {:?} as one token",
            answer(&words[at].text)
        )));
    }
    let mut drawn: Vec<usize> = Vec::with_capacity(EXAMPLES);
    while drawn.len() < EXAMPLES {
        let next = pool[rng.below(pool.len())];
        if next != at && !drawn.contains(&next) {
            drawn.push(next);
        }
    }
    let examples: Vec<&str> = drawn.into_iter().map(|at| words[at].text.as_str()).collect();
    tokenizer.encode(&prompt(&words[at].text, &examples), bos)
}

/// Over the ids, byte by byte.
fn digest<'a>(rows: impl Iterator<Item = &'a Vec<u32>>) -> u64 {
    fnv1a(rows.flatten().flat_map(|id| id.to_le_bytes()).map(u64::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prunelens_core::demo;

    fn tokenizer() -> Tokenizer {
        let model = demo::model(&candle_core::Device::Cpu, candle_core::DType::F32, &mut |_| Ok(())).unwrap();
        demo::tokenizer(&model).unwrap()
    }

    #[test]
    fn prompts_have_one_length_and_their_word_in_its_place() {
        let tokenizer = tokenizer();
        let spec = AbsorptionSpec { max_words: Some(300), ..AbsorptionSpec::default() };
        let made = Prompts::new(&tokenizer, &spec, true, &mut || Ok(())).unwrap();
        assert!(made.words.len() > 250 && made.words.len() <= 300);
        assert_eq!(made.latent_batch(4096), (4096 * made.words.len()).div_ceil(made.vocabulary).max(32));
        assert_eq!(made.training, (made.words.len() as f64 * 0.8) as usize);
        assert_eq!((made.rows.len(), made.calculator.len()), (made.words.len(), made.words.len() - made.training));
        for (word, row) in made.words.iter().zip(&made.rows) {
            assert_eq!((row[0], row[made.position()]), (tokenizer.bos.unwrap(), word.token));
            let text: Vec<u8> = row[1..].iter().flat_map(|id| tokenizer.piece(*id)).collect();
            let text = String::from_utf8(text).unwrap();
            assert_eq!(text.matches('\n').count(), EXAMPLES + 1);
            assert_eq!(text.matches(&format!("\n{}", question(&word.text))).count(), 1, "{text:?}");
        }
        // The seed decides, nothing else.
        let again = Prompts::new(&tokenizer, &spec, true, &mut || Ok(())).unwrap();
        assert_eq!((made.digest, &made.rows), (again.digest, &again.rows));
        let other = AbsorptionSpec { random_seed: 1, ..spec };
        assert_ne!(made.digest, Prompts::new(&tokenizer, &other, true, &mut || Ok(())).unwrap().digest);
    }

    #[test]
    fn examples_come_from_the_words_own_split() {
        let tokenizer = tokenizer();
        let spec = AbsorptionSpec { max_words: Some(300), ..AbsorptionSpec::default() };
        let made = Prompts::new(&tokenizer, &spec, false, &mut || Ok(())).unwrap();
        let tokens = |words: &[Word]| words.iter().map(|w| w.token).collect::<std::collections::HashSet<_>>();
        let (train, test) = (tokens(&made.words[..made.training]), tokens(made.test_words()));
        // The example's word is the first token of its line.
        let line = tokenizer.encode("\n", false).unwrap();
        let examples = |row: &[u32]| {
            let starts = (0..row.len() - 1).filter(|&at| row[at] == line[0]).map(|at| row[at + 1]);
            starts.collect::<Vec<_>>()
        };
        assert!(made.rows[..made.training].iter().all(|row| examples(row).iter().all(|t| train.contains(t))));
        assert!(made.rows[made.training..].iter().all(|row| examples(row).iter().all(|t| test.contains(t))));
        assert!(made.calculator.iter().any(|row| examples(row).iter().any(|t| train.contains(t))));
    }
}
