//! The texts one figure is measured on: chosen, balanced and tokenised, the same for every variant.

use std::collections::HashMap;

use prunelens_core::{
    data::{Dataset, LabelledText},
    digest::fnv1a,
    error::{Error, Result},
    model::Tokenizer,
    rng::Rng,
    text::{safe, shorten},
};

/// Texts of one name, by their places among a unit's texts.
#[derive(Clone, Debug, PartialEq)]
pub struct TextSet {
    /// The class, or for SCR one of [`SCR_SETS`].
    pub name: String,
    /// Places of its texts among the unit's.
    pub rows: Vec<usize>,
}

/// What is measured in one piece: a data set, or for SCR a pair of its classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// The data set's name.
    pub dataset: String,
    /// The unit's own: that of the data set, with the pair for SCR.
    pub name: String,
    /// Tokens of each text, at most the context.
    pub texts: Vec<Vec<u32>>,
    /// Special tokens count for nothing; true where a token is none.
    pub kept: Vec<Vec<bool>>,
    /// Texts that probes are trained on: a set a class, or for SCR its six.
    pub train: Vec<TextSet>,
    /// Texts that probes are tested on, in the same sets.
    pub test: Vec<TextSet>,
    /// Texts for and against a class in the two parts, as SAEBench counts them.
    pub train_size: usize,
    /// Texts for and against a class in the test part.
    pub test_size: usize,
}

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
type Chosen<'a> = Vec<(String, Vec<&'a LabelledText>)>;

impl Unit {
    /// All classes of a data set, equally many texts of each; of each second label too, where the data set has one.
    pub fn of_classes(dataset: &Dataset, tokenizer: &Tokenizer, sizes: &Sizes) -> Result<Self> {
        if dataset.about.classes.len() < 2 {
            return Err(Error::file(
                &dataset.folder,
                format!("has one class only ({}); at least 2 are needed", names(&dataset.about.classes)),
            ));
        }
        let parts = [(&dataset.train, sizes.train), (&dataset.test, sizes.test)];
        let [train, test] = [0, 1].map(|part| by_class(dataset, parts[part].0, parts[part].1, part, sizes.seed));
        Self::new(dataset, dataset.about.name.clone(), train?, test?, tokenizer, sizes)
    }

    /// One pair of classes of a data set with a second label, for SCR.
    pub fn of_pair(dataset: &Dataset, pair: &[String; 2], tokenizer: &Tokenizer, sizes: &Sizes) -> Result<Self> {
        let parts = [(&dataset.train, sizes.train), (&dataset.test, sizes.test)];
        let [train, test] =
            [0, 1].map(|part| by_quarter(dataset, pair, parts[part].0, parts[part].1, part, sizes.seed));
        let name = format!("{}_scr_{}_{}", dataset.about.name, pair[0], pair[1]);
        Self::new(dataset, name, train?, test?, tokenizer, sizes)
    }

    fn new(
        dataset: &Dataset,
        name: String,
        train: Chosen,
        test: Chosen,
        tokenizer: &Tokenizer,
        sizes: &Sizes,
    ) -> Result<Self> {
        let size = |chosen: &Chosen| 2 * chosen.first().map_or(0, |(_, texts)| texts.len());
        let mut unit = Self {
            dataset: dataset.about.name.clone(),
            name,
            train_size: size(&train),
            test_size: size(&test),
            texts: Vec::new(),
            kept: Vec::new(),
            train: Vec::new(),
            test: Vec::new(),
        };
        let mut places = HashMap::new();
        unit.train = unit.sets(dataset, train, tokenizer, sizes.context, &mut places)?;
        unit.test = unit.sets(dataset, test, tokenizer, sizes.context, &mut places)?;
        Ok(unit)
    }

    /// A text that is in several sets is read once.
    fn sets<'a>(
        &mut self,
        dataset: &Dataset,
        chosen: Chosen<'a>,
        tokenizer: &Tokenizer,
        context: usize,
        places: &mut HashMap<*const LabelledText, usize>,
    ) -> Result<Vec<TextSet>> {
        let mut sets = Vec::new();
        for (name, texts) in chosen {
            let mut rows = Vec::with_capacity(texts.len());
            for text in texts {
                if let Some(&row) = places.get(&std::ptr::from_ref(text)) {
                    rows.push(row);
                    continue;
                }
                let ids = tokens(text, tokenizer, context)?;
                let kept: Vec<bool> = ids.iter().map(|id| !tokenizer.special(*id)).collect();
                if !kept.contains(&true) {
                    return Err(Error::file(
                        &dataset.folder,
                        format!(
                            "{}: nothing but special tokens is left of the text {:?}",
                            text.place,
                            shorten(&text.text, 40)
                        ),
                    ));
                }
                places.insert(text, self.texts.len());
                rows.push(self.texts.len());
                self.texts.push(ids);
                self.kept.push(kept);
            }
            sets.push(TextSet { name, rows });
        }
        Ok(sets)
    }

    /// Tokens that count of all texts.
    pub fn tokens(&self) -> usize {
        self.kept.iter().flatten().filter(|kept| **kept).count()
    }

    /// Places of training texts; the others are for testing.
    pub fn is_train(&self) -> Vec<bool> {
        let mut train = vec![false; self.texts.len()];
        self.train.iter().flat_map(|set| &set.rows).for_each(|&row| train[row] = true);
        train
    }

    /// What tells these texts, in this order, from others (over all of them and over the sets).
    pub fn digest(&self) -> u64 {
        let sets =
            self.train.iter().chain(&self.test).flat_map(|set| set.rows.iter().map(|&row| row as u64 + 1).chain([0]));
        let ids = self.texts.iter().flat_map(|ids| ids.iter().map(|&id| u64::from(id) + 1).chain([0]));
        fnv1a(ids.chain(sets))
    }
}

fn tokens(text: &LabelledText, tokenizer: &Tokenizer, context: usize) -> Result<Vec<u32>> {
    // A long text is not tokenised for its first page: no token stands for hundreds of bytes on average.
    let most = context.saturating_mul(512);
    let end = (0..=most.min(text.text.len())).rev().find(|&at| text.text.is_char_boundary(at)).unwrap_or(0);
    let mut ids = tokenizer.encode_with_own_specials(&text.text[..end])?;
    ids.truncate(context);
    Ok(ids)
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
