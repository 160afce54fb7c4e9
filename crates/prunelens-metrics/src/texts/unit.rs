//! The texts one figure is measured on, tokenised, the same for every variant.

use std::collections::HashMap;

use prunelens_core::{
    data::{Dataset, LabelledText},
    digest::fnv1a,
    error::{Error, Result},
    model::Tokenizer,
    text::shorten,
};

use super::choice::{Choice, Chosen};

/// Texts of one name, by their places among a unit's texts.
#[derive(Clone, Debug, PartialEq)]
pub struct TextSet {
    /// The class, or for SCR one of [`SCR_SETS`](super::choice::SCR_SETS).
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

impl Unit {
    /// Read the texts that were chosen, at most `context` tokens of each.
    pub fn read(choice: Choice, tokenizer: &Tokenizer, context: usize) -> Result<Self> {
        let Choice { dataset, name, parts: [train, test] } = choice;
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
        unit.train = unit.sets(dataset, train, tokenizer, context, &mut places)?;
        unit.test = unit.sets(dataset, test, tokenizer, context, &mut places)?;
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

/// Of a text, at most so many.
pub(super) fn tokens(text: &LabelledText, tokenizer: &Tokenizer, context: usize) -> Result<Vec<u32>> {
    // A long text is not tokenised for its first page: no token stands for hundreds of bytes on average.
    let most = context.saturating_mul(512);
    let end = (0..=most.min(text.text.len())).rev().find(|&at| text.text.is_char_boundary(at)).unwrap_or(0);
    let mut ids = tokenizer.encode_with_own_specials(&text.text[..end])?;
    ids.truncate(context);
    Ok(ids)
}
