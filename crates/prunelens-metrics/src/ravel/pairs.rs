//! Pairs of prompts that a mask is trained and tested on.

use prunelens_core::{
    error::{Error, Result},
    rng::Rng,
    text::shorten,
};

use super::{
    RavelSpec,
    prompts::{Prompt, sample},
};

/// A base prompt whose latents are changed, and the source prompt that they come from. Prompts are named by their place in
/// their class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The prompt that is changed.
    pub base: usize,
    /// The prompt that latents are taken from.
    pub source: usize,
    /// The answer's first token before the change.
    pub before: u32,
    /// The one wanted after it.
    pub target: u32,
    /// Whether the label wanted is the source's.
    pub cause: bool,
}

impl Pair {
    /// SAEBench tells the two kinds apart by their tokens: a change that leaves the token as it is counts as isolation.
    pub fn is_cause(&self) -> bool {
        self.before != self.target
    }

    /// The prompt whose label is wanted.
    pub fn labelled(&self) -> usize {
        if self.cause { self.source } else { self.base }
    }
}

/// The pairs of one attribute, in whole batches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pairs {
    /// Pairs that masks are trained on.
    pub train: Vec<Pair>,
    /// Pairs that masks are tested on.
    pub test: Vec<Pair>,
}

/// Pairs for `cause` among the class's attributes `all`. `known` are prompts answered right, with the first tokens of the
/// answers; `names` are for messages: class and attributes.
pub fn pairs(
    prompts: &[Prompt],
    known: &[(usize, u32)],
    cause: usize,
    all: &[usize],
    spec: &RavelSpec,
    (class, attributes): (&str, &[String]),
    rng: &mut Rng,
) -> Result<Pairs> {
    let label = |at: usize| prompts[at].label.as_str();
    let mut of = |attribute: usize| -> Result<Vec<(usize, u32, usize, u32)>> {
        let mine: Vec<(usize, u32)> =
            known.iter().copied().filter(|(at, _)| prompts[*at].attribute == attribute).collect();
        if let Some((first, _)) = mine.first()
            && mine.iter().all(|(at, _)| label(*at) == label(*first))
        {
            return Err(Error::invalid(format!(
                "{class}, {}: every prompt that the model answers right has the answer {:?}, so none can be changed into another; give more entities",
                shorten(&attributes[attribute], 40),
                shorten(label(*first), 40)
            )));
        }
        let n = spec.num_pairs_per_attribute;
        let bases: Vec<(usize, u32)> = if mine.len() < n {
            mine.clone()
        } else {
            sample(mine.len(), n, rng).into_iter().map(|at| mine[at]).collect()
        };
        let draw = |(base, before): (usize, u32)| {
            // A random one of those with another label, without a list of them for every base.
            let (source, target) = loop {
                let drawn = mine[rng.below(mine.len())];
                if label(drawn.0) != label(base) {
                    break drawn;
                }
            };
            (base, before, source, target)
        };
        Ok(bases.into_iter().map(draw).collect())
    };
    let mut pairs: Vec<Pair> = of(cause)?
        .into_iter()
        .map(|(base, before, source, target)| Pair { base, source, before, target, cause: true })
        .collect();
    let mut others = Vec::new();
    for attribute in all.iter().filter(|a| **a != cause) {
        let made = of(*attribute)?;
        others.extend(made.into_iter().map(|(base, before, source, _)| Pair {
            base,
            source,
            before,
            target: before,
            cause: false,
        }));
    }
    shuffle(&mut others, rng);
    others.truncate(pairs.len());
    if pairs.is_empty() || others.is_empty() {
        let known_of = |a: &usize| known.iter().filter(|(at, _)| prompts[*at].attribute == *a).count();
        let counts: Vec<String> =
            all.iter().map(|a| format!("{} {}", shorten(&attributes[*a], 40), known_of(a))).collect();
        return Err(Error::invalid(format!(
            "{class}: too little is known for {}: prompts answered right are {}; give more entities or templates",
            shorten(&attributes[cause], 40),
            counts.join(", ")
        )));
    }
    pairs.extend(others);
    shuffle(&mut pairs, rng);
    let (total, batch) = (pairs.len(), spec.llm_batch_size);
    let mut test = pairs.split_off((total as f64 * spec.train_test_split) as usize);
    let mut train = pairs;
    for part in [&mut train, &mut test] {
        part.truncate(part.len() / batch * batch);
    }
    if train.is_empty() || test.is_empty() {
        return Err(Error::invalid(format!(
            "{class}, {}: {total} pairs do not fill a batch of {batch} to train on and one to test on; give more entities or templates, or a smaller --batch",
            shorten(&attributes[cause], 40)
        )));
    }
    Ok(Pairs { train, test })
}

fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for at in (1..items.len()).rev() {
        items.swap(at, rng.below(at + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(labels: &[(usize, &str)]) -> Vec<Prompt> {
        let prompt = |&(attribute, label): &(usize, &str)| Prompt {
            text: String::new(),
            ids: vec![1],
            at: 0,
            shared: 0,
            entity: 0,
            attribute,
            template: 0,
            label: label.into(),
        };
        labels.iter().map(prompt).collect()
    }

    fn make(labels: &[(usize, &str)], spec: &RavelSpec) -> Result<Pairs> {
        let prompts = prompts(labels);
        let known: Vec<(usize, u32)> = (0..prompts.len()).map(|at| (at, 100 + at as u32)).collect();
        let names = ["Country".to_owned(), "Language".to_owned()];
        pairs(&prompts, &known, 0, &[0, 1], spec, ("city", &names), &mut Rng::new(42, 0))
    }

    #[test]
    fn targets_come_from_the_source_for_cause_and_stay_for_isolation() {
        let labels: Vec<(usize, &str)> = (0..40).map(|i| (i % 2, if i % 4 < 2 { "a" } else { "b" })).collect();
        let spec = RavelSpec { llm_batch_size: 3, num_pairs_per_attribute: 15, ..RavelSpec::default() };
        let made = make(&labels, &spec).unwrap();
        assert_eq!(made, make(&labels, &spec).unwrap());
        // 15 of each, 21 to train on.
        assert_eq!((made.train.len(), made.test.len()), (21, 9));
        let all: Vec<&Pair> = made.train.iter().chain(&made.test).collect();
        assert_eq!(all.iter().filter(|p| p.cause).count(), 15);
        for pair in all {
            assert_ne!(labels[pair.base].1, labels[pair.source].1);
            assert_eq!(labels[pair.base].0, labels[pair.source].0);
            assert_eq!(labels[pair.base].0 == 0, pair.cause);
            assert_eq!(pair.before, 100 + pair.base as u32);
            let target = if pair.cause { pair.source } else { pair.base };
            assert_eq!(pair.target, 100 + target as u32);
            assert_eq!(pair.is_cause(), pair.cause);
        }
    }

    #[test]
    fn too_little_is_refused_in_words() {
        let spec = RavelSpec { llm_batch_size: 4, ..RavelSpec::default() };
        let refused = |labels: &[(usize, &str)]| make(labels, &spec).unwrap_err().to_string();
        assert!(refused(&[(0, "a"), (0, "a"), (1, "a"), (1, "b")]).contains("has the answer \"a\""));
        assert!(refused(&[(0, "a"), (0, "b")]).contains("Country 2, Language 0"));
        assert!(refused(&[(0, "a"), (0, "b"), (1, "a"), (1, "b")]).contains("4 pairs do not fill a batch of 4"));
    }
}
