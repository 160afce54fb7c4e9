//! Jobs on what a session has loaded: which variants, which data sets, how many texts.

use prunelens_core::{
    data::Dataset,
    error::{Error, Result},
    session::Session,
    text::safe,
};

use super::{
    choice::{Choice, Sizes},
    options::{MEMORY, TextOptions, default_context, default_sizes},
    report::Layout,
    run::{TextMetric, TextsRun},
    unit::Unit,
};
use crate::{
    Cost, Extent, SessionJob,
    data::Data,
    readers::{Names, readers, setting},
};

/// The job of a family on labelled texts.
pub type TextJob<F> = SessionJob<TextsRun<F>>;

const SEED: u64 = 42;
const MAX_SIZE: usize = 10_000_000;

/// Data sets and sizes.
pub struct Plan {
    data: Data,
    /// With their texts.
    pub datasets: Vec<Dataset>,
    asked: Sizes,
}

impl Plan {
    /// Reads the data sets that were asked for.
    pub fn new(session: &Session, options: &TextOptions) -> Result<Self> {
        let data = Data::chosen(&options.data, session, "labelled texts", "prunelens data labels")?;
        let n_ctx = session.models.original.config.n_ctx;
        let context = options.context.unwrap_or(default_context(session));
        if context == 0 || context > n_ctx {
            return Err(Error::Usage(format!("a context of {context} tokens does not fit; expected 1 to {n_ctx}")));
        }
        let (train, test) = default_sizes(&session.models.original);
        let size = |asked: Option<usize>, default: usize, flag: &str| match asked.unwrap_or(default) {
            size @ 8..=MAX_SIZE => Ok(size),
            size => Err(Error::Usage(format!(
                "{flag} {size}: expected 8 to {MAX_SIZE}, half for a class and half against it"
            ))),
        };
        Ok(Self {
            datasets: data.datasets(&options.datasets)?,
            data,
            asked: Sizes {
                train: size(options.train_size, train, "--train-size")?,
                test: size(options.test_size, test, "--test-size")?,
                context,
                seed: SEED,
            },
        })
    }

    /// A unit for each data set, with all its classes.
    pub fn of_classes(&self, session: &Session) -> Result<Vec<Unit>> {
        self.read(session, self.choose_classes()?)
    }

    fn choose_classes(&self) -> Result<Vec<Choice<'_>>> {
        self.datasets.iter().map(|dataset| Choice::of_classes(dataset, &self.asked)).collect()
    }

    /// Data sets without pairs are passed over, unless they were asked for.
    pub fn of_pairs(&mut self, session: &Session, named: bool) -> Result<Vec<Unit>> {
        let without = self.datasets.iter().find(|dataset| dataset.about.scr_pairs.is_empty());
        if let Some(dataset) = without.filter(|_| named || self.datasets.iter().all(|d| d.about.scr_pairs.is_empty())) {
            return Err(Error::file(
                &dataset.folder,
                "has no pairs of classes with a second label, which SCR needs (`prunelens data labels --spurious COLUMN`)",
            ));
        }
        self.datasets.retain(|dataset| !dataset.about.scr_pairs.is_empty());
        self.read(session, self.choose_pairs()?)
    }

    fn choose_pairs(&self) -> Result<Vec<Choice<'_>>> {
        let pairs =
            self.datasets.iter().flat_map(|dataset| dataset.about.scr_pairs.iter().map(move |pair| (dataset, pair)));
        pairs.map(|(dataset, pair)| Choice::of_pair(dataset, pair, &self.asked)).collect()
    }

    fn read(&self, session: &Session, choices: Vec<Choice>) -> Result<Vec<Unit>> {
        let read = |choice| {
            let unit = Unit::read(choice, &session.models.tokenizer, self.asked.context)?;
            prunelens_core::data::rows::check_rows(&unit.texts, session.models.original.config.d_vocab)?;
            Ok(unit)
        };
        choices.into_iter().map(read).collect()
    }

    /// Names of the data sets.
    pub fn names(&self) -> Vec<String> {
        self.datasets.iter().map(|dataset| dataset.about.name.clone()).collect()
    }

    /// Texts that there really are, of those asked for.
    pub fn real_sizes(&self, units: &[Unit]) -> Sizes {
        Sizes {
            train: units.iter().map(|unit| unit.train_size).max().unwrap_or(0),
            test: units.iter().map(|unit| unit.test_size).max().unwrap_or(0),
            ..self.asked
        }
    }

    /// The job of a family over these units.
    pub fn job<F: TextMetric + Layout>(
        self,
        session: &Session,
        options: &TextOptions,
        family: F,
        units: Vec<Unit>,
    ) -> Result<TextJob<F>> {
        let readers =
            readers(session, &options.variants, setting(session, options.knob, options.ratio, options.criterion)?)?;
        let memory = options.memory.unwrap_or(MEMORY);
        let names = Names::of(session);
        let mut settings = names.settings();
        let sizes = self.real_sizes(&units);
        settings.push(("data".into(), self.data.words()));
        for unit in &units {
            let what = format!(
                "{} to train and {} to test, for and against a class; {} texts",
                unit.train_size,
                unit.test_size,
                unit.texts.len()
            );
            settings.push((safe(&unit.name), what));
        }
        settings.push(("context".into(), format!("{} tokens, special tokens left out", sizes.context)));
        settings.extend(readers.first().map(|reader| ("hook".into(), reader.hook.to_string())));
        let pruning = readers.iter().find_map(|reader| reader.pruning.as_ref());
        settings.extend(pruning.map(|p| ("sae pruning".into(), p.setting().words())));
        let identities = names.identities(&readers);
        let run = TextsRun::new(family, readers, units, sizes.context, memory.saturating_mul(1 << 20))?;
        Ok(SessionJob::new(run, identities, settings))
    }
}

/// The work of a run.
pub fn cost(session: &Session, options: &TextOptions, scr: bool) -> Result<Cost> {
    let plan = Plan::new(session, options)?;
    let (mut texts, mut tokens) = (0, 0.0);
    for choice in if scr { plan.choose_pairs()? } else { plan.choose_classes()? } {
        let (more, of_them) = choice.size(&session.models.tokenizer, plan.asked.context)?;
        (texts, tokens) = (texts + more, tokens + of_them);
    }
    let Extent { variants, models, before, .. } = Extent::of(session, &options.variants);
    Ok(Cost {
        tokens: tokens as u64,
        // Nothing after the hook is computed, and nothing is decoded.
        passes: models * before,
        shared: models * before,
        encodings: variants / 2.0,
        // Probes: some hundred passes over the summed-up texts, most of whose latents are 0.
        other: variants * 400.0 * texts as f64 * session.sae.d_sae() as f64 / 4.0,
        bytes: (options.memory.unwrap_or(MEMORY) as u64) << 20,
    })
}

/// Values asked for, ascending and each once; SAEBench's files have no fields for others.
pub fn chosen(flag: &str, asked: &[usize], possible: &[usize], default: &[usize]) -> Result<Vec<usize>> {
    if let Some(other) = asked.iter().find(|value| !possible.contains(value)) {
        let possible: Vec<_> = possible.iter().map(usize::to_string).collect();
        return Err(Error::Usage(format!("{flag} {other}: expected of {}", possible.join(", "))));
    }
    let mut values = if asked.is_empty() { default.to_vec() } else { asked.to_vec() };
    values.sort_unstable();
    values.dedup();
    Ok(values)
}
