//! Jobs on what a session has loaded: which variants, which data sets, how many texts, what the files are called.

use std::path::{Path, PathBuf};

use prunelens_core::{
    compare::Variant,
    data::{Dataset, read_datasets},
    error::{Error, Result},
    model::{Model, Tick},
    prune::Criterion,
    session::Session,
    text::safe,
};

use super::{
    report::{Layout, details, result_file, table},
    run::{Family, TextsRun},
    unit::{Sizes, Unit},
};
use crate::{
    Detail, MetricTable,
    core::job::CONTEXT,
    job::{Job, JobProgress, Step},
    report::{Identity, RunStamp, write_results},
    scr_tpp::{Ablations, N_VALUES, Scr, Tpp},
    sparse_probing::{K_VALUES, SparseProbing},
    subjects::{Names, readers},
};

/// What can be chosen; `None` and nothing named are defaults that suit the model and two CPU cores.
#[derive(Clone, Debug, Default)]
pub struct TextOptions {
    /// Those present, if none are named.
    pub variants: Vec<Variant>,
    /// Folder with the data sets.
    pub data: Option<PathBuf>,
    /// All that are there, if none is named.
    pub datasets: Vec<String>,
    /// Numbers of latents that sparse probes read: 1, 2 and 5.
    pub k_values: Vec<usize>,
    /// Numbers of latents ablated for SCR and TPP: all that SAEBench has.
    pub n_values: Vec<usize>,
    /// Texts for and against a class together.
    pub train_size: Option<usize>,
    pub test_size: Option<usize>,
    /// Tokens of a text that are read.
    pub context: Option<usize>,
    /// Megabytes that summed-up texts may take; more goes to a temporary file.
    pub memory: Option<usize>,
    /// Pruning of the `pruned` variant's SAE. Default: the session's.
    pub pruning: Option<(f64, Criterion)>,
}

/// A run with the names of its results.
pub struct TextJob<F: Family> {
    pub run: TextsRun<F>,
    /// In the order of the run's readers.
    identities: Vec<Identity>,
    settings: Vec<(String, String)>,
    /// Part of the names of figures that are shown class by class.
    of_class: &'static str,
}

const SEED: u64 = 42;
pub const MEMORY: usize = 512;
const MAX_SIZE: usize = 10_000_000;

impl TextJob<SparseProbing> {
    pub fn sparse_probing(session: &Session, options: &TextOptions) -> Result<Self> {
        let k_values = chosen("--k", &options.k_values, &K_VALUES, &[1, 2, 5])?;
        let plan = Plan::new(session, options)?;
        let units = plan.of_classes(session)?;
        let family = SparseProbing { k_values, datasets: plan.names(), sizes: plan.real_sizes(&units) };
        plan.measurement(session, options, family, units, "sae_")
    }
}

impl TextJob<Tpp> {
    pub fn tpp(session: &Session, options: &TextOptions) -> Result<Self> {
        let n_values = chosen("--latents", &options.n_values, &N_VALUES, &N_VALUES)?;
        let plan = Plan::new(session, options)?;
        let units = plan.of_classes(session)?;
        let family = Tpp(plan.ablations(n_values, &units));
        plan.measurement(session, options, family, units, "total_metric")
    }
}

impl TextJob<Scr> {
    pub fn scr(session: &Session, options: &TextOptions) -> Result<Self> {
        let n_values = chosen("--latents", &options.n_values, &N_VALUES, &N_VALUES)?;
        let mut plan = Plan::new(session, options)?;
        let units = plan.of_pairs(session, !options.datasets.is_empty())?;
        let family = Scr(plan.ablations(n_values, &units));
        plan.measurement(session, options, family, units, "scr_")
    }
}

impl<F: Family + Layout> Job for TextJob<F> {
    fn name(&self) -> &'static str {
        self.run.family().name()
    }

    fn step(&mut self, tick: Tick) -> Result<Step> {
        self.run.step(tick).map(Step::more_if)
    }

    fn progress(&self) -> JobProgress {
        JobProgress::new(self.run.progress(), "tokens", self.run.note())
    }

    fn table(&self) -> MetricTable {
        table(&self.run, self.settings.clone())
    }

    /// Figures of single classes.
    fn details(&self) -> Vec<Detail> {
        details(&self.run, self.of_class)
    }

    fn state(&self) -> Result<Vec<u8>> {
        self.run.state()
    }

    fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.run.restore(state)
    }

    /// One result file a variant below `folder`.
    fn finish(&mut self, folder: &Path) -> Result<Vec<PathBuf>> {
        let results = self.run.finish()?;
        let stamp = RunStamp::now();
        let file = |(at, identity)| (identity, result_file(&self.run, at, results, identity, &stamp));
        write_results(folder, self.identities.iter().enumerate().map(file))
    }
}

/// Data sets and sizes.
struct Plan {
    folder: PathBuf,
    datasets: Vec<Dataset>,
    asked: Sizes,
}

impl Plan {
    fn new(session: &Session, options: &TextOptions) -> Result<Self> {
        let Some(folder) = &options.data else {
            return Err(Error::Usage(
                "labelled texts are needed: give their folder as data, --data on the command line (`prunelens data labels` makes one)".into(),
            ));
        };
        let n_ctx = session.original.config.n_ctx;
        let context = options.context.unwrap_or(CONTEXT.min(n_ctx));
        if context == 0 || context > n_ctx {
            return Err(Error::Usage(format!("a context of {context} tokens does not fit; expected 1 to {n_ctx}")));
        }
        let (train, test) = default_sizes(&session.original);
        let size = |asked: Option<usize>, default: usize, flag: &str| match asked.unwrap_or(default) {
            size @ 8..=MAX_SIZE => Ok(size),
            size => Err(Error::Usage(format!(
                "{flag} {size}: expected 8 to {MAX_SIZE}, half for a class and half against it"
            ))),
        };
        Ok(Self {
            folder: folder.clone(),
            datasets: read_datasets(folder, &options.datasets)?,
            asked: Sizes {
                train: size(options.train_size, train, "--train-size")?,
                test: size(options.test_size, test, "--test-size")?,
                context,
                seed: SEED,
            },
        })
    }

    fn of_classes(&self, session: &Session) -> Result<Vec<Unit>> {
        let units = self.datasets.iter().map(|dataset| Unit::of_classes(dataset, &session.tokenizer, &self.asked));
        self.checked(session, units.collect::<Result<_>>()?)
    }

    /// Data sets without pairs are passed over, unless they were asked for.
    fn of_pairs(&mut self, session: &Session, named: bool) -> Result<Vec<Unit>> {
        let without = self.datasets.iter().find(|dataset| dataset.about.scr_pairs.is_empty());
        if let Some(dataset) = without.filter(|_| named || self.datasets.iter().all(|d| d.about.scr_pairs.is_empty())) {
            return Err(Error::file(
                &dataset.folder,
                "has no pairs of classes with a second label, which SCR needs (`prunelens data labels --spurious COLUMN`)",
            ));
        }
        self.datasets.retain(|dataset| !dataset.about.scr_pairs.is_empty());
        let pairs =
            self.datasets.iter().flat_map(|dataset| dataset.about.scr_pairs.iter().map(move |pair| (dataset, pair)));
        let units = pairs.map(|(dataset, pair)| Unit::of_pair(dataset, pair, &session.tokenizer, &self.asked));
        self.checked(session, units.collect::<Result<_>>()?)
    }

    fn checked(&self, session: &Session, units: Vec<Unit>) -> Result<Vec<Unit>> {
        for unit in &units {
            prunelens_core::data::rows::check_rows(&unit.texts, session.original.config.d_vocab)?;
        }
        Ok(units)
    }

    fn names(&self) -> Vec<String> {
        self.datasets.iter().map(|dataset| dataset.about.name.clone()).collect()
    }

    fn real_sizes(&self, units: &[Unit]) -> Sizes {
        Sizes {
            train: units.iter().map(|unit| unit.train_size).max().unwrap_or(0),
            test: units.iter().map(|unit| unit.test_size).max().unwrap_or(0),
            ..self.asked
        }
    }

    fn ablations(&self, n_values: Vec<usize>, units: &[Unit]) -> Ablations {
        Ablations {
            n_values,
            datasets: self.names(),
            pairs: self.datasets.iter().map(|dataset| dataset.about.scr_pairs.clone()).collect(),
            sizes: self.real_sizes(units),
        }
    }

    fn measurement<F: Family + Layout>(
        self,
        session: &Session,
        options: &TextOptions,
        family: F,
        units: Vec<Unit>,
        of_class: &'static str,
    ) -> Result<TextJob<F>> {
        let (ratio, criterion) = options.pruning.unwrap_or((session.spec.ratio, session.spec.criterion));
        let readers = readers(session, &options.variants, ratio, criterion)?;
        let memory = options.memory.unwrap_or(MEMORY);
        let names = Names::of(session);
        let mut settings = names.settings();
        let sizes = self.real_sizes(&units);
        settings.push(("data".into(), safe(&self.folder.display().to_string())));
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
        settings.extend(pruning.map(|p| ("sae pruning".into(), format!("{} {}", p.order.criterion, p.ratio))));
        let identities = readers.iter().map(|reader| names.identity(reader)).collect();
        let run = TextsRun::new(family, readers, units, sizes.context, memory.saturating_mul(1 << 20))?;
        Ok(TextJob { run, identities, settings, of_class })
    }
}

/// Texts that a run reads, at most, and megabytes it may take; known without making it.
pub fn texts_ahead(session: &Session, options: &TextOptions, scr: bool) -> Result<usize> {
    let plan = Plan::new(session, options)?;
    let of = |dataset: &Dataset| match scr {
        // Two quarters count twice.
        true => dataset.about.scr_pairs.len() * 6 * (plan.asked.train / 4 + plan.asked.test / 4),
        false => {
            let classes = dataset.about.classes.len();
            (classes * plan.asked.train / 2).min(dataset.train.len())
                + (classes * plan.asked.test / 2).min(dataset.test.len())
        }
    };
    Ok(plan.datasets.iter().map(of).sum())
}

/// Values asked for, ascending and each once; SAEBench's files have no fields for others.
fn chosen(flag: &str, asked: &[usize], possible: &[usize], default: &[usize]) -> Result<Vec<usize>> {
    if let Some(other) = asked.iter().find(|value| !possible.contains(value)) {
        let possible: Vec<_> = possible.iter().map(usize::to_string).collect();
        return Err(Error::Usage(format!("{flag} {other}: expected of {}", possible.join(", "))));
    }
    let mut values = if asked.is_empty() { default.to_vec() } else { asked.to_vec() };
    values.sort_unstable();
    values.dedup();
    Ok(values)
}

/// Some minutes on two cores for four classes.
pub fn default_sizes(model: &Model) -> (usize, usize) {
    match model.parameters() {
        0..20_000_000 => (2000, 500),
        20_000_000..200_000_000 => (800, 400),
        _ => (400, 200),
    }
}
