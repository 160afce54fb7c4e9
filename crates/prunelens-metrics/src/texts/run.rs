//! The run over all units and models: texts first, then probes and figures, piece by piece.

use prunelens_core::{
    compare::{Reader, Variant},
    error::{Error, Result},
    model::tokens_at_once,
    progress::Tick,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    collect::{Rows, Summary, batches, collect},
    report::{Layout, details, result_file, table},
    sparse_rows::SavedRows,
    unit::Unit,
};
use crate::{
    Better, Detail, MetricTable,
    job::{Measure, from_bytes, to_bytes},
    readers::groups,
    report::{Identity, ResultFile, RunStamp},
};

/// A number of a family's result files.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// SAEBench's category.
    pub category: &'static str,
    /// As files and tables name it.
    pub name: String,
    /// Which way is better.
    pub better: Better,
}

/// A family of metrics on labelled texts.
pub trait TextMetric {
    /// Where the computation on one unit and model is; floats keep their bits.
    type Work: Default + Serialize + DeserializeOwned;

    /// "tpp" ...
    fn name(&self) -> &'static str;

    /// What is kept of a text's latents.
    fn summary(&self, train: bool) -> Summary;

    /// SAEBench's figures, in the order of its files, whether asked for or not.
    fn columns(&self) -> Vec<Column>;

    /// Do the next piece once all texts are in. False when there is none left. An error from `tick` loses this piece only.
    fn compute(&self, unit: &Unit, rows: &Rows, readers: &[&Reader], work: &mut Self::Work, tick: Tick)
    -> Result<bool>;

    /// Share of the pieces that are done, and what the next is, for people.
    fn progress(&self, unit: &Unit, readers: usize, work: &Self::Work) -> (f64, String);

    /// What keeps the figures of a unit from meaning what they seem to, known before it is measured.
    fn warning(&self, _unit: &Unit) -> Option<String> {
        None
    }

    /// The figures of all readers of the model.
    fn finish(&self, unit: &Unit, readers: usize, work: &Self::Work) -> Result<Vec<UnitResult>>;
}

/// The figures of one variant on one unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UnitResult {
    /// By the names of columns; those not measured or not defined are missing.
    pub figures: Vec<(String, f64)>,
    /// The same class by class.
    pub classes: Vec<(String, Vec<(String, f64)>)>,
    /// What the model alone decides: the same for all variants that read it.
    pub of_model: Vec<(String, f64)>,
}

impl UnitResult {
    /// A figure by its name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|(figure, _)| figure == name).map(|(_, value)| *value)
    }
}

/// A run that can be stopped and gone on with after every few texts.
pub struct TextsRun<F: TextMetric> {
    family: F,
    units: Vec<Unit>,
    readers: Vec<Reader>,
    context: usize,
    /// Bytes that latents may take in memory.
    budget: usize,
    /// Readers of the same model at the same hook in the same space, by their place in `readers`.
    groups: Vec<Vec<usize>>,
    batches: Vec<Vec<Vec<usize>>>,
    /// Figures of the units done, one entry a unit, one in it a reader.
    done: Vec<Vec<UnitResult>>,
    /// The unit under way: figures of the groups before this one, by reader.
    partial: Vec<Option<UnitResult>>,
    group: usize,
    /// Batches of it that are in `rows`.
    batch: usize,
    rows: Option<Rows>,
    work: F::Work,
}

/// What a run goes on from.
#[derive(Serialize, Deserialize)]
struct State {
    /// Of the texts, so that no state is taken up with others.
    digest: u64,
    done: Vec<Vec<UnitResult>>,
    partial: Vec<Option<UnitResult>>,
    group: usize,
    batch: usize,
    rows: Option<SavedTexts>,
    work: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct SavedTexts {
    means: Vec<f32>,
    kept: Vec<u32>,
    latents: Vec<SavedRows>,
}

/// Latents of the unit under way are part of a state up to this size; beyond it that unit's texts are read again.
const STATE_BYTES: usize = 64 << 20;

impl<F: TextMetric> TextsRun<F> {
    /// Measure `readers` on `units`, whose texts have at most `context` tokens.
    pub fn new(family: F, readers: Vec<Reader>, units: Vec<Unit>, context: usize, budget: usize) -> Result<Self> {
        let Some(first) = readers.first() else {
            return Err(Error::invalid("there is no variant to measure; the session has no SAE"));
        };
        let d_model = first.model.config.d_model as f64;
        let tokens = tokens_at_once(24.0 * d_model * d_model, &first.model.device);
        let groups = groups(&readers);
        Ok(Self {
            batches: units.iter().map(|unit| batches(unit, tokens)).collect(),
            partial: vec![None; readers.len()],
            family,
            units,
            readers,
            context,
            budget,
            groups,
            done: Vec::new(),
            group: 0,
            batch: 0,
            rows: None,
            work: F::Work::default(),
        })
    }

    /// What tells this family from the others.
    pub fn family(&self) -> &F {
        &self.family
    }

    /// The variants that are measured.
    pub fn readers(&self) -> &[Reader] {
        &self.readers
    }

    /// What is measured one after the other.
    pub fn units(&self) -> &[Unit] {
        &self.units
    }

    /// Of all units' texts.
    pub fn digest(&self) -> u64 {
        self.units.iter().fold(self.context as u64, |hash, unit| hash.rotate_left(5) ^ unit.digest())
    }

    /// Figures of the units done: one entry a unit, one in it a reader.
    pub fn results(&self) -> &[Vec<UnitResult>] {
        &self.done
    }

    /// All figures, once [`step`](Self::step) has nothing left to do.
    pub fn finish(&self) -> Result<&[Vec<UnitResult>]> {
        if self.done.len() < self.units.len() {
            return Err(Error::invalid(format!("the {} metric is not finished", self.family.name())));
        }
        for (unit, results) in self.units.iter().zip(&self.done) {
            for group in &self.groups {
                let group: Vec<_> = group.iter().map(|&at| (self.readers[at].variant, &results[at])).collect();
                check_comparable(&unit.name, &group)?;
            }
        }
        Ok(&self.done)
    }
}

impl<F: TextMetric + Layout> Measure for TextsRun<F> {
    const UNIT: &'static str = "tokens";

    /// Read the next texts, or compute the next figures from them. False when all is done. An error from `tick` loses at
    /// most this step's work, and the next call takes it up again.
    fn step(&mut self, tick: Tick) -> Result<bool> {
        let Some(unit) = self.units.get(self.done.len()) else { return Ok(false) };
        let readers: Vec<&Reader> = self.groups[self.group].iter().map(|&at| &self.readers[at]).collect();
        let rows = self.rows.get_or_insert_with(|| Rows::new(&readers, unit.texts.len(), self.budget));
        let batches = &self.batches[self.done.len()];
        if let Some(batch) = batches.get(self.batch) {
            let summaries: Vec<Summary> = unit.is_train().into_iter().map(|train| self.family.summary(train)).collect();
            collect(&readers, unit, batch, &summaries, self.context, rows, tick)?;
            self.batch += 1;
            if self.batch == batches.len() {
                rows.latents.iter_mut().try_for_each(super::SparseRows::seal)?;
            }
            return Ok(true);
        }
        if self.family.compute(unit, rows, &readers, &mut self.work, tick)? {
            return Ok(true);
        }
        let results = self.family.finish(unit, readers.len(), &self.work)?;
        for (&reader, result) in self.groups[self.group].iter().zip(results) {
            self.partial[reader] = Some(result);
        }
        (self.batch, self.rows, self.work) = (0, None, F::Work::default());
        self.group += 1;
        if self.group == self.groups.len() {
            self.group = 0;
            self.done.push(self.partial.iter_mut().filter_map(Option::take).collect());
        }
        Ok(self.done.len() < self.units.len())
    }

    /// Tokens that count, of texts that are through all models, and in all.
    fn progress(&self) -> (usize, usize) {
        let groups = self.groups.len();
        let total: usize = self.units.iter().map(Unit::tokens).sum();
        let done: usize = self.units.iter().take(self.done.len()).map(Unit::tokens).sum();
        let under_way = self.units.get(self.done.len()).map_or(0, |unit| {
            let count = |&row: &usize| unit.kept[row].iter().filter(|kept| **kept).count();
            let read: usize = self.batches[self.done.len()].iter().take(self.batch).flatten().map(count).sum();
            (self.group * unit.tokens() + read) / groups
        });
        (done + under_way, total)
    }

    /// What it is doing, for people.
    fn note(&self) -> String {
        let Some(unit) = self.units.get(self.done.len()) else { return String::new() };
        let model = if self.groups.len() > 1 {
            format!(", model {} of {}", self.group + 1, self.groups.len())
        } else {
            String::new()
        };
        let batches = self.batches[self.done.len()].len();
        let what = if self.batch < batches {
            format!("texts {} %", 100 * self.batch / batches.max(1))
        } else {
            let (share, what) = self.family.progress(unit, self.groups[self.group].len(), &self.work);
            format!("{what} {:.0} %", 100.0 * share)
        };
        format!("{}{model}: {what}", prunelens_core::text::shorten(&unit.name, 40))
    }

    /// What is done, for [`restore`](Self::restore).
    fn state(&self) -> Result<Vec<u8>> {
        let saved = self.rows.as_ref().and_then(|rows| {
            let each = STATE_BYTES / rows.latents.len().max(1);
            let latents = rows.latents.iter().map(|latents| latents.saved(each)).collect::<Option<_>>()?;
            Some(SavedTexts { means: rows.means.clone(), kept: rows.kept.clone(), latents })
        });
        to_bytes(&State {
            digest: self.digest(),
            done: self.done.clone(),
            partial: self.partial.clone(),
            group: self.group,
            batch: if saved.is_some() { self.batch } else { 0 },
            work: if saved.is_some() { to_bytes(&self.work)? } else { Vec::new() },
            rows: saved,
        })
    }

    /// Go on from the state of a run over the same texts and readers.
    fn restore(&mut self, state: &[u8]) -> Result<()> {
        let other =
            || Error::invalid(format!("the saved state is of another {} run; start it anew", self.family.name()));
        let state: State = from_bytes(state)?;
        let complete = |results: &Vec<UnitResult>| results.len() == self.readers.len();
        if state.digest != self.digest()
            || state.partial.len() != self.readers.len()
            || state.group >= self.groups.len()
            || state.done.len() > self.units.len()
            || !state.done.iter().all(complete)
        {
            return Err(other());
        }
        let (mut rows, mut work) = (None, F::Work::default());
        if let (Some(saved), Some(unit)) = (state.rows, self.units.get(state.done.len())) {
            let readers: Vec<&Reader> = self.groups[state.group].iter().map(|&at| &self.readers[at]).collect();
            let mut found = Rows::new(&readers, unit.texts.len(), self.budget);
            let fits = saved.means.len() == found.means.len()
                && saved.kept.len() == found.kept.len()
                && saved.latents.len() == found.latents.len()
                && state.batch <= self.batches[state.done.len()].len();
            if !fits || !found.latents.iter_mut().zip(saved.latents).all(|(rows, saved)| rows.restore(saved)) {
                return Err(other());
            }
            (found.means, found.kept) = (saved.means, saved.kept);
            work = from_bytes(&state.work)?;
            rows = Some(found);
        }
        self.batch = if rows.is_some() { state.batch } else { 0 };
        (self.done, self.partial, self.group) = (state.done, state.partial, state.group);
        (self.rows, self.work) = (rows, work);
        Ok(())
    }

    /// Figures so far.
    fn table(&self) -> MetricTable {
        table(self)
    }

    /// Figures of single classes.
    fn details(&self) -> Vec<Detail> {
        details(self)
    }

    /// Families of the same settings: whoever joins jobs sees to that.
    fn join(self, other: Self) -> Option<Self> {
        if self.digest() != other.digest() || self.context != other.context {
            return None;
        }
        let readers = self.readers.into_iter().chain(other.readers).collect();
        Self::new(self.family, readers, self.units, self.context, self.budget).ok()
    }

    fn state_of(&self, variants: &[usize]) -> Result<Vec<u8>> {
        let of_unit = |unit: &Vec<UnitResult>| variants.iter().map(|&at| unit[at].clone()).collect();
        to_bytes(&State {
            digest: self.digest(),
            done: self.finish()?.iter().map(of_unit).collect(),
            partial: vec![None; variants.len()],
            group: 0,
            batch: 0,
            rows: None,
            work: Vec::new(),
        })
    }

    /// One result file a variant.
    fn files(&self, identities: &[Identity], stamp: &RunStamp) -> Result<Vec<Option<ResultFile>>> {
        let results = self.finish()?;
        let file = |(at, identity)| Some(result_file(self, at, results, identity, stamp));
        Ok(identities.iter().enumerate().map(file).collect())
    }
}

/// Variants of one model must have been measured against the same probes on the same texts.
pub fn check_comparable(unit: &str, results: &[(Variant, &UnitResult)]) -> Result<()> {
    let Some(((first, expected), others)) = results.split_first() else { return Ok(()) };
    for (variant, found) in others {
        let same = |((name, a), (other, b)): (&(String, f64), &(String, f64))| {
            name == other && (a == b || (a.is_nan() && b.is_nan()))
        };
        let all = found.of_model.len() == expected.of_model.len();
        if !all || !found.of_model.iter().zip(&expected.of_model).all(same) {
            let differs = found.of_model.iter().zip(&expected.of_model).find(|pair| !same(*pair));
            let what =
                differs.map_or("the list of probes".into(), |((name, a), (_, b))| format!("{name} is {a} and {b}"));
            return Err(Error::invalid(format!(
                "{variant} and {first} read the same model, but on {} {what}: they cannot be compared",
                prunelens_core::text::shorten(unit, 60)
            )));
        }
    }
    Ok(())
}

/// Mean of a figure over units that have it.
pub fn mean_over_units(results: &[Vec<UnitResult>], reader: usize, name: &str) -> Option<f64> {
    let values: Vec<f64> = results.iter().filter_map(|unit| unit.get(reader)?.get(name)).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
