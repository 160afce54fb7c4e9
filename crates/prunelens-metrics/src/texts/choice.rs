//! Which texts one figure is measured on: balanced, and the same for every variant.

use std::collections::HashSet;

use prunelens_core::{
    data::{Dataset, LabelledText},
    error::{Error, Result},
    model::Tokenizer,
    rng::Rng,
    text::{safe, shorten},
};

use super::unit::tokens;

/// How many texts are asked for, and where chance begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// Positives and negatives together.
    pub train: usize,
    /// Texts that probes are tested on.
    pub test: usize,
    /// Tokens of a text that are read.
    pub context: usize,
    /// Of the draws.
    pub seed: u64,
}

/// Fewest texts of a class, or of a quarter for SCR, in the two parts.
const LEAST: [(&str, usize); 2] = [("training", 4), ("test", 2)];

/// SAEBench's six names of SCR's text sets, whatever the pair: each class of texts and the one that stands against it.
pub const SCR_SETS: [&str; 6] = [
    "male / female",
    "female_data_only",
    "professor / nurse",
    "nurse_data_only",
    "male_professor / female_nurse",
    "female_nurse_data_only",
];

/// The texts of named sets in one part of a data set.
pub type Chosen<'a> = Vec<(String, Vec<&'a LabelledText>)>;

/// The texts of a [`Unit`](super::Unit), before they are read.
pub struct Choice<'a> {
    /// Where they are from.
    pub dataset: &'a Dataset,
    /// The unit's name.
    pub name: String,
    /// To train probes on, and to test them.
    pub parts: [Chosen<'a>; 2],
}

/// Texts that are tokenised to tell how long all are.
const PROBED: usize = 32;

impl<'a> Choice<'a> {
    /// All classes of a data set, equally many texts of each; of each second label too, where the data set has one.
    pub fn of_classes(dataset: &'a Dataset, sizes: &Sizes) -> Result<Self> {
        if dataset.about.classes.len() < 2 {
            return Err(Error::file(
                &dataset.folder,
                format!("has one class only ({}); at least 2 are needed", names(&dataset.about.classes)),
            ));
        }
        let parts = [
            by_class(dataset, &dataset.train, sizes.train, 0, sizes.seed)?,
            by_class(dataset, &dataset.test, sizes.test, 1, sizes.seed)?,
        ];
        Ok(Self { dataset, name: dataset.about.name.clone(), parts })
    }

    /// One pair of classes of a data set with a second label, for SCR.
    pub fn of_pair(dataset: &'a Dataset, pair: &[String; 2], sizes: &Sizes) -> Result<Self> {
        let parts = [
            by_quarter(dataset, pair, &dataset.train, sizes.train, 0, sizes.seed)?,
            by_quarter(dataset, pair, &dataset.test, sizes.test, 1, sizes.seed)?,
        ];
        Ok(Self { dataset, name: format!("{}_scr_{}_{}", dataset.about.name, pair[0], pair[1]), parts })
    }

    /// How many texts there are, and tokens in all of them by the lengths of a few.
    pub fn size(&self, tokenizer: &Tokenizer, context: usize) -> Result<(usize, f64)> {
        let mut seen = HashSet::new();
        let all = self.parts.iter().flatten().flat_map(|(_, texts)| texts);
        let texts: Vec<&LabelledText> = all.copied().filter(|text| seen.insert(std::ptr::from_ref(*text))).collect();
        let (mut probed, mut found) = (0, 0);
        for text in texts.iter().step_by(texts.len().div_ceil(PROBED).max(1)) {
            probed += 1;
            found += tokens(text, tokenizer, context)?.len();
        }
        Ok((texts.len(), texts.len() as f64 * f64::from(found as u32) / f64::from(probed.max(1))))
    }
}

fn names(names: &[String]) -> String {
    names.iter().map(|name| shorten(name, 40)).collect::<Vec<_>>().join(", ")
}

/// `limit` of the texts at random, in random order; the same for the same seed and name.
fn sample<'a>(texts: Vec<&'a LabelledText>, limit: usize, seed: u64, name: &str) -> Vec<&'a LabelledText> {
    let order = Rng::named(seed, name).permutation(texts.len());
    order.iter().take(limit).map(|&at| texts[at as usize]).collect()
}

fn few(dataset: &Dataset, part: usize, found: usize, what: &str) -> Error {
    let (name, least) = LEAST[part];
    let file = if part == 0 { prunelens_core::data::labelled::TRAIN } else { prunelens_core::data::labelled::TEST };
    Error::file(dataset.folder.join(file), format!("{found} {name} texts of {what}; at least {least} are needed"))
}

fn by_class<'a>(
    dataset: &'a Dataset,
    texts: &'a [LabelledText],
    size: usize,
    part: usize,
    seed: u64,
) -> Result<Chosen<'a>> {
    let classes = &dataset.about.classes;
    // Texts of each class, apart for each value of the second label.
    let values: Vec<Option<&String>> = match &dataset.about.spurious_values {
        Some(values) => values.iter().map(Some).collect(),
        None => vec![None],
    };
    let group = |class: &String, value: Option<&String>| -> Vec<&LabelledText> {
        let of = |t: &&LabelledText| t.label == *class && (value.is_none() || t.spurious.as_ref() == value);
        texts.iter().filter(of).collect()
    };
    let mut each = size / 2 / values.len();
    for class in classes {
        for &value in &values {
            let found = group(class, value).len();
            let what = match value {
                Some(value) => format!("class {:?} with {:?}", shorten(class, 40), shorten(value, 40)),
                None => format!("class {:?}", shorten(class, 40)),
            };
            if found * values.len() < LEAST[part].1 {
                return Err(few(dataset, part, found, &what));
            }
            each = each.min(found);
        }
    }
    let chosen = classes.iter().map(|class| {
        let texts = values.iter().flat_map(|&value| {
            let name = format!("{}/{part}/{class}/{}", dataset.about.name, value.map_or("", |v| v));
            sample(group(class, value), each, seed, &name)
        });
        (class.clone(), texts.collect())
    });
    Ok(chosen.collect())
}

/// The six sets of SCR from the four quarters (first or second class, first or second value of the second label).
fn by_quarter<'a>(
    dataset: &'a Dataset,
    pair: &[String; 2],
    texts: &'a [LabelledText],
    size: usize,
    part: usize,
    seed: u64,
) -> Result<Chosen<'a>> {
    let Some(values) = &dataset.about.spurious_values else {
        return Err(Error::file(&dataset.folder, "has no second label (spurious_values), which SCR needs"));
    };
    let quarter = |class: usize, value: usize| {
        let of = |t: &&LabelledText| t.label == pair[class] && t.spurious.as_ref() == Some(&values[value]);
        let name = format!("{}/{part}/{}/{}", dataset.about.name, pair[class], values[value]);
        sample(texts.iter().filter(of).collect(), usize::MAX, seed, &name)
    };
    let quarters = [[quarter(0, 0), quarter(0, 1)], [quarter(1, 0), quarter(1, 1)]];
    let mut each = size / 4;
    for (class, of_class) in quarters.iter().enumerate() {
        for (value, found) in of_class.iter().enumerate() {
            let what = format!("class {:?} with {:?}", shorten(&pair[class], 40), shorten(&values[value], 40));
            // The biased sets take twice as many of the quarters where the two labels go together.
            let times = if class == value { 2 } else { 1 };
            if found.len() < times * LEAST[part].1 {
                return Err(few(
                    dataset,
                    part,
                    found.len(),
                    &format!("{what} (twice as many where the labels go together)"),
                ));
            }
            each = each.min(found.len() / times);
        }
    }
    let take = |class: usize, value: usize, times: usize| quarters[class][value].iter().take(times * each).copied();
    let sets: [Vec<&LabelledText>; 6] = [
        take(0, 0, 1).chain(take(1, 0, 1)).collect(),
        take(0, 1, 1).chain(take(1, 1, 1)).collect(),
        take(0, 0, 1).chain(take(0, 1, 1)).collect(),
        take(1, 0, 1).chain(take(1, 1, 1)).collect(),
        take(0, 0, 2).collect(),
        take(1, 1, 2).collect(),
    ];
    Ok(SCR_SETS.iter().map(|name| safe(name)).zip(sets).collect())
}
